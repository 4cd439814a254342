"""Text as the command line reads and writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from verify.errors import InvalidRequestError

# More values than anybody sweeps over; a typing error such as 0:10000000 stops here and not in memory.
MOST_VALUES = 1000

# A head size, or a number of tokens, beyond this means nothing.
LARGEST_SIZE = 1 << 16

LARGEST_MEMORY = 1 << 20  # GiB

_INTEGER = re.compile(r"\s*[+-]?\d{1,4000}\s*", re.ASCII)


def one_line(message: str) -> str:
    """Return the message on one line, control characters written as escapes: it may quote what somebody sent us."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(message.split()))


def integers(text: str, label: str, *, least: int, most: int, doubling: bool = False) -> tuple[int, ...]:
    """Return the integers of a list such as 8,16 or 0:7 or 8:64:8, each once, in the order given.

    A range includes both ends.  Its third number is the step; without one it is 1, or each value is twice the one
    before where `doubling` says so.
    """
    values: dict[int, None] = {}
    for part in text.split(","):
        numbers = part.split(":")
        if len(numbers) > 3 or not all(_INTEGER.fullmatch(number) for number in numbers):
            raise InvalidRequestError(
                f"{label} {part.strip()!r}",
                "integers such as 8,16 or a range such as 0:7 or, with a step, 8:64:8",
                "correct the list",
            )
        first, last = int(numbers[0]), int(numbers[1 if len(numbers) > 1 else 0])
        for value in (first, last):
            if not least <= value <= most:
                raise InvalidRequestError(f"{label} {value}", f"integers from {least} to {most}", "correct the list")
        if first > last:
            raise InvalidRequestError(
                f"{label} {part.strip()!r}, which runs backwards", "the smaller number first", f"write {last}:{first}"
            )
        if len(numbers) < 3 and doubling and first > 0:
            found = tuple(first << times for times in range((last // first).bit_length()))
            steps = "doubling"
        else:
            step = int(numbers[2]) if len(numbers) == 3 else 1
            if step < 1:
                raise InvalidRequestError(
                    f"{label} {part.strip()!r}, a step of {step}", "at least 1", "correct the step"
                )
            found = tuple(range(first, last + 1, step)[: MOST_VALUES + 1])
            steps = f"in steps of {step}"
        if len(found) + len(values) > MOST_VALUES:
            raise InvalidRequestError(
                f"{label} {text.strip()!r}", f"at most {MOST_VALUES} values", "split it into several runs"
            )
        if found[-1] != last:
            raise InvalidRequestError(
                f"{label} {part.strip()!r}",
                f"a last number that is reached {steps} from the first",
                f"end it at {found[-1]}, or choose the step, as in 8:64:8",
            )
        values.update(dict.fromkeys(found))
    return tuple(values)


def choice(text: str, label: str, known: Iterable[str]) -> str:
    """Return one of the words that are known."""
    names = list(known)
    if text not in names:
        raise InvalidRequestError(f"{label} {text!r}", "one of " + ", ".join(names), "choose one of these")
    return text


def integer(text: str, label: str, *, least: int, most: int) -> int:
    """Return one integer."""
    if not _INTEGER.fullmatch(text) or not least <= int(text) <= most:
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
