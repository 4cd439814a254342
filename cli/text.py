"""Text as the command line reads and writes it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import IO, Annotated, Any, ParamSpec, TypeVar

import typer

from verify.errors import InvalidRequestError, unknown
from verify.integers import INTEGER

# A head size, or a number of tokens, beyond this means nothing.
LARGEST_SIZE = 1 << 16

WIDTH = 80  # columns where there is no terminal to ask

LEAST_WIDTH, LARGEST_WIDTH = 20, 10_000

Columns = Annotated[
    str | None,
    typer.Option("--columns", help="Columns that the output may take.  [default: the terminal's, or 80]"),
]

Given = ParamSpec("Given")
Read = TypeVar("Read")


class Interrupted(Exception):  # noqa: N818 - nothing is wrong
    """Somebody asked to stop; says in one line what is kept, and how to go on."""


def asked(option: str, read: Callable[Given, Read], *given: Given.args, **how: Given.kwargs) -> Read:
    """Return what a reader makes of an option's value; what it refuses names the option."""
    try:
        return read(*given, **how)
    except InvalidRequestError as error:
        raise InvalidRequestError(error.given, error.expected, f"{error.remedy} ({option})") from None


def width_of(columns: str | None) -> int:
    """Return how many columns a line may take: as asked for, else those of the terminal, else 80."""
    if columns is not None:
        return asked("--columns", integer, columns, "columns", least=LEAST_WIDTH, most=LARGEST_WIDTH)
    return terminal_width(sys.stdout)


def terminal_width(stream: IO[str]) -> int:
    """Return the columns of the terminal that a stream goes to, 80 if it goes elsewhere."""
    try:
        found = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except (OSError, ValueError):
        found = 0
    return max(LEAST_WIDTH, found) if found else WIDTH


def show(text: str, width: int, later: str = "  ") -> None:
    """Print lines of text, those that are too long on several lines."""
    from reports.terminal import wrapped

    for line in text.splitlines():
        print(wrapped(line, width, later=later))


def seconds_of(text: str) -> float:
    """Return how many seconds --timeout allows."""
    seconds = asked("--timeout", number, text, "timeout")
    if not 0 < seconds <= 86_400:
        raise InvalidRequestError(f"timeout {text.strip()!r}", "seconds above 0, a day at most", "correct --timeout")
    return seconds


LARGEST_MEMORY = 1 << 20  # GiB


def one_line(message: str) -> str:
    """Return the message on one line, control characters written as escapes: it may quote what somebody sent us."""
    return printable(" ".join(message.split()))


def printable(text: str) -> str:
    """Return the text with control characters written as escapes, and all else as it is."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


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
