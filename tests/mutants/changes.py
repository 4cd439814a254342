"""Single changes of the code, as cosmic-ray makes them, and those that may go unnoticed."""

from __future__ import annotations

import ast
import hashlib
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

# What is changed, files or folders; one that is absent is passed over.
PLACES = (
    "verify/numbers",
    "verify/truth",
    "verify/bounds",
    "verify/mechanisms",
    "verify/families",
    "verify/attention",
    "verify/measure",
)

# An operator is replaced by one of its own kind: most others are type errors, which every test notices.
KINDS = (
    {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"},
    {"BitAnd", "BitOr", "BitXor", "LShift", "RShift"},
    {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"},
    {"Is", "IsNot"},
)


@dataclass(frozen=True)
class Edit:
    """The lines of a file that differ, before and after."""

    file: str
    before: str
    after: str

    @property
    def key(self) -> tuple[str, ...]:
        """What two of the same have in common, however they are spaced."""
        return self.file, _tight(self.before), _tight(self.after)

    @property
    def where(self) -> str:
        """Where it is, as far as it is known."""
        return self.file

    def __str__(self) -> str:
        old, new = (text.replace("\n", "\n      ") for text in (self.before, self.after))
        return f"{self.where}\n    - {old}\n    + {new}"


@dataclass(frozen=True)
class Change(Edit):
    """A change: where it is, and the text of the whole file with it."""

    line: int
    text: str

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Accepted(Edit):
    """A change that may go unnoticed, and why."""

    reason: str


@dataclass(frozen=True)
class Place:
    """A position in a file and the operators of cosmic-ray that change it, with the number of the occurrence."""

    file: str
    line: int
    operators: tuple[tuple[str, int], ...]


def read_accepted(path: Path) -> list[Accepted]:
    """Return the changes that may go unnoticed: tables `accepted` with file, before, after and reason."""
    return [Accepted(**entry) for entry in tomllib.loads(path.read_text()).get("accepted", [])]


def unmatched(entries: Sequence[Accepted], root: Path) -> list[Accepted]:
    """Return the entries that are no change of the code as it is."""
    possible: set[tuple[str, ...]] = set()
    for file in {entry.file for entry in entries if (root / entry.file).is_file()}:
        befores = [_tight(entry.before) for entry in entries if entry.file == file]
        lines = [_tight(line) for line in (root / file).read_text().splitlines()]
        if any(line and line in before for line in lines for before in befores):
            for place in places(root, file):
                if any(lines[place.line - 1] in before for before in befores):
                    changes = (change(root, place, *operator) for operator in place.operators)
                    possible.update(found.key for found in changes if found)
    return [entry for entry in entries if entry.key not in possible]


def sample(root: Path, count: int, seed: int) -> list[Change]:
    """Draw places in the code, each at most once, and for each a change.

    What is drawn hangs on the line of a place, not on other lines: a sample stays what it was where the code does.
    """
    files = [path for name in PLACES for path in (root / name, *(root / name).rglob("*.py")) if path.is_file()]
    found: list[tuple[bytes, Place]] = []
    for path in sorted(files):
        lines, alike = path.read_text().splitlines(), Counter[str]()
        for place in places(root, path.relative_to(root).as_posix()):
            key = f"{seed}\0{place.file}\0{lines[place.line - 1].strip()}"
            alike[key] += 1
            found.append((hashlib.sha256(f"{key}\0{alike[key]}".encode()).digest(), place))
    found.sort(key=lambda drawn: drawn[0])
    drawn = (change(root, place, *place.operators[key[-1] % len(place.operators)]) for key, place in found)
    return list(islice(filter(None, drawn), count))


def places(root: Path, file: str) -> list[Place]:
    """Return all places of a file, but none in annotations: they are not executed."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    source = (root / file).read_text()
    annotations = list(_annotations(source))
    nodes = list(ast_nodes(get_ast(source)))
    found: dict[tuple[Any, Any], list[tuple[str, int]]] = {}
    for name in filter(_within_its_kind, operator_names()):
        operator = get_operator(name)
        if operator.arguments():  # it would change names that we chose
            continue
        positions = (position for node in nodes for position in operator().mutation_positions(node))
        for occurrence, (start, end) in enumerate(positions):
            if not any(first <= start and end <= last for first, last in annotations):
                found.setdefault((start, end), []).append((name, occurrence))
    return [Place(file, start[0], tuple(operators)) for (start, _), operators in sorted(found.items())]


def change(root: Path, place: Place, operator: str, occurrence: int) -> Change | None:
    """Return what an operator makes of a place; None if it means the same or is no Python."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = (root / place.file).read_text()
    text = str(mutate_code(source, get_operator(operator)(), occurrence))
    try:
        if ast.dump(ast.parse(text)) == ast.dump(ast.parse(source)):
            return None
    except SyntaxError:
        return None
    old, new = source.splitlines(), text.splitlines()
    first = _alike(old, new)
    last = _alike(old[first:][::-1], new[first:][::-1])
    before, after = ("\n".join(line.strip() for line in lines[first : len(lines) - last]) for lines in (old, new))
    return Change(place.file, before, after, first + 1, text)


def _alike(old: list[str], new: list[str]) -> int:
    return sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(old, new, strict=False)))


def _within_its_kind(name: str) -> bool:
    if "BinaryOperator" not in name and "ComparisonOperator" not in name:
        return True
    return any(set(name.split("_")[1:]) <= kind for kind in KINDS)


def _annotations(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    for node in ast.walk(ast.parse(source)):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(part, ast.expr):
                yield (part.lineno, part.col_offset), (part.end_lineno or 0, part.end_col_offset or 0)


def _tight(text: str) -> str:
    return "".join(text.split())
