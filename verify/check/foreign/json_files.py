"""JSON of other tools, read strictly: what is not understood is refused, not ignored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from verify.errors import InvalidRequestError
from verify.files.reading import reading


def document(path: str) -> Mapping[str, Any]:
    """Return the one object that a file holds; InvalidRequestError for anything else."""
    with reading(path) as file:
        return _object(path, file.read())


def lines(path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield where and which object is on each line that is not empty; InvalidRequestError for anything else."""
    with reading(path) as file:
        content = file.read()
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            where = f"{path}, line {number}"
            yield where, _object(where, line)


def _object(where: str, content: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(content, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise refused(where, f"no JSON ({error})", "one JSON object") from error
    if not isinstance(found, dict):
        raise refused(where, f"{type(found).__name__} in JSON", "one JSON object")
    return found


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a name stands twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def refused(where: str, given: str, expected: str, remedy: str = "correct the file") -> InvalidRequestError:
    """Return the error that says what is wrong where."""
    return InvalidRequestError(f"{where}: {given}", expected, remedy)


def members(where: str, found: Any, needed: Sequence[str], others: Sequence[str] = ()) -> Mapping[str, Any]:
    """Return an object that has those members and no unknown ones; InvalidRequestError otherwise."""
    if not isinstance(found, dict):
        raise refused(where, f"{_short(found)}", "an object")
    lacking = [name for name in needed if name not in found]
    if lacking:
        raise refused(where, f"no {' and no '.join(lacking)}", f"an object with {', '.join(needed)}")
    strange = [name for name in found if name not in (*needed, *others)]
    if strange:
        raise refused(
            where,
            f"{', '.join(strange)}, which is not understood",
            f"{', '.join((*needed, *others))} alone",
            "leave it out if it changes nothing",
        )
    return found


def text(where: str, found: Any) -> str:
    """Return a text that is not empty."""
    if not isinstance(found, str) or not found:
        raise refused(where, _short(found), "a text")
    return found


def size(where: str, found: Any) -> int:
    """Return a whole number from 0 on."""
    if type(found) is not int or not 0 <= found < 1 << 31:
        raise refused(where, _short(found), "a whole number from 0 on")
    return found


def _short(found: Any) -> str:
    return repr(found)[:60]
