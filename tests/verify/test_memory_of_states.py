"""What a state says that it needs, before it takes anything, against what it then takes."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import verify
from verify.attention.state import AttentionState
from verify.errors import TooLargeError
from verify.mechanisms import named_variant

# Settings under which one part or another is most of it: the sums, what compensates them, accumulators of each degree,
# features of a chunk.
STATES: dict[str, dict[str, Any]] = {
    "taylor sums": {"of": "taylor:order=3/packed", "head_size": 40, "value_size": 40},
    "taylor compensated": {"of": "taylor:order=3/packed", "head_size": 32, "value_size": 32, "compensated": True},
    "taylor apart": {"of": "taylor:order=2/packed", "head_size": 2, "value_size": 4096, "degrees": "apart"},
    "taylor together": {"of": "taylor:order=2/packed", "head_size": 2, "value_size": 4096},
    "elu sums": {"of": "elu/stream", "head_size": 256, "value_size": 4096},
    "elu compensated": {"of": "elu/stream", "head_size": 256, "value_size": 4096, "compensated": True},
    "logexp sums": {"of": "logexp/stream", "head_size": 512, "value_size": 4096},
    "logexp compensated": {"of": "logexp/stream", "head_size": 512, "value_size": 4096, "compensated": True},
    "logexp chunk": {"of": "logexp/stream", "head_size": 8, "value_size": 4096},
    "favor features": {"of": "favor:features=512/stream", "head_size": 4, "value_size": 2},
}


def state(of: str, head_size: int, value_size: int, **settings: Any) -> AttentionState:
    variant = named_variant(of)
    assert variant.how.state is not None
    made: AttentionState = variant.how.state(variant.member, head_size, value_size, **settings)
    return made


def said(**settings: Any) -> int:
    """Return the smallest memory limit, to 1 %, that a state is made under."""
    low, high = 1, 1 << 34
    while high > 1.01 * low:
        limit = (low + high) // 2 if high < 4 * low else int((low * high) ** 0.5)
        try:
            state(**settings, memory_limit=limit)
            high = limit
        except TooLargeError:
            low = limit
    return high


def taken(head_size: int, value_size: int, **settings: Any) -> int:
    """Return the most that is held while a state is made, takes in a chunk's tokens, and is read."""
    rng, tokens = np.random.default_rng(225), 512 if "taylor" in settings["of"] else 128
    k, v = rng.standard_normal((tokens, head_size)), rng.standard_normal((tokens, value_size))
    tracemalloc.start()
    try:
        made = state(head_size=head_size, value_size=value_size, **settings)
        made.update(k, v)
        made.read(k[:1])
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("settings", STATES.values(), ids=STATES)
def test_a_state_takes_about_what_it_says(settings: dict[str, Any]) -> None:
    # what numpy and Python hold on the way is not counted: a fifth, in these shapes
    assert 0.8 * taken(**settings) <= said(**settings) <= 1.3 * taken(**settings)


@pytest.mark.parametrize("name", ["taylor:order=1/packed", "power:degree=2/packed", "elu/stream", "logexp/stream"])
def test_no_memory_is_too_little(name: str) -> None:
    with pytest.raises(TooLargeError, match="at most 0 MiB"):
        state(name, 2, 2, memory_limit=0)


def test_more_is_refused() -> None:
    with pytest.raises(TooLargeError):
        verify.TaylorState(64, 64, 3, memory_limit=2**20)
