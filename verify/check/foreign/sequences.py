"""Sequences packed into the arrays of a workload: where they are, and the problem that they pose together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.check.foreign.json_files import refused
from verify.check.foreign.posed import ForeignCase, How, Posed, lacking
from verify.check.foreign.workload import Workload
from verify.integers import how_many
from verify.isolated.isolation import Call
from verify.problem import Problem

# Exact values take about a microsecond for each key, head and component, and a twentieth of it for each row more: what
# is judged of a case is chosen to stay near so many.
_BUDGET = 4_000_000
_ROW = 0.05

# Rows that are all judged if that is little work, and how many rows and heads of larger ones are.
_ALL, _ROWS, _HEADS = 64, 12, 4


@dataclass(frozen=True, eq=False)
class Packed:
    """The sequences of a workload.

    rows: the first row of each, and the end of the last.  keys: of each, where its keys stand among all tokens that
    there are, in their order.
    """

    rows: NDArray[np.int64]
    keys: tuple[NDArray[np.int64], ...]

    @property
    def of_rows(self) -> NDArray[np.int64]:
        """The sequence of each row."""
        return np.repeat(np.arange(len(self.keys)), np.diff(self.rows))


def packed(workload: Workload) -> Packed:
    """Return where the sequences of a workload are; InvalidRequestError for places that do not fit together."""
    whole, where = workload.whole, workload.where
    offsets = whole["kv_indptr"]
    sequences, rows = len(offsets) - 1, workload.part("rows")
    if sequences < 1:
        raise refused(where, "kv_indptr of no sequence", "the start of each, and the end of the last")
    if workload.sizes.get("batch_size", sequences) != sequences:
        raise refused(where, f"batch_size {workload.sizes['batch_size']} and {how_many(sequences, 'sequence')}", "one")
    if workload.definition.causal:
        starts = whole["qo_indptr"]
        _require_offsets(where, "qo_indptr", starts, rows)
    else:
        starts = np.arange(sequences + 1)
        if rows != sequences:
            raise refused(where, f"{how_many(rows, 'query', 'queries')} of {sequences} sequences", "one of each")
    if "kv_indices" not in whole:
        _require_offsets(where, "kv_indptr", offsets, workload.part("keys"))
        return Packed(starts, tuple(np.arange(a, b) for a, b in pairwise(offsets)))
    _require_offsets(where, "kv_indptr", offsets, workload.part("indices"))
    return Packed(starts, tuple(_paged(workload, offsets)))


def _paged(workload: Workload, offsets: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    whole, where, page = workload.whole, workload.where, workload.part("page")
    indices = whole["kv_indices"]
    if ((indices < 0) | (indices >= workload.part("pages"))).any():
        raise refused(where, "kv_indices beyond the cache", f"pages 0 to {workload.part('pages') - 1}")
    sequences = len(offsets) - 1
    lasts = whole.get("kv_last_page_len", np.full(sequences, page))
    if len(lasts) < sequences:
        raise refused(where, f"kv_last_page_len of {len(lasts)}", f"one for each of {sequences} sequences")
    for sequence in range(sequences):
        pages = indices[offsets[sequence] : offsets[sequence + 1]]
        tokens = (pages[:, None] * page + np.arange(page)).ravel()
        last = int(lasts[sequence])
        if not min(1, len(pages)) <= last <= page:
            raise refused(where, f"kv_last_page_len {last} of sequence {sequence}", f"1 to {page}")
        yield tokens[: len(tokens) - page + last] if len(pages) else tokens


def _require_offsets(where: str, name: str, offsets: NDArray[np.int64], end: int) -> None:
    if offsets[0] != 0 or offsets[-1] != end or (np.diff(offsets) < 0).any():
        raise refused(where, f"{name} {offsets.tolist()!s:.60}", f"from 0 to {end}, never less than before")


def sequence_cases(workload: Workload) -> Iterator[ForeignCase]:
    """Yield the cases of a workload: its output, and the logarithms of sums where its definition has them."""
    own, sequences = workload.definition, packed(workload)
    if not any(len(keys) for keys in sequences.keys):
        raise refused(workload.where, "no sequence with a key", "one at least")
    if workload.part("heads") % (workload.part("groups") if own.kind != "mla_paged" else 1):
        raise refused(workload.where, "heads that are no multiple of key heads", "as many for each")

    def posing(log_sums: bool) -> Callable[[How], Posed | str]:
        return lambda how: lacking(how, list(own.inputs)) or _posed(workload, sequences, log_sums)

    yield ForeignCase(workload.uuid, own.arithmetic, posing(log_sums=False))
    if own.log_sums == "2":
        yield ForeignCase(f"{workload.uuid}:lse", own.arithmetic, posing(log_sums=True), log_sums=True)
    elif own.log_sums:
        yield ForeignCase(f"{workload.uuid}:lse", own.arithmetic, lambda how: own.log_sums)


def _posed(workload: Workload, sequences: Packed, log_sums: bool) -> Posed:
    own = workload.definition
    named = {name: workload.array(name) for name, tensor in own.inputs.items() if tensor.axes is not None}
    rows, heads = _chosen(workload, sequences)
    problem = _problem(workload, sequences, named, rows, heads)
    total = (workload.part("rows"), workload.part("heads"))
    call = Call([], named, {"sm_scale": workload.scale}, output=int(log_sums))
    size = () if log_sums else (problem.value_size,)
    return Posed(
        problem=problem,
        given=call,
        answer=(*total, *size),
        taken=lambda output: output[rows][:, heads].reshape((len(rows), len(heads), -1)).swapaxes(0, 1),
        place=lambda index: (int(rows[index[1]]), int(heads[index[0]]), *(() if log_sums else index[2:])),
        reason=_reason(sequences, rows, heads, total),
    )


def _problem(
    workload: Workload,
    sequences: Packed,
    arrays: dict[str, NDArray[Any]],
    rows: NDArray[np.int64],
    heads: NDArray[np.int64],
) -> Problem:
    """Return the problem of some rows and heads, over the keys of their sequences."""
    own, of_rows = workload.definition, sequences.of_rows[rows]
    taken = np.unique(of_rows)
    tokens = np.concatenate([sequences.keys[one] for one in taken])
    lengths = np.array([len(keys) for keys in sequences.keys])
    segments = (of_rows, np.repeat(taken, lengths[taken]))
    if own.kind == "mla_paged":
        q = np.concatenate([arrays["q_nope"], arrays["q_pe"]], axis=-1)
        ckv, kpe = (arrays[name].reshape((-1, 1, arrays[name].shape[-1])) for name in ("ckv_cache", "kpe_cache"))
        k, v = np.concatenate([ckv[tokens], kpe[tokens]], axis=-1), ckv[tokens]
    else:
        names = ("k", "v") if own.kind == "gqa_ragged" else ("k_cache", "v_cache")
        q = arrays["q"]
        k, v = (arrays[name].reshape((-1, *arrays[name].shape[-2:]))[tokens] for name in names)
    if len(heads) < q.shape[1]:  # each with the key head that it reads
        own_keys = heads // (q.shape[1] // k.shape[1])
        k, v = k[:, own_keys], v[:, own_keys]
    parts: dict[str, Any] = {}
    if own.causal:
        ends = sequences.rows[of_rows + 1]
        parts = {"causal": True, "positions": lengths[of_rows] - ends + rows}
    q, k, v = (array.swapaxes(0, 1) for array in (q[rows][:, heads], k, v))
    return Problem(q, k, v, workload.scale, segments=segments, name=workload.uuid, **parts)


def _chosen(workload: Workload, sequences: Packed) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and heads that are judged: all where that is little work."""
    total, heads_there = workload.part("rows"), workload.part("heads")
    lengths, of_rows = np.array([len(keys) for keys in sequences.keys]), sequences.of_rows
    own = workload.definition.inputs
    size = sum(workload.shape(name)[-1] for name in own if own[name].parts[1:2] == ("heads",))

    def cost(rows: NDArray[np.int64], heads: NDArray[np.int64]) -> float:
        keys = int(lengths[np.unique(of_rows[rows])].sum())
        return float(len(heads) * keys * size * (1 + _ROW * len(rows)))

    seeing = np.flatnonzero(lengths[of_rows])
    seeing = seeing if len(seeing) else np.arange(total)

    def some(rows: int, heads: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        # heads from the second on: the key heads of the first and of the last are the same if heads are tiled
        return seeing[_spread(0, len(seeing), rows)], _spread(min(1, heads_there - 1), heads_there, heads)

    rows, heads = np.arange(total), np.arange(heads_there)
    if total > _ALL:
        rows, _ = some(_ROWS, _HEADS)
    if cost(rows, heads) > _BUDGET:
        rows, heads = some(min(len(rows), _ROWS), _HEADS)
    while cost(rows, heads) > _BUDGET and len(rows) + len(heads) > 2:
        fewer = (len(rows) // 2, len(heads)) if len(rows) > len(heads) else (len(rows), len(heads) // 2)
        rows, heads = some(max(1, fewer[0]), max(1, fewer[1]))
    return rows, heads


def _spread(first: int, end: int, most: int) -> NDArray[np.int64]:
    """Return so many of first, ..., end - 1, evenly, with both; all if they are fewer, the first if it is one."""
    return np.unique(np.linspace(first, end - 1, min(most, end - first)).astype(np.int64))


def _reason(sequences: Packed, rows: Sized, heads: Sized, total: tuple[int, int]) -> str:
    lengths = sorted(len(keys) for keys in sequences.keys)
    what = f"{how_many(len(lengths), 'sequence')} of {lengths[0]:,} to {lengths[-1]:,} keys"
    parts = [
        f"{len(some):,} of {there:,} {word}"
        for some, there, word in ((rows, total[0], "rows"), (heads, total[1], "heads"))
        if len(some) < there
    ]
    return f"{what}; judged: {' and '.join(parts)}" if parts else what
