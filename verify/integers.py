"""Integers, lists and ranges of them, as texts."""

from __future__ import annotations

import re

from verify.errors import InvalidRequestError

# More values than anybody sweeps over; a typing error such as 0:10000000 stops here and not in memory.
MOST_VALUES = 1000

INTEGER = re.compile(r"\s*[+-]?\d{1,4000}\s*", re.ASCII)


def how_many(number: int, one: str, more: str = "") -> str:
    """Return a number with what it counts, in the singular or in the plural, which has an s unless it is given.

    how_many(1, "cell"), how_many(2000, "cell")     # "1 cell", "2,000 cells"
    """
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def integers(
    text: str, label: str, *, least: int, most: int | None = None, step: int = 1, doubling: bool = False
) -> tuple[int, ...]:
    """Return the integers of a list such as 8,16 or 0:7 or 8:64:8, each once, in the order given.

    A range includes both ends.  Its third number is the step; without one it is `step`, or each value is twice the one
    before where `doubling` says so.

        integers("8,16", "head size", least=1)     # (8, 16)
    """
    values: dict[int, None] = {}
    for part in text.split(","):
        numbers = part.split(":")
        if len(numbers) > 3 or not all(INTEGER.fullmatch(number) for number in numbers):
            raise InvalidRequestError(
                f"{label} {part.strip()!r}",
                "integers such as 8,16 or a range such as 0:7 or, with a step, 8:64:8",
                "correct the list",
            )
        first, last = int(numbers[0]), int(numbers[1 if len(numbers) > 1 else 0])
        for value in (first, last):
            if value < least or (most is not None and value > most):
                bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
                raise InvalidRequestError(f"{label} {value}", f"integers {bounds}", "correct the list")
        if first > last:
            raise InvalidRequestError(
                f"{label} {part.strip()!r}, which runs backwards", "the smaller number first", f"write {last}:{first}"
            )
        if len(numbers) < 3 and doubling and first > 0:
            found = tuple(first << times for times in range((last // first).bit_length()))
            steps = "doubling"
        else:
            size = int(numbers[2]) if len(numbers) == 3 else step
            if size < 1:
                raise InvalidRequestError(
                    f"{label} {part.strip()!r}, a step of {size}", "at least 1", "correct the step"
                )
            found = tuple(range(first, last + 1, size)[: MOST_VALUES + 1])
            steps = f"in steps of {size}"
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
