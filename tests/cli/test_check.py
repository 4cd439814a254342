"""attnproof check on the command line: what it says, writes and refuses."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cli.again import replay_command
from tests.cli.running import run
from verify.check.judgement import Verdict
from verify.check.properties import PROPERTIES
from verify.check.replay import read_replay
from verify.check.run import Asked, check_function
from verify.check.suite import CASES
from verify.isolated.isolation import Target
from verify.testing import cases

FILE = Path(__file__).parents[1] / "check" / "wrong.py"
FEW = "sharp"


def test_a_right_function_passes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, printed, said = run(capsys, "check", f"{FILE}:right", "--suite", FEW, "--out", str(tmp_path / "failed"))
    assert (code, said) == (0, "")
    assert "passes as softmax in float32: 9 of 9 cases." in " ".join(printed.split())
    assert not (tmp_path / "failed").exists()


def test_a_wrong_one_is_told_what_is_wrong_and_how_to_run_it_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "failed"
    code, printed, _ = run(capsys, "check", f"{FILE}:scale_missing", "--suite", FEW, "--out", str(out))
    text = " ".join(printed.split())
    assert code == 1
    assert "Likely: the scale is missing" in text
    assert "got " in text
    assert "expected " in text
    command = shlex.split(printed.splitlines()[-1])
    assert command[:2] == ["attnproof", "check"]
    # another function passes the same case
    command[command.index(f"{FILE}:scale_missing")] = f"{FILE}:right"
    assert run(capsys, *command[1:])[0] == 0


# A function of its own, in a file and in a package; its scale is missing.
UNSCALED = """
import numpy as np
def attention(q, k, v):
    s = q @ np.swapaxes(k, -1, -2)
    w = np.exp(s - s.max(-1, keepdims=True))
    return (w @ v) / w.sum(-1, keepdims=True)
