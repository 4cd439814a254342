from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from tests import readme
from tests.readme import DOCUMENTS, PROOFS, renewed


def shown(arguments: Sequence[str]) -> int:
    """Run a command; what proofs print is in a file, and that it is what they print is tested beside them."""
    if list(arguments) != ["features", "--prove"]:
        return main(arguments)
    print(PROOFS.read_text(), end="")
    return 0


def parameter(document: Path) -> Any:
    """Return a document for make test, or for make campaigns where its examples take long."""
    name = str(document.relative_to(readme.ROOT))
    long = name in ("CONTRIBUTING.md", "docs/commands.md", "docs/footguns.md")
    return pytest.param(document, id=name, marks=[pytest.mark.campaign] if long else [])


@pytest.mark.parametrize("document", [parameter(document) for document in DOCUMENTS])
def test_a_document_shows_what_its_examples_print(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readme, "main", shown)
    text = document.read_text()
    assert renewed(text) == text, "run make readme and read the difference"


FILE = "```python\n# mine.py\nVALUE = 3\n```\n"


@pytest.mark.parametrize(
    "block",
    [
        "```console\n$ attnproof features --orders 3\nwrong\n```",
        "```console\n$ attnproof features --orders wrong\n```",
        "```python\nprint(1)\n# -> 2\n```",
        FILE + "```python\nfrom pathlib import Path\n\nprint(Path('mine.py').read_text())\n# -> VALUE = 4\n```",
    ],
)
def test_a_wrong_output_is_noticed(block: str) -> None:
    assert renewed(block) != block


def test_a_command_that_fails_shows_its_messages_and_its_exit_code() -> None:
    shown = renewed("```console\n$ attnproof reference absent.npz | head -1\n```").splitlines()
    assert shown[2].startswith("attnproof: no file absent.npz")
    assert shown[3:] == ["exit code 2", "```"]


def test_a_block_that_names_a_file_is_written_to_it_and_to_no_other_document() -> None:
    shown = "```python\nfrom pathlib import Path\n\nprint(len(Path('mine.py').read_text()))\n# -> 20\n```"
    assert renewed(FILE + shown) == FILE + shown
    with pytest.raises(FileNotFoundError):
        renewed(shown)
