"""Files as people hold them, beside values that plain mpmath has stored: every one is read right, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpmath import mp

from tests.cli.running import run

FOLDER = Path(__file__).parents[1] / "cases_of_people"
CASES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}

# Digits of the values that are stored.
STORED = 40

# What the one line must say of a case that is refused.
REFUSALS = {
    "cache-tail-attended": ("k holds", "the first nan at index [0, 4, 0]", "a key that is attended"),
    "mask-zero-one": ("attn_mask", "two readings", "attn_mask == 1", "--keys bias=attn_mask"),
    "name-unknown": ("frobnicate", "--keys", "--ignore frobnicate"),
}


def outputs(stated: Any, vectors: Any) -> None:
    shape = vectors["decimal"].shape[-3:]
    texts, radii = vectors["decimal"].reshape(shape), vectors["radius"].reshape(shape)
    assert np.shape(stated) == shape
    with mp.workdps(3 * STORED):
        for place in np.ndindex(*shape):
            right = mp.mpf(np.array(stated)[place])
            # what is stored is rounded itself, by half a unit of its last digit
            allowed = mp.mpf(float(radii[place])) + abs(right) * mp.mpf(10) ** (1 - STORED) / 2
            assert abs(mp.mpf(str(texts[place])) - right) <= allowed, place


def logarithms(stated: Any, vectors: Any) -> None:
    shape = np.shape(stated)
    for name, base in (("lse", mp.e), ("lse2", 2)):
        texts, radii = (vectors[f"{name}_{kind}"].reshape(shape) for kind in ("decimal", "radius"))
        with mp.workdps(3 * STORED):
            for place in np.ndindex(*shape):
                right = mp.mpf(np.array(stated)[place]) / mp.log(base)
                allowed = mp.mpf(float(radii[place])) + abs(right) * mp.mpf(10) ** (1 - STORED)
                assert abs(mp.mpf(str(texts[place])) - right) <= allowed, place


def gradient(name: str, stated: Any, vectors: Any) -> None:
    # differences with a step of 1e-30 are right to about 30 digits, beside numbers of the size of 1
    shape = np.shape(stated)
    with mp.workdps(60):
        for place in np.ndindex(*shape):
            gap = mp.mpf(np.array(stated)[place]) - mp.mpf(str(vectors[f"{name}_decimal"].reshape(shape)[place]))
            assert abs(gap) <= mp.mpf(10) ** -28 + mp.mpf(float(vectors[f"{name}_radius"].reshape(shape)[place]))


def roundings(stated: Any, vectors: Any) -> None:
    (name,) = stated
    assert str(vectors["rounded_format"]) == name
    assert vectors["rounded"].reshape(np.shape(stated[name])).tolist() == stated[name]


# How each thing that a case states is compared with the file of vectors.
CHECKS: dict[str, Callable[[Any, Any], None]] = {
    "output": outputs,
    "lse": logarithms,
    "rounded": roundings,
    **{name: partial(gradient, name) for name in ("dq", "dk", "dv")},
}

# What describes a case.
BESIDE = {"note", "options", "mechanism", "order", "refuse"}


def test_every_case_is_looked_at() -> None:
    assert len(CASES) >= 22
    assert {case for case, said in CASES.items() if "refuse" in said} == set(REFUSALS)
    for said in CASES.values():
        assert set(said) <= BESIDE | set(CHECKS)


@pytest.mark.parametrize("case", CASES)
def test_cases(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = CASES[case]
    (path,) = (path for path in FOLDER.glob(f"{case}.*") if path.suffix != ".json")
    chosen = ["--mechanism", said["mechanism"], "--order", said["order"]] if "mechanism" in said else []
    asked = ("reference", path, "--jobs", "0", *chosen)
    if "refuse" in said or "options" in said:
        code, printed, error = run(capsys, *asked)
        assert (code, printed, error.count("\n"), list(tmp_path.iterdir())) == (2, "", 1, [])
        assert all(part in error for part in REFUSALS.get(case, ()))
    if "refuse" in said:
        return
    rounded = [f"--rounded={name}" for name in said.get("rounded", {})]
    code, _, error = run(capsys, *asked, *rounded, *said.get("options", []))
    assert (code, error) == (0, "")
    with np.load("reference.npz", allow_pickle=False) as vectors:
        for name in CHECKS.keys() & said.keys():
            CHECKS[name](said[name], vectors)


def test_stored_values_that_are_wrong_are_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.npz"
    assert run(capsys, "reference", FOLDER / "window.npz", "--jobs", "0", "--out", out)[0] == 0
    stated = np.array(CASES["window"]["output"])
    with mp.workdps(STORED):
        stated[1, 2, 3] = mp.nstr(mp.mpf(stated[1, 2, 3]) * (1 + mp.mpf(10) ** -38), STORED)
    with np.load(out, allow_pickle=False) as vectors, pytest.raises(AssertionError, match=r"\(1, 2, 3\)"):
        outputs(stated.tolist(), vectors)
