"""Gives the site RESULTS.md, which lies at the top of the repository, as the page docs/results.md."""

import re
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "RESULTS.md"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page's text; MkDocs calls it for every page. RESULTS.md links to files of the repository; the site has docs/ alone."""
    if page.file.src_uri != "results.md":
        return markdown
    text = RESULTS.read_text("utf-8").replace("](docs/", "](")
    return re.sub(r"\[([^]]+)\]\(tests/[^)]*\)", r"`\1`", text)