"""


@pytest.mark.parametrize("function", ["my  files/mine.py:attention", "inner.mine:attention"])
def test_the_printed_command_reproduces_the_failure_in_another_folder(
    function: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here / "my  files", here / "inner", there):
        folder.mkdir(parents=True)
    for name in ("my  files", "inner"):
        (here / name / "mine.py").write_text(UNSCALED)
    python = here / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    monkeypatch.chdir(here)
    how = ("--python", "./python", "--timeout", "45.5", "--memory", "3", "--out", "failed here", "--suite", FEW)
    code, printed, _ = run(capsys, "check", function, *how)
    assert code == 1
    command = printed.splitlines()[-1].strip()
    for part in (f"--python {python}", "--timeout 45.5", "--memory 3", f"'{here}/failed here/"):
        assert part in command
    assert command.startswith("attnproof") == function.startswith("my")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    again = subprocess.run(
        command, shell=True, cwd=there, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert (again.returncode, again.stderr) == (1, "")
    assert "Likely: the scale is missing" in " ".join(again.stdout.split())


def test_the_printed_command_says_what_the_file_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    usual = Asked(Target("a.b:f"))
    assert replay_command(usual, "/x.npz") == "attnproof check a.b:f --replay /x.npz"
    own = Asked(Target("a.b:f", "torch", "cuda:1", "python3.12"), mechanism="mine.py:MINE:order=3", causal=True)
    assert replay_command(own, "/x.npz") == (
        f"attnproof check a.b:f --replay /x.npz --mechanism {tmp_path}/mine.py:MINE:order=3 --framework torch"
        " --device cuda:1 --python python3.12"
    )
    whole = Asked(Target("a.b:f"), mechanism="/there/mine.py:MINE")
    assert replay_command(whole, "/x.npz") == "attnproof check a.b:f --replay /x.npz --mechanism /there/mine.py:MINE"


def test_a_replay_in_an_arithmetic_that_does_not_hold_its_numbers_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run(capsys, "check", f"{FILE}:scale_missing", "--suite", FEW, "--out", str(tmp_path))
    replay = ("check", f"{FILE}:scale_missing", "--replay", str(tmp_path / "needle.npz"))
    code, printed, said = run(capsys, *replay, "--arithmetic", "bfloat16+float32")
    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert "q of needle, which bfloat16 does not hold" in said
    # a wider one holds them all
    assert run(capsys, *replay, "--arithmetic", "float64")[0] == 1


def test_json_has_every_number_and_nothing_else_is_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ("--suite", FEW, "--json", "--gate", "fla-ci", "--out", str(tmp_path / "failed"))
    code, printed, _ = run(capsys, "check", f"{FILE}:scale_tenth_off", *arguments)
    document = json.loads(printed)
    assert (code, document["passed"], document["cause"]) == (1, False, "the scale is off by a factor of 0.9")
    needle = next(case for case in document["cases"] if case["case"] == "needle")
    assert needle["verdict"] == "failed"
    assert needle["ratio"] > document["factor_allowed"]
    assert needle["gates"] == {"fla-ci": True}
    assert Path(needle["replay"]).is_file()
    worst = needle["worst"][0]
    assert abs(worst["got"] - worst["expected"]) > worst["radius"]


def test_what_a_mechanism_claims_is_held_against_its_own_formula(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "series.py"
    path.write_text(
        "import numpy as np\n"
        "def attention(q, k, v):\n"
        "    s = q @ np.swapaxes(k, -1, -2) * q.dtype.type(q.shape[-1] ** -0.5)\n"
        "    w = 1 + s + s * s / 2 + s * s * s / 6\n"
        "    return (w @ v) / w.sum(-1, keepdims=True)\n"
        "def without_factorials(q, k, v):\n"
        "    s = q @ np.swapaxes(k, -1, -2) * q.dtype.type(q.shape[-1] ** -0.5)\n"
        "    w = 1 + s + s * s + s * s * s\n"
        "    return (w @ v) / w.sum(-1, keepdims=True)\n"
        "def without_multiplicities(q, k, v):\n"
        "    i, j = np.triu_indices(q.shape[-1])\n"
        "    f = lambda x: x[..., i] * x[..., j]\n"
        "    c = q.dtype.type(q.shape[-1] ** -0.5)\n"
        "    w = 1 + c * (q @ np.swapaxes(k, -1, -2)) + c * c / 2 * (f(q) @ np.swapaxes(f(k), -1, -2))\n"
        "    return (w @ v) / w.sum(-1, keepdims=True)\n"
    )
    needles = "needle,low needle,high needle,needle of 60,needles"
    out = ("--suite", FEW, "--leave-out", needles, "--out", str(tmp_path / "failed"))
    code, printed, _ = run(capsys, "check", f"{path}:attention", "--mechanism", "taylor:order=3", *out)
    assert code == 0, printed
    for name, order, cause in (
        ("attention", 2, "order higher by one: order 3"),
        ("attention", 4, "order lower by one: order 3"),
        ("without_factorials", 3, "coefficients without factorials"),
        ("without_multiplicities", 2, "multiplicities left out"),
    ):
        code, printed, _ = run(capsys, "check", f"{path}:{name}", "--mechanism", f"taylor:order={order}", *out)
        assert code == 1
        assert f"Likely: {cause}" in " ".join(printed.split())


@pytest.mark.parametrize("layout", ["bshd", "hsd", "sd"])
def test_layouts(layout: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "laid.py"
    swap = "np.swapaxes(x, 1, 2)" if layout == "bshd" else "x"
    axes = {"bshd": 4, "hsd": 3, "sd": 2}[layout]
    path.write_text(
        "import numpy as np\n"
        "def attention(q, k, v, causal=False):\n"
        f"    assert q.ndim == {axes}\n"
        f"    q, k, v = ({swap} for x in (q, k, v))\n"
        "    s = q @ np.swapaxes(k, -1, -2) * q.dtype.type(q.shape[-1] ** -0.5)\n"
        "    s = np.where(np.tri(*s.shape[-2:], dtype=bool) | (not causal), s, -np.inf)\n"
        "    w = np.exp(s - s.max(-1, keepdims=True))\n"
        "    x = (w @ v) / w.sum(-1, keepdims=True)\n"
        f"    return {swap}.copy()\n"
    )
    code, printed, _ = run(capsys, "check", f"{path}:attention", "--layout", layout, "--out", str(tmp_path / "failed"))
    assert code == 0, printed
    assert run(capsys, "check", f"{path}:attention", "--suite", FEW, "--out", str(tmp_path / "f"))[0] == 1


def test_a_function_that_is_always_causal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "causal.py"
    path.write_text(
        "import numpy as np\n"
        "def attention(q, k, v):\n"
        "    s = q @ np.swapaxes(k, -1, -2) * q.dtype.type(q.shape[-1] ** -0.5)\n"
        "    s = np.where(np.tri(*s.shape[-2:], dtype=bool), s, -np.inf)\n"
        "    w = np.exp(s - s.max(-1, keepdims=True))\n"
        "    return (w @ v) / w.sum(-1, keepdims=True)\n"
    )
    out = ("--out", str(tmp_path / "failed"))
    fewer = ("--leave-out", "no chunk fits,random")
    assert run(capsys, "check", f"{path}:attention", "--causal", *fewer, *out)[0] == 0
    assert run(capsys, "check", f"{path}:attention", *fewer, *out)[0] == 1


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ((), "nothing to check"),
        (("mine.py",), "function 'mine.py'"),
        (("mine.py:attention",), "mine.py, which is no file"),
        (("no.such.module:f",), "does not import"),
        (("numpy:pi",), "of type float"),
        ((f"{FILE}:right", "--suite", "fast"), "suite 'fast'"),
        ((f"{FILE}:right", "--mechanism", "tailor"), "tailor"),
        ((f"{FILE}:right", "--arithmetic", "float31"), "float31"),
        ((f"{FILE}:right", "--layout", "dshb"), "layout 'dshb'"),
        ((f"{FILE}:right", "--framework", "mxnet"), "framework 'mxnet'"),
        ((f"{FILE}:right", "--framework", "jax"), "without jax"),
        ((f"{FILE}:right", "--python", "/no/python"), "cannot be started"),
        ((f"{FILE}:right", "--timeout", "0"), "timeout '0'"),
        ((f"{FILE}:right", "--leave-out", "rndom"), "case 'rndom'"),
        ((f"{FILE}:right", "--gate", "kernelbanch"), "did you mean kernelbench?"),
        ((f"{FILE}:right", "--exp", "1+x"), "one of the two"),
        (("math:pow",), "a function of (x, y)"),
        ((f"{FILE}:_attention",), "a function that needs mask, causal, scale"),
    ],
)
def test_bad_requests_are_refused_in_one_line(
    arguments: tuple[str, ...], given: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, printed, said = run(capsys, "check", *arguments, "--out", str(tmp_path / "failed"))
    assert (code, printed) == (2, "")
    assert given in said
    assert said.count("\n") == 1


def test_cases_in_which_the_mean_of_v_is_right_pass_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Zeros fail them; the mean of v passes those in which it is right, and that is no pass."""
    known = [str(case) for case in cases("quick")]
    kept = {"one key", "one token", "equal logits", "constant v"}
    others = [name for name in known if name not in kept and name not in [own.name for own in PROPERTIES]]
    for name in ("mean", "zeros"):
        checked = check_function(Asked(Target(f"{FILE}:{name}"), left_out=tuple(others)))
        assert not checked.passed
    assert {result.name for result in checked.of(Verdict.FAILED)} >= kept
    path = tmp_path / "mean.py"
    path.write_text(
        "import numpy as np\ndef mean(q, k, v):\n    return np.repeat(v.mean(-2, keepdims=True), q.shape[-2], -2)\n"
    )
    left = ",".join(name for name in others)
    assert run(capsys, "check", f"{path}:mean", "--leave-out", left, "--out", str(tmp_path / "failed"))[0] == 1


