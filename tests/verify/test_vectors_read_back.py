"""Files of reference vectors are inputs: whatever a problem is made of, it is read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import verify
from verify.errors import InvalidRequestError
from verify.inputs import FileInput
from verify.inputs.roles import RESERVED, RESULTS, USUAL
from verify.problem import PARTS, Problem, described
from verify.truth import More, demanded, gradients, reference, write_vectors

RNG = np.random.default_rng(83)
LEADS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((), ()),
    ((2,), (2,)),
    ((4,), (2,)),
    ((2, 2), (2, 2)),
    ((3, 2), (3, 1)),
)


def drawn(number: int) -> Problem:
    """A problem in which about half of all parts are there, and over all numbers each of them often."""
    rng = np.random.default_rng([84, number])
    lead, key_lead = LEADS[number % len(LEADS)]
    queries, keys, size = (int(n) for n in rng.integers(1, 5, 3))
    batch, pairs = lead[:-1], (*lead, queries, keys)

    def there() -> bool:
        return bool(rng.random() < 0.5)

    def some(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    def part(*shape: int) -> tuple[int, ...]:
        """A shape that broadcasts to another."""
        cut = shape[int(rng.integers(0, len(shape) - 1)) :]
        return tuple(1 if rng.random() < 0.2 else n for n in cut)

    kind = [np.float32, ml_dtypes.bfloat16, np.float64][number % 3]
    q, k, v = some(*lead, queries, size), some(*key_lead, keys, size), some(*key_lead, keys, 3)
    chosen: dict[str, Any] = {"causal": there(), "scale": float(some()) if there() else None}
    if there():
        chosen["mask"] = rng.random(part(*pairs)) < 0.8
    if there():
        chosen["bias"] = np.where(rng.random(part(*pairs)) < 0.2, -np.inf, rng.standard_normal())
    if there():
        chosen["window"] = [(2, 0), (-1, 1), (1, None)][int(rng.integers(0, 3))]
    if there():
        chosen["lengths"] = rng.integers(0, keys + 1, batch)
    if there():
        chosen["segments"] = (rng.integers(0, 2, (*batch, queries)), rng.integers(0, 2, (*batch, keys)))
    if there():
        chosen["positions"] = rng.integers(0, keys + 2, (*batch, queries))
    else:
        chosen["alignment"] = ["top-left", "bottom-right"][number % 2]
    if there():
        chosen |= {"dropout_mask": rng.random(part(*pairs)) < 0.7, "dropout": [0.0, 0.25][number % 2]}
    shapes = {"q_descale": lead, "k_descale": key_lead, "v_descale": key_lead}
    for name, shape in {"alibi_slopes": lead, "sinks": lead, **shapes}.items():
        if there():
            chosen[name] = some(*shape)
    if "k_descale" in chosen and there():
        chosen["k_descale"] = np.zeros_like(chosen["k_descale"])
    if there():
        chosen["softcap"] = 3.5
    return Problem(q.astype(kind), k.astype(kind), v.astype(kind), **chosen, name=f"drawn {number}")


def test_every_part_is_written_and_read_back(tmp_path: Path) -> None:
    met: set[str] = set()
    for number in range(60):
        problem = drawn(number)
        path = tmp_path / f"{number}.npz"
        truth = reference(problem, 2)
        more = More(demand=demanded(truth, ("float64", "float32")[number % 2]), rows=tuple(range(problem.queries)))
        if number < 20:
            more = replace(more, gradients=gradients(problem, np.ones(problem.output_shape), 2))
        write_vectors(truth, path, more)
        again = FileInput((str(path),)).load()
        assert again.digest == problem.digest
        one, other = described(problem), described(again)
        assert {**one, "formats": {}, "not_finite": {}} == {**other, "formats": {}, "not_finite": {}}
        with np.load(path, allow_pickle=False) as archive:
            assert json.loads(str(archive["problem"])) == one
            met |= set(archive.files)
        write_vectors(reference(problem, 2), tmp_path / f"{number}.json")
        assert json.loads((tmp_path / f"{number}.json").read_text())["digest"] == problem.digest
    segments = {"q_segment_ids", "kv_segment_ids"}
    assert met >= {*PARTS, *segments, "q_descale", "k_descale", "v_descale", *RESULTS} - {"segments", "name"}
    assert met <= RESERVED


def test_a_file_whose_problem_is_not_what_it_says_is_refused(tmp_path: Path) -> None:
    problem = Problem(*RNG.standard_normal((3, 2, 4, 3)))
    path = tmp_path / "vectors.npz"
    write_vectors(reference(problem, 5, "taylor:order=2"), path)
    with np.load(path, allow_pickle=False) as archive:
        held = dict(archive)
    np.savez(tmp_path / "changed.npz", **{**held, "v": held["v"] + 1})
    np.savez(tmp_path / "more.npz", **held, sinks=np.zeros(2))
    np.savez(tmp_path / "unknown.npz", **held, frobnicate=np.zeros(2))
    for name, message in {"changed": "with a problem of digest", "more": "digest", "unknown": "frobnicate"}.items():
        with pytest.raises(InvalidRequestError, match=message):
            FileInput((str(tmp_path / f"{name}.npz"),)).load()
    changed = FileInput((str(tmp_path / "changed.npz"),), ignore=("digest",)).load()
    assert np.array_equal(changed.v, problem.v + 1)
    with pytest.raises(InvalidRequestError, match="--ignore digest"):
        FileInput((str(path),), scale=2.0).load()
    with pytest.raises(InvalidRequestError, match="layout bshd where the file says bhsd"):
        FileInput((str(path),), layout="bshd").load()


def test_results_are_known_in_files_of_vectors_alone(tmp_path: Path) -> None:
    q, k, v = RNG.standard_normal((3, 2, 4, 3))
    np.savez(tmp_path / "a.npz", q=q, k=k, v=v, value=v)
    np.savez(tmp_path / "b.npz", q=q, k=k, v=v, radius=v, order=3)
    with pytest.raises(InvalidRequestError, match="v and value, which both mean v"):
        FileInput((str(tmp_path / "a.npz"),)).load()
    with pytest.raises(InvalidRequestError, match="with radius, order, not known here"):
        FileInput((str(tmp_path / "b.npz"),)).load()


def test_infinite_and_absent_numbers_in_json(tmp_path: Path) -> None:
    # weights of order 1 that sum to zero have no value
    problem = Problem([[1.0]], [[-1.0]], [[1.0]], scale=1.0)
    write_vectors(reference(problem, 5, "taylor:order=1"), tmp_path / "a.json")
    document = json.loads((tmp_path / "a.json").read_text())
    assert (document["value"], document["decimal"], document["window"]) == ([[None]], [["nan"]], None)


def test_each_usual_name_means_one_thing() -> None:
    names = [name for usual in USUAL.values() for name in usual]
    assert len(set(names)) == len(names)
    assert all(usual[0] == role for role, usual in USUAL.items())


def test_files_say_which_version_wrote_them_and_any_is_read(tmp_path: Path) -> None:
    q, k, v = np.random.default_rng(8).standard_normal((3, 4, 2))
    problem = Problem(q, k, v)
    write_vectors(reference(problem, 5), tmp_path / "a.npz")
    write_vectors(reference(problem, 5), tmp_path / "a.json")
    with np.load(tmp_path / "a.npz") as file:
        entries = dict(file)
    assert str(entries["attnproof_version"]) == json.loads((tmp_path / "a.json").read_text())["attnproof_version"]
    assert str(entries["attnproof_version"]) == verify.__version__
    for other in ("0.0.1", None):
        changed = {name: entry for name, entry in entries.items() if name != "attnproof_version"}
        np.savez(tmp_path / "b.npz", **changed if other is None else {**changed, "attnproof_version": np.array(other)})
        assert FileInput((str(tmp_path / "b.npz"),)).load().digest == problem.digest
