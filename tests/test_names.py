"""A mechanism's name stands in its own files and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from verify.mechanisms.registry import SHIPPED

ROOT = Path(__file__).parents[1]
QUOTED = re.compile("(?P<quote>[\"'])(?:{})(?P=quote)".format("|".join(map(re.escape, SHIPPED))))


@pytest.mark.parametrize("pattern", ["reports/*.py", "reports/templates/*", "cli/*.py"])
def test_reports_and_commands_name_no_mechanism(pattern: str) -> None:
    files = sorted(ROOT.glob(pattern))
    assert files
    lines = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if QUOTED.search(line)
    ]
    assert not lines, "\n".join(lines)


def test_a_quoted_name_is_noticed() -> None:
    assert QUOTED.search('frame["mechanism"] == "taylor"')
    assert QUOTED.search("name = 'softmax'")
    assert not QUOTED.search('"softmax\'s own rounding"')
