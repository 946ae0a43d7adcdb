"""HTTP for the exporters of OTLP, which do not say why something did not arrive."""

from __future__ import annotations

from typing import Any

import requests

from athensd.observe.quiet import complain, in_words


class Session(requests.Session):
    """Complains of what goes wrong.  A redirection, which the exporters take for success, goes wrong too."""

    def request(self, *arguments: Any, **more: Any) -> requests.Response:
        try:
            response = super().request(*arguments, **more)
        except requests.RequestException as error:
            complain(in_words(error))
            raise
        if response.status_code >= 300:
            complain(f"{response.status_code} {response.reason}")
        if 300 <= response.status_code < 400:
            raise OSError("it has moved")
        return response
