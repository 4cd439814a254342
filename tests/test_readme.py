from __future__ import annotations

import pytest

from tests.readme import README, renewed


def test_the_readme_shows_what_its_examples_print() -> None:
    text = README.read_text()
    assert renewed(text) == text, "run make readme and read the difference"


@pytest.mark.parametrize(
    "block", ["```console\n$ attnproof features --orders 3\nwrong\n```", "```python\nprint(1)\n# -> 2\n```"]
)
def test_a_wrong_output_is_noticed(block: str) -> None:
    assert renewed(block) != block
