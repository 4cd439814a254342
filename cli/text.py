"""Text as the command line reads and writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from verify.errors import InvalidRequestError, unknown
from verify.integers import INTEGER

# A head size, or a number of tokens, beyond this means nothing.
LARGEST_SIZE = 1 << 16

WIDTH = 80  # columns, those of a narrow terminal

LARGEST_MEMORY = 1 << 20  # GiB


def one_line(message: str) -> str:
    """Return the message on one line, control characters written as escapes: it may quote what somebody sent us."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(message.split()))


def choice(text: str, label: str, known: Iterable[str]) -> str:
    """Return one of the words that are known."""
    names = list(known)
    if text not in names:
        raise unknown(f"{label} {text!r}", text, names)
    return text


def integer(text: str, label: str, *, least: int, most: int) -> int:
    """Return one integer."""
    if not INTEGER.fullmatch(text) or not least <= int(text) <= most:
        raise InvalidRequestError(f"{label} {text.strip()!r}", f"an integer from {least} to {most}", "correct it")
    return int(text)


def number(text: str, label: str) -> float:
    """Return one number."""
    from verify.arguments import real_number

    return real_number(label, text)


def gibibytes(text: str, label: str) -> int:
    """Return a number of GiB in bytes."""
    size = number(text, label)
    if not 0 < size <= LARGEST_MEMORY:
        raise InvalidRequestError(
            f"{label} {text.strip()!r}", f"a number of GiB above 0, up to {LARGEST_MEMORY}", "correct it"
        )
    return int(size * 2**30)


def numbers(text: str, label: str) -> tuple[float, ...]:
    """Return the numbers of a list such as 0.5,1,4, each once, in the order given."""
    return tuple(dict.fromkeys(number(part, label) for part in text.split(",")))


def words(text: str) -> tuple[str, ...]:
    """Return the words of a comma-separated list, in the order given."""
    return tuple(part.strip() for part in text.split(","))


def entries(text: str) -> list[str]:
    """Return the entries of a list of mechanisms: a part NAME=VALUE belongs to the entry before it."""
    found: list[str] = []
    for part in words(text):
        name = re.split(r"[:/]", part)[0]
        if "=" in name and found:
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


def print_json(document: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(document, indent=2, allow_nan=False))


def print_json_stream(head: dict[str, Any], name: str, rows: Iterable[str]) -> None:
    """Print one JSON document: the members of head, then `name`, a list of rows that are JSON already, as they come."""
    opened = json.dumps(head, indent=2, allow_nan=False).removesuffix("\n}")
    print(f"{opened},\n  {json.dumps(name)}: [", end="")
    for position, row in enumerate(rows):
        print("," if position else "", "\n    ", row, sep="", end="")
    print("\n  ]\n}")
