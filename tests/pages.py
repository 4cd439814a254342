"""What pages would load from elsewhere, which those of docs/ must not (`make docs`); links to follow are no matter."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

_LOADED = {"src", "srcset", "data", "poster"}
_ELSEWHERE = re.compile(r"\s*(https?:)?//", re.IGNORECASE)
_IN_STYLES = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)", re.IGNORECASE)


class _Loading(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        loaded = _LOADED | ({"href"} if tag == "link" else set())
        self.found += [value for name, value in attrs if name in loaded and value and _ELSEWHERE.match(value)]


def loaded_from_elsewhere(text: str, *, style: bool = False) -> list[str]:
    """Return the addresses that a page, or a style sheet, loads from other places than its own."""
    page = _Loading()
    if not style:
        page.feed(text)
    return page.found + _IN_STYLES.findall(text)


def _all(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted([*folder.rglob("*.html"), *folder.rglob("*.css")]):
        for address in loaded_from_elsewhere(path.read_text(), style=path.suffix == ".css"):
            yield path, address


if __name__ == "__main__":
    sites = [Path(name) for name in sys.argv[1:]]
    assert sites, "name the folders of pages"
    assert all((site / "index.html").is_file() for site in sites), "a folder without pages"
    found = [f"{path} loads {address}" for site in sites for path, address in _all(site)]
    sys.exit("\n".join(found) or None)
