"""Axes of input files in every order that is known, and doubts about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify.errors import InvalidRequestError
from verify.inputs import FileInput
from verify.problem import Problem

RNG = np.random.default_rng(86)


def source(tmp_path: Path, entries: dict[str, Any], layout: str | None = None, **options: Any) -> FileInput:
    np.savez(tmp_path / "a.npz", **entries)
    return FileInput((str(tmp_path / "a.npz"),), layout=layout, **options)


def tokens(q: tuple[int, ...], k: tuple[int, ...]) -> dict[str, Any]:
    return {"q": RNG.standard_normal(q), "k": RNG.standard_normal(k), "v": RNG.standard_normal(k)}


# Shapes of q and k; whether they are read as [..., heads, tokens, size] without a word, and in layout bshd.
SHAPES = {
    "plain": ((2, 4, 6, 8), (2, 4, 6, 8), True, True),
    "decoding": ((1, 32, 1, 4), (1, 8, 4096, 4), True, False),
    "decoding without a batch": ((32, 1, 4), (8, 4096, 4), True, False),
    "prompt": ((4, 9, 3), (2, 9, 3), True, True),
    "square": ((1, 5, 5, 2), (1, 5, 5, 2), True, True),
    "bshd": ((1, 6, 2, 8), (1, 6, 2, 8), False, True),
    "bshd without a batch": ((6, 2, 8), (6, 2, 8), False, True),
    "bshd, grouped": ((1, 6, 4, 8), (1, 6, 2, 8), False, True),
    "bshd, decoding": ((1, 1, 32, 4), (1, 100, 8, 4), False, True),
    "bshd, longer keys": ((2, 3, 4, 8), (2, 9, 4, 8), False, True),
    "more heads than tokens": ((1, 8, 4, 2), (1, 8, 4, 2), False, True),
    "neither": ((1, 3, 5, 2), (1, 4, 7, 2), False, False),
}


@pytest.mark.parametrize("case", SHAPES)
def test_axes_that_look_swapped_have_to_be_said(case: str, tmp_path: Path) -> None:
    q, k, plain, swapped = SHAPES[case]
    held = tokens(q, k)
    if plain:
        assert source(tmp_path, held).load().digest == Problem(**held).digest
    else:
        with pytest.raises(InvalidRequestError) as caught:
            source(tmp_path, held).load()
        assert ("--layout bshd" in str(caught.value)) == swapped
    if swapped:
        turned = {name: array.swapaxes(-2, -3) for name, array in held.items()}
        assert source(tmp_path, held, "bshd").load().digest == Problem(**turned).digest
        assert source(tmp_path, {**held, "layout": "bshd"}).load().digest == Problem(**turned).digest
    if case == "more heads than tokens":
        assert source(tmp_path, held, "bhsd").load().digest == Problem(**held).digest


def test_two_axes_have_no_heads(tmp_path: Path) -> None:
    held = tokens((4, 3), (4, 3))
    assert source(tmp_path, held, "bhsd").load().digest == Problem(**held).digest
    for layout in ("bshd", "packed"):
        with pytest.raises(InvalidRequestError, match=f"in layout {layout}"):
            source(tmp_path, held, layout).load()


OFFSETS_Q, OFFSETS_K = np.array([0, 3, 3, 7], np.int32), np.array([0, 2, 5, 11], np.int32)


def test_packed_sequences_are_segments(tmp_path: Path) -> None:
    held = tokens((7, 4, 3), (11, 2, 3))
    offsets = {"cu_seqlens_q": OFFSETS_Q, "cu_seqlens_kv": OFFSETS_K, "max_seqlen_q": 4, "max_seqlen_k": 8}
    problem = source(tmp_path, {**held, **offsets}, "packed", causal=True, alignment="bottom-right").load()
    assert problem.output_shape == (4, 7, 3)
    for first, last, start, end in ((0, 3, 0, 2), (3, 7, 5, 11)):
        alone = Problem(
            held["q"][first:last].swapaxes(0, 1),
            held["k"][start:end].swapaxes(0, 1),
            held["v"][start:end].swapaxes(0, 1),
            causal=True,
            alignment="bottom-right",
        )
        assert problem.attended is not None
        assert alone.attended is not None
        expected = np.zeros((4, last - first, 11), dtype=bool)
        expected[..., start:end] = alone.attended
        np.testing.assert_array_equal(problem.attended[:, first:last], expected)
    same = tokens((7, 2, 3), (7, 2, 3))
    found = source(tmp_path, {**same, "cu_seqlens": OFFSETS_Q, "layout": "packed"}).load()
    turned = {name: array.swapaxes(0, 1) for name, array in same.items()}
    assert found.digest == Problem(**turned, segments=[0, 0, 0, 2, 2, 2, 2]).digest


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ({}, "layout packed with no cu_seqlens"),
        ({"cu_seqlens_q": OFFSETS_Q}, "with cu_seqlens_q; expected cu_seqlens, or cu_seqlens_q and cu_seqlens_k"),
        ({"cu_seqlens": OFFSETS_Q, "cu_seqlens_k": OFFSETS_Q}, "with cu_seqlens, cu_seqlens_k"),
        ({"cu_seqlens": OFFSETS_Q + 1}, "from 1 to 8"),
        ({"cu_seqlens": np.array([0, 5, 3, 7])}, "falling on the way"),
        ({"cu_seqlens": np.array([0, 3, 6])}, "from 0 to 6"),
        ({"cu_seqlens": np.array([0, 2**63, 7], np.uint64)}, "falling on the way"),
        ({"cu_seqlens": OFFSETS_Q / 1}, "of type float64"),
        ({"cu_seqlens": OFFSETS_Q[None]}, "shape [1, 4]"),
        ({"cu_seqlens_q": OFFSETS_Q, "cu_seqlens_k": np.array([0, 7])}, "3 sequences of queries and 1 of keys"),
        ({"cu_seqlens": OFFSETS_Q, "max_seqlen_q": 3}, "max_seqlen_q 3 with a sequence of 4 tokens"),
        ({"cu_seqlens": OFFSETS_Q, "max_seqlen_k": 4.5}, "max_seqlen_k 4.5"),
        ({"cu_seqlens": OFFSETS_Q, "segments": np.zeros(7, int)}, "segments in layout packed"),
    ],
)
def test_offsets_that_are_wrong(offsets: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        source(tmp_path, {**tokens((7, 2, 3), (7, 2, 3)), **offsets}, "packed").load()
    assert message in str(caught.value)


def test_offsets_need_their_layout(tmp_path: Path) -> None:
    held = tokens((2, 7, 3), (2, 7, 3))
    for name in ("cu_seqlens", "cu_seqlens_q", "max_seqlen_q"):
        with pytest.raises(InvalidRequestError, match=f"{name} without the layout .*--layout packed"):
            source(tmp_path, {**held, name: OFFSETS_Q if "cu" in name else 7}).load()
    with pytest.raises(InvalidRequestError, match="in layout packed"):
        source(tmp_path, {**tokens((1, 7, 2, 3), (1, 7, 2, 3)), "cu_seqlens": OFFSETS_Q}, "packed").load()
