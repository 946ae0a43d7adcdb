"""What must be settled before anything here imports gRPC, as the daemon settles it before it does."""

from __future__ import annotations

from athensd.observe.quiet import hush

hush()
