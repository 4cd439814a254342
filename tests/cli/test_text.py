"""Text as the command line reads and writes it."""

from __future__ import annotations

import pytest

from cli.text import numbers, one_line
from verify.errors import InvalidRequestError


def test_small_text_functions() -> None:
    assert numbers("0.5,1e0,4", "x") == (0.5, 1.0, 4.0)
    with pytest.raises(InvalidRequestError, match="x 'a'"):
        numbers("1,a", "x")
    assert one_line("a\n b\t\x07\u202ec") == "a b \\x07\\u202ec"
