"""For pytest: `attention_cases` and `attention_case`, wherever attnproof is installed.

It stands here, and imports `verify` only for tests that ask for it: others may have a package of that name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from verify.testing import AttentionCase


@pytest.fixture
def attention_cases() -> list[AttentionCase]:
    """The cases of the suite quick.

    def test_mine(attention_cases):
        for case in attention_cases:
            case.check(attention)
    """
    from verify.testing import cases

    return cases("quick")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `attention_case` once for each case of the suite quick."""
    if "attention_case" in metafunc.fixturenames:
        from verify.testing import cases

        metafunc.parametrize("attention_case", cases("quick"), ids=str)