def test_files_that_are_no_replays_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "plain.npz"
    np.savez(path, q=np.ones((2, 2)), k=np.ones((2, 2)), v=np.ones((2, 2)))
    assert run(capsys, "check", f"{FILE}:right", "--replay", str(path))[0] == 2
    np.savez(path, q=np.ones((2, 2)), k=np.ones((2, 2)), v=np.ones((2, 2)), attnproof_check=np.array('{"case": 3'))
    assert run(capsys, "check", f"{FILE}:right", "--replay", str(path))[0] == 2
    assert run(capsys, "check", f"{FILE}:right", "--replay", str(tmp_path / "none.npz"))[0] == 2


def test_edited_replays_are_refused_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run(capsys, "check", f"{FILE}:mask_ignored", "--out", str(tmp_path))
    with np.load(tmp_path / "mask.npz") as held:
        entries = dict(held)
    kept = json.loads(str(entries["attnproof_check"]))
    ran = tmp_path / "ran"
    program = tmp_path / "program.py"
    program.write_text(f"open({str(ran)!r}, 'w').close()\n")
    wrong = [
        {"layout": ["bhsd"]},
        {"causal": "yes"},
        {"scale": True},
        {"takes": None},
        {"mechanism": 3},
        {"mechanism": f"{program}:MINE"},
    ]
    texts = ["[" * 100_000, *(json.dumps(kept | edit) for edit in wrong)]
    path = tmp_path / "edited.npz"
    for text in texts:
        np.savez(path, **(entries | {"attnproof_check": np.array(text)}))
        code, printed, said = run(capsys, "check", f"{FILE}:mask_ignored", "--replay", str(path))
        assert (code, printed, said.count("\n")) == (2, "", 1)
    assert "a program; expected one that you name too; say it with --mechanism" in said
    assert not ran.exists()


