"""A mechanism in a file of its own, and what can be wrong with it."""

from __future__ import annotations

from pathlib import Path

MINE = """\
from verify.arguments import Whole
from verify.families import LogitKernel


class Mine(LogitKernel):
    name = "mine"
    description = "an odd power beside exp"
    source = "ours"
    parameters = {"order": Whole(1, least=1, most=7, step=2)}
    axis = "order"

    def function(self, f, s, member):
        return f.exp(s) + s ** member["order"] / 64


MINE = Mine()
"""

FUNCTION = '        return f.exp(s) + s ** member["order"] / 64\n'


def written(folder: Path, *changes: tuple[str, str], name: str = "mine.py") -> str:
    """Write the mechanism, changed so, and return what the command line calls it."""
    text = MINE
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (folder / name).write_text(text)
    return f"{folder / name}:MINE"
