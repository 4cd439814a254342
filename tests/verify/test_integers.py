"""Lists and ranges of integers, as texts."""

from __future__ import annotations

import pytest

from verify.errors import InvalidRequestError
from verify.integers import how_many, integers


def test_one_is_counted_in_the_singular() -> None:
    assert [how_many(number, "cell") for number in (0, 1, 2, 2000)] == ["0 cells", "1 cell", "2 cells", "2,000 cells"]
    assert [how_many(number, "query", "queries") for number in (1, 3)] == ["1 query", "3 queries"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", (3,)),
        ("8,16", (8, 16)),
        ("0:3", (0, 1, 2, 3)),
        ("5,1:2,5", (5, 1, 2)),
        (" 4 , +2", (4, 2)),
        ("8:32:8", (8, 16, 24, 32)),
        ("7:7:3", (7,)),
    ],
)
def test_integers(text: str, expected: tuple[int, ...]) -> None:
    assert integers(text, "order", least=0, most=99) == expected


@pytest.mark.parametrize("text", ["", ",", "1,", "1:", ":3", "1:2:3:4", "1:2:", "1.5", "1e3", "0x10", "٣", "nan"])
def test_integers_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="expected integers"):
        integers(text, "order", least=0, most=99)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0:7:2", "reached in steps of 2 from the first; end it at 6"),
        ("0:7:0", "a step of 0"),
        ("7:0:2", "runs backwards"),
        ("0:99:1,0:99", None),
    ],
)
def test_ranges_with_steps(text: str, message: str | None) -> None:
    if message is None:
        assert len(integers(text, "order", least=0, most=99)) == 100
        return
    with pytest.raises(InvalidRequestError, match=message):
        integers(text, "order", least=0, most=99)


def test_ranges_that_double() -> None:
    assert integers("1024:8192", "width", least=1, most=9999, doubling=True) == (1024, 2048, 4096, 8192)
    assert integers("768", "width", least=1, most=9999, doubling=True) == (768,)
    assert integers("24:48:12", "width", least=1, most=9999, doubling=True) == (24, 36, 48)
    assert integers("2:6", "degree", least=2, step=2) == (2, 4, 6)
    with pytest.raises(InvalidRequestError, match="reached doubling from the first; end it at 4096"):
        integers("1024:5000", "width", least=1, most=9999, doubling=True)
    with pytest.raises(InvalidRequestError, match="integers of at least 2"):
        integers("1:6", "degree", least=2)
