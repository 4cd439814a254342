"""The examples of README.md, CONTRIBUTING.md and docs/: run them, and compare or write anew what they print.

`make readme` writes.  A block ```console holds commands behind `$ `, of attnproof or sqlite3, and what they print, or
with ` | head -N` its first lines, with ` | tail -N` its last; where a command ends with another exit code than 0, its
messages and that code stand below.  A block ```python holds code whose printed lines are repeated in comments
`# -> ...` at its end.  A line <!-- columns of cells --> has a table below it of
what a run file says of these columns.
Where the first line of a ```python block is nothing but the name of a file, as in `# mine.py`, the block is not run but
written to that file, for the blocks below it.  The blocks of a document run one after the other, in a folder of its own
that goes away.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import shlex
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from cli import progress
from cli.main import main
from verify.sweep.schema import ABOUT, description

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))

# What `attnproof features --prove` prints, so that no statement changes unread
PROOFS = Path(__file__).parent / "cli" / "proofs.txt"

# What is shown as the folder that examples are run in
FOLDER = "/home/me"

_BLOCK = re.compile(r"```(console|python)\n(.*?)```", re.DOTALL)
_COLUMNS = re.compile(r"<!-- columns of (\w+) -->\n\n(?:\|.*\n)*")
_FILE = re.compile(r"# (\w+\.py)\n")


def renewed(text: str) -> str:
    """Return the text with every example run and its output written anew."""
    with _temporary_folder():
        run = _BLOCK.sub(lambda block: f"```{block[1]}\n{_RUNNERS[block[1]](block[2])}```", text)
    return _COLUMNS.sub(lambda table: f"<!-- columns of {table[1]} -->\n\n{columns_of(table[1])}", run)


def columns_of(name: str) -> str:
    """Return what run files say of the columns of a table or view, or of those of errors or bounds, in Markdown."""
    rows: dict[tuple[str, str], list[str]] = {}
    for relation, column, kind, meaning in description():
        group, _, text = meaning.partition(": ")
        member, _, rest = group.partition(".")
        if column is None or kind is None:
            continue
        if member in ("errors", "bounds") and rest:
            if member == name:
                ending = column.removeprefix(rest)
                rows.setdefault((kind, text), []).append(ending)
        elif relation == name and not (relation == "heads" and column in ABOUT):
            rows.setdefault((kind, meaning), []).append(column)
    lines = [
        f"| {', '.join(f'`{own}`' for own in dict.fromkeys(names))} | {kind} | {shown(text)} |"
        for (kind, text), names in rows.items()
    ]
    head = f"| {'ending' if name in ('errors', 'bounds') else 'column'} | type | what it is |\n|---|---|---|\n"
    return head + "".join(f"{line}\n" for line in lines)


def shown(text: str) -> str:
    """Return a text as a cell of a table shows it."""
    return text.replace("|", "\\|").replace("_", "\\_").replace("*", "\\*").replace("<", "&lt;")


def _console(block: str) -> str:
    lines = []
    for command in re.findall(r"^\$ (.*)$", block, re.MULTILINE):
        words, *rest = command.split(" | ")
        program, *arguments = shlex.split(words)
        assert program in ("attnproof", "sqlite3"), command
        if program == "sqlite3":
            lines += [f"$ {command}", *_queried(*arguments)]
            continue
        with (
            mock.patch.object(progress, "EVERY", math.inf),  # how fast a machine is shows in no document
            contextlib.redirect_stdout(io.StringIO()) as printed,
            contextlib.redirect_stderr(io.StringIO()) as said,
        ):
            code = main(arguments)
        found = [line.rstrip().replace(str(Path.cwd()), FOLDER) for line in printed.getvalue().splitlines()]
        for part in rest:
            end, count = part.split(" -")
            found = found[-int(count) :] if end == "tail" else found[: int(count)]
        if code != 0:
            found += [*said.getvalue().splitlines(), f"exit code {code}"]
        lines += [f"$ {command}", *found]
    return "".join(f"{line}\n" for line in lines)


def _queried(path: str, query: str) -> list[str]:
    """Return what the command sqlite3 prints."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
        return ["|".join("" if value is None else str(value) for value in row) for row in file.execute(query)]


def _python(block: str) -> str:
    named = _FILE.match(block)
    if named is not None:
        Path(named[1]).write_text(block)
        return block
    code = "".join(line for line in block.splitlines(keepends=True) if not line.startswith("# -> "))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "example", "exec"), {})
    return code + "".join(f"# -> {line}\n" for line in printed.getvalue().splitlines())


_RUNNERS = {"console": _console, "python": _python}


@contextlib.contextmanager
def _temporary_folder() -> Iterator[None]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


if __name__ == "__main__":
    for document in DOCUMENTS:
        document.write_text(renewed(document.read_text()))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["features", "--prove"]) == 0
    PROOFS.write_text(printed.getvalue())
