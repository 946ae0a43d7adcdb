"""What MkDocs cannot be told in mkdocs.yml about the pages of docs/."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).parent.parent
# MkDocs makes a site's first page of index.md, which is about /index here.
PLACES = {"home.md": "index.html", "index.md": "the-index/index.html"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put the pages where they belong, and beside them the samples in etc/ that they link to."""
    for name, place in PLACES.items():
        file = files.get_file_from_path(name)
        if file:
            file.dest_uri = place
    samples = {
        name
        for page in files.documentation_pages()
        for name in re.findall(r"\]\(\.\./(etc/[^)#]+)\)", page.content_string)
    }
    for name in sorted(samples):
        # What begins with a dot is left out unless it is said otherwise.
        sample = File.generated(config, f"../{name}", abs_src_path=str(ROOT / name), inclusion=InclusionLevel.INCLUDED)
        sample.dest_uri = name
        files.append(sample)
    return files
