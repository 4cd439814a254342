"""Input files on the command line: what every command that reads them takes, says back and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.echo import echo
from tests.cli.running import run
from verify.inputs.roles import RESERVED, USUAL
from verify.problem import Problem, described

Q, K, V = np.random.default_rng(87).standard_normal((3, 2, 5, 4)).astype(np.float32)

# How each command reads one file.
COMMANDS: dict[str, tuple[object, ...]] = {
    "reference": ("reference", "{}", "--jobs", "0", "--digits", "5"),
    "recommend": ("recommend", "{}", "--tolerance", "9"),
    "sweep": ("sweep", "--input", "{}", "--jobs", "0", "--orders", "1", "--arithmetic", "float32"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(command: str, name: str, *more: object) -> list[object]:
    return [name if part == "{}" else part for part in COMMANDS[command]] + list(more)


def unknown_names() -> list[str]:
    """Names in no table, some of them close to one that is."""
    rng = np.random.default_rng(88)
    names = (
        [name.upper() for name in USUAL] + [f"{name}_" for name in USUAL] + ["note", "", " q", "q/k", "\u00fc", "layer"]
    )
    names += ["".join(rng.choice(list("abcdefgh_"), 6)) for _ in range(10)]
    return [name for name in names if name not in RESERVED]


@pytest.mark.parametrize("command", COMMANDS)
def test_any_one_unknown_entry_is_refused_and_named(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in unknown_names():
        np.savez("a.npz", **{"q": Q, "k": K, "v": V, name: np.zeros(3)})
        code, printed, said = run(capsys, *asked(command, "a.npz"))
        assert (code, printed, said.count("\n")) == (2, "", 1)
        assert f"a.npz with {' '.join(name.split())}" in said
        assert [path.name for path in folder.iterdir()] == ["a.npz"]
    np.savez("a.npz", q=Q, k=K, v=V, first=Q, second=Q)
    assert "with first, second, not known here" in run(capsys, *asked(command, "a.npz"))[2]
    for ignored in (["--ignore", "first,second"], ["--ignore", "first", "--ignore", "second"]):
        assert run(capsys, *asked(command, "a.npz", *ignored))[0] == 0
        (folder / "reference.npz").unlink(missing_ok=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_names_layouts_and_bits_and_says_what_it_read(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pad = np.array([True, True, True, True, False])
    bits = {name: x.view(np.uint16) for name, x in (("Q", Q.astype(np.float16)), ("K", K.astype(np.float16)))}
    held = {**bits, "V": V.astype(np.float16).view(np.uint16)}
    np.savez("a.npz", **{name: x.swapaxes(0, 1) for name, x in held.items()}, pad=pad, note="mine")
    options = ["--keys", "q=Q,k=K,v=V,mask=pad", "--layout", "bshd", "--bits", "float16", "--scale", "0.5", "--causal"]
    options += ["--ignore", "note"]
    code, printed, said = run(capsys, *asked(command, "a.npz", *options, "--json"))
    assert (code, said) == (0, "")
    document = json.loads(printed)
    if command == "recommend":
        (document,) = document["inputs"]
    facts = document["problems"][0] if command == "sweep" else document["problem"]
    problem = Problem(
        Q.astype(np.float16), K.astype(np.float16), V.astype(np.float16), scale=0.5, causal=True, mask=pad
    )
    assert facts.items() >= {**described(problem), "layout": "bshd", "unused": [], "ignored": ["note"]}.items()
    (folder / "reference.npz").unlink(missing_ok=True)
    code, printed, said = run(capsys, *asked(command, "a.npz", *options))
    assert (code, said) == (0, "")
    assert echo(facts, 80) in printed
    assert "read as bshd, outputs [..., heads, queries, size]" in printed
    assert "28 of 50 pairs seen" in printed
    assert "left out: note" in printed


@pytest.mark.parametrize("command", COMMANDS)
def test_options_do_not_overrule_a_file(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("a.npz", q=Q, k=K, v=V, softmax_scale=0.5, is_causal=True, layout="bhsd", alignment="top-left")
    for option, name in {
        ("--scale", "1"): "softmax_scale",
        ("--no-causal",): "is_causal",
        ("--layout", "bshd"): "layout",
        ("--alignment", "bottom-right"): "alignment",
    }.items():
        code, printed, said = run(capsys, *asked(command, "a.npz", *option))
        assert (code, printed, said.count("\n")) == (2, "", 1)
        assert "where the file says" in said
        assert f"--ignore {name}" in said
        assert run(capsys, *asked(command, "a.npz", *option, "--ignore", name))[0] == 0
        (folder / "reference.npz").unlink(missing_ok=True)
    same = ["--scale", "0.5", "--causal", "--layout", "bhsd", "--alignment", "top-left"]
    assert run(capsys, *asked(command, "a.npz", *same))[0] == 0


def test_commas_in_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, array in {"a,b.npy": Q, "k.npy": K, "v,.npy": V, "b.npy": K}.items():
        np.save(name, array)
    np.savez("q,k,v.npz", q=Q, k=K, v=V)
    for path in ("a,b.npy,k.npy,v,.npy", "q,k,v.npz"):
        code, printed, said = run(capsys, "reference", path, "--json", "--force")
        assert (code, said) == (0, "")
        assert json.loads(printed)["problem"]["digest"] == Problem(Q, K, V).digest
    for path, message in {
        "a.npy,k.npy,v,.npy": "three .npy files",
        "k.npy,b.npy,absent.npy": "no file absent.npy",
        "k.npy,b.npy": "three .npy files",
        "k.npy,b.npy,b.npy,k.npy": "three .npy files",
        "k,.npz": "no file k,.npz",
    }.items():
        code, printed, said = run(capsys, "reference", path, "--out", "other.npz")
        assert (code, printed, said.count("\n")) == (2, "", 1)
        assert message in said
    code, _, said = run(capsys, "reference", "k.npy,b.npy,k.npy", "--keys", "k=b", "--out", "other.npz")
    assert (code, ".npy files name nothing" in said) == (2, True)


def test_what_is_there_and_not_used_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("a.npz", q=Q, k=K, v=V, dout=V)
    for command in COMMANDS:
        printed = run(capsys, *asked(command, "a.npz"))[1]
        assert ("dout is there and not used" in printed) == (command != "reference")
        assert ("gradients dq, dk, dv" in printed) == (command == "reference")


# Parts of a problem, and what is said of them.
SAID: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "2 heads x 5 queries x 5 keys of size 4; float32; scale 1/sqrt(4); all pairs seen"),
    "groups": (
        {"q": np.ones((3, 4, 1, 4)), "k": np.ones((3, 2, 1, 4)), "v": np.ones((3, 2, 1, 1))},
        "3 x 4 heads (2 of",
    ),
    "values": ({"v": np.ones((2, 5, 1))}, "of size 4, values of 1"),
    "kinds": ({"v": V.astype(np.float16)}, "q float32, k float32, v float16"),
    "scale": ({"scale": 0.125}, "scale 0.125"),
    "causal": ({"causal": True}, "causal; 30 of 50 pairs seen"),
    "alignment": ({"q": Q[:, :2], "causal": True, "alignment": "bottom-right"}, "causal; bottom-right; 18 of 20"),
    "window": ({"window": (1, None)}, "window of 1 before and any number after; 38 of 50"),
    "lengths": ({"lengths": 3}, "lengths 3; 30 of 50"),
    "segments": ({"segments": [0, 0, 1, 1, 4]}, "3 segments; 18 of 50"),
    "positions": ({"positions": np.arange(5) + 2, "causal": True}, "positions 2 to 6"),
    "mask": ({"mask": np.eye(5, dtype=bool) & (np.arange(5) > 0)}, "a mask; 8 of 50 pairs seen; 2 rows see nothing"),
    "softcap": ({"softcap": 30}, "soft cap 30"),
    "bias": ({"bias": np.linspace(-2.5, 0, 5)}, "bias -2.5 to 0"),
    "slopes": ({"alibi_slopes": [0.5, 0.25]}, "alibi_slopes 0.25 to 0.5"),
    "sinks": ({"sinks": [1, -2]}, "sinks -2 to 1"),
    "dropout": ({"dropout_mask": np.tri(5, dtype=bool), "dropout": 0.25}, "dropout 0.25 with 0.6 kept"),
    "descales": ({"k_descale": [2.0, 2.0]}, "k_descale 2"),
    "tails": ({"lengths": 4, "k": np.where(np.arange(5)[:, None] < 4, K, np.nan)}, "8 numbers of k not finite, where"),
}


@pytest.mark.parametrize("case", SAID)
def test_problems_are_said_in_a_few_short_lines(case: str) -> None:
    parts, expected = SAID[case]
    problem = Problem(**{"q": Q, "k": K, "v": V, **parts})
    facts = described(problem)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    lines = echo(facts, 80).splitlines()
    assert expected in "; ".join(lines)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 3
    seen = problem.attended if problem.attended is not None else np.ones((*problem.q.shape[:-1], problem.keys), bool)
    assert facts["pairs"] == {"seen": int(seen.sum()), "all": seen.size, "share": seen.sum() / seen.size}
    assert facts["blind_rows"] == int((~seen.any(axis=-1)).sum())
