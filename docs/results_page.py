"""Builds the site's page docs/results.md from RESULTS.md at the top of the repository."""

import re
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "RESULTS.md"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Returns the text of a page. MkDocs calls this for every page.

    RESULTS.md links to files of the repository. The site contains only docs/, so links to tests/
    become plain names.
    """
    if page.file.src_uri != "results.md":
        return markdown
    text = RESULTS.read_text("utf-8").replace("](docs/", "](")
    return re.sub(r"\[([^]]+)\]\(tests/[^)]*\)", r"`\1`", text)