def test_a_replay_has_the_problem_that_failed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run(capsys, "check", f"{FILE}:mask_ignored", "--out", str(tmp_path))
    kept = read_replay(tmp_path / "mask.npz")
    assert kept.problem.mask is not None
    assert kept.case.name == "mask"
    assert kept.settings["arithmetic"] == "float32"


def test_rows_that_see_no_key_are_no_other_mistake(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Where all other rows are right, no mistake in them is looked for."""
    path = tmp_path / "hidden.py"
    path.write_text(
        "import numpy as np\n"
        "def attention(q, k, v, attn_mask=None):\n"
        "    s = q @ np.swapaxes(k, -1, -2) * q.dtype.type(q.shape[-1] ** -0.5)\n"
        "    if attn_mask is not None and attn_mask.dtype == bool:\n"
        "        s = np.where(attn_mask, s, -1e30)\n"
        "    elif attn_mask is not None:\n"
        "        s = s + attn_mask\n"
        "    w = np.exp(s - s.max(-1, keepdims=True)).astype(q.dtype)\n"
        "    return (w @ v) / w.sum(-1, keepdims=True)\n"
    )
    others = ",".join(case.name for case in CASES if case.name not in ("mask", "empty rows") and "," not in case.name)
    code, printed, _ = run(
        capsys, "check", f"{path}:attention", "--leave-out", others, "--out", str(tmp_path / "failed")
    )
    assert code == 1
    assert "24 rows that see no key are neither 0 nor NaN" in " ".join(printed.split())
    assert "Likely" not in printed
    assert "if this were so" not in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--exp", "1+x", "--suite", "full"), "--suite with --exp"),
        (("--exp", "1+x", "--layout", "bshd"), "--layout with --exp"),
        ((f"{FILE}:right", "--range", "0:2"), "--range with no --exp"),
        ((f"{FILE}:right", "--replay", "x.npz", "--leave-out", "mask"), "--leave-out with --replay"),
        ((f"{FILE}:right", "--device", "cuda"), "--device with --framework numpy"),
    ],
)
def test_options_that_say_nothing_are_refused(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed, message = run(capsys, "check", *arguments)
    assert (code, printed) == (2, "")
    assert message == f"attnproof: {said}; expected options that apply; leave it out\n"
