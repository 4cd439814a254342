"""Every command as a user meets it: what it prints where, its exit code, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from cli.main import app
from tests.cli.running import run
from verify.problem import Problem

FAST = ["--jobs", "0", "--input", "normal", "--head-sizes", "4", "--tokens", "8", "--orders", "0:2", "--logit-std", "1"]


BAD_SWEEPS = {
    "missing file": (["--input", "{}/absent.npz"], "no file"),
    "wrong key": (["--input", "{}/names.npz"], "it holds a, b, c"),
    "two keys": (["--input", "{}/names.npz", "--keys", "a,b"], "three different names"),
    "q and k disagree": (["--input", "{}/sizes.npz"], "q of head size 2 and k of head size 3"),
    "NaN": (["--input", "{}/nan.npz"], "the first nan at index [2, 0]"),
    "infinity": (["--input", "{}/infinite.npz"], "the first inf at index [0, 0]"),
    "d = 0 in a file": (["--input", "{}/zero.npz"], "a size of zero"),
    "d = 0": (["--head-sizes", "0"], "head size 0"),
    "order -1": (["--orders", "-1"], "order -1"),
    "order backwards": (["--orders", "3:1"], "runs backwards"),
    "order of words": (["--orders", "three"], "order 'three'"),
    "order beyond": (["--orders", "65"], "from 0 to 64"),
    "no order": (["--orders", ""], "order ''"),
    "many tokens": (["--tokens", "1:5000"], "at most 1000 values"),
    "unknown sample": (["--input", "sample:gpt"], "unknown sample 'gpt'"),
    "unknown input": (["--input", "gaussian"], "input 'gaussian'"),
    "unknown scenario": (
        ["--input", "nosuch:matches=2"],
        "input 'nosuch:matches=2'; expected one of sample:NAME, sampl",
    ),
    "unknown scenario, a fraction": (["--input", "nosuch:height=0.5"], "input 'nosuch:height=0.5'; expected one of"),
    "no match": (["--input", "needle:matches=0"], "matches 0; expected an integer of at least 1"),
    "more matches than tokens": (["--input", "needle:matches=9"], "matches 9 with 8 tokens; expected"),
    "unknown parameter": (
        ["--input", "needle:nosuch=1"],
        "unknown parameter 'nosuch'; expected one of matches, height;",
    ),
    "parameter of none": (["--input", "normal:mean=1"], "unknown parameter 'mean'; expected no parameters"),
    "parameter twice": (["--input", "needle:matches=1,matches=1"], "parameter 'matches' given twice"),
    "parameter of words": (["--input", "needle:matches=two"], "matches 'two'; expected a number"),
    "parameter nan": (["--input", "mean-v:mean=nan"], "mean nan; expected a number from"),
    "parameter with an underscore": (["--input", "needle:height=1_0"], "height '1_0'; expected a number"),
    "parameter without a value": (["--input", "needle:matches"], "parameter 'matches'; expected NAME=NUMBER"),
    "parameter with nothing": (["--input", "needle:matches="], "matches ''; expected a number"),
    "parameter without a name": (["--input", "needle:=2"], "parameter '=2'; expected NAME=NUMBER"),
    "a colon and nothing": (["--input", "needle:"], "parameter ''; expected NAME=NUMBER"),
    "a comma and nothing": (["--input", "needle:matches=1,"], "parameter ''; expected NAME=NUMBER"),
    "a name from a report": (["--input", "normal:d=4,n=8,std=1,seed=0"], "seed are given apart"),
    "unknown ending": (["--input", "{}/file.txt"], "one .npz file"),
    "no mechanism": (["--mechanisms", ""], "a mechanism without a name; expected one of softmax, logexp"),
    "no mechanism in between": (["--mechanisms", "softmax,,mean"], "a mechanism without a name"),
    "parameters of no mechanism": (["--mechanisms", ":order=3"], "a mechanism without a name"),
    "unknown mechanism": (["--mechanisms", "relu"], "unknown mechanism 'relu'"),
    "unknown form": (["--mechanisms", "taylor/fast"], "form 'fast'"),
    "unknown arithmetic": (["--arithmetic", "float7"], "unknown arithmetic 'float7'"),
    "logit spread": (["--logit-std", "wide"], "logit standard deviation 'wide'"),
    "logit spread nan": (["--logit-std", "nan"], "logit standard deviation nan"),
    "jobs": (["--jobs", "-5"], "jobs '-5'"),
    "jobs of words": (["--jobs", "many"], "jobs 'many'"),
    "scale of words": (["--input", "{}/good.npz", "--scale", "small"], "scale 'small'"),
    "scale nan": (["--input", "{}/good.npz", "--scale", "nan"], "scale nan"),
    "scale of nothing": (["--scale", "1"], "--scale with inputs it does not apply to"),
    "keys of nothing": (["--keys", "a,b,c"], "--keys with inputs it does not apply to"),
    "same key twice": (["--input", "{}/names.npz", "--keys", "a,a,b"], "keys 'a,a,b'"),
    "scale with an underscore": (["--input", "{}/good.npz", "--scale", "1_0"], "scale '1_0'"),
    "comma in a name": (["--input", "{}/a,b.npz"], "no file"),
    "spread beyond reason": (["--logit-std", "1e300"], "logit standard deviation 1e+300"),
    "folder as safetensors": (["--input", "{}/folder.safetensors"], "cannot be read"),
    "alignment": (["--input", "{}/good.npz", "--alignment", "left"], "alignment 'left'"),
    "unknown option": (["--colour"], "--colour"),
    "folder is a file": (["--out", "{}/file/run.sqlite"], "cannot be written"),
    "run file is none": (["--out", "{}/file"], "cannot be written"),
    "run file is a folder": (["--out", "{}"], "cannot be written"),
    "newline in a name": (["--input", "{}/a\n\x1b[31mb.npz"], "a \\x1b[31mb.npz"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_SWEEPS.values(), ids=BAD_SWEEPS.keys())
def test_bad_sweeps(arguments: list[str], message: str, inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(inputs.rglob("*"))
    out = [] if "--out" in arguments else ["--out", inputs / "run.sqlite"]
    code, printed, said = run(capsys, "sweep", *FAST, *out, *(a.replace("{}", str(inputs)) for a in arguments))
    assert (code, printed) == (2, "")
    assert message in said
    assert said.startswith("attnproof: ")
    assert said.count("\n") == 1
    assert "Traceback" not in said
    assert sorted(inputs.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prove"], "prove"),
        (["report"], "see attnproof --help"),
        (["report", "{}/absent.sqlite"], "no run file"),
        (["report", "{}/file"], "cannot be read"),
        (["report", "{}/run.sqlite", "--out", "{}/file/report"], "cannot be written"),
        (["list", "everything"], "everything"),
    ],
)
def test_bad_requests(
    arguments: list[str], message: str, inputs: Path, small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (inputs / "run.sqlite").write_bytes(small_run.read_bytes())
    before = sorted(inputs.rglob("*"))
    code, printed, said = run(capsys, *(a.replace("{}", str(inputs)) for a in arguments))
    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert message in said
    assert sorted(inputs.rglob("*")) == before


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_a_folder_without_permission(inputs: Path, small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # /proc takes no new files from anybody, not even from root, whom permissions do not stop
    place = Path("/proc/attnproof") if os.geteuid() == 0 else inputs / "closed"
    if os.geteuid() != 0:
        place.mkdir(mode=0o500)
    for arguments in (
        ["sweep", *FAST, "--out", place / "run.sqlite"],
        ["report", small_run, "--out", place / "report"],
    ):
        code, _, said = run(capsys, *arguments)
        assert (code, said.count("\n")) == (2, 1)
        assert "cannot be written" in said


def test_sweep_and_report(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = inputs / "new folder" / "run.sqlite"
    wide = ["--columns", "1000"]
    code, printed, said = run(capsys, "sweep", *FAST, "--input", inputs / "good.npz", "--out", out, *wide)
    shown = "1 head x 4 queries x 4 keys of size 3; float64; scale 1/sqrt(3); all pairs seen"
    assert (code, said) == (0, "")  # no terminal, no progress
    read = f"{inputs / 'good.npz'}:\n{shown}\n"
    assert printed.startswith(read)
    lines = printed.splitlines()
    assert lines[-2:] == ["32 cells: 32 measured now, 0 found in the file; 32 ok", f"run file: {out}"]
    assert lines[-3].startswith("Within 1 % of softmax in float32: taylor on ")
    code, printed, said = run(capsys, "sweep", *FAST, "--input", inputs / "good.npz", "--out", out, "--json")
    document = json.loads(printed)
    assert (code, document["measured"], document["reused"], len(document["records"])) == (0, 0, 32, 32)
    assert {record["input"] for record in document["records"]} == {facts["input"] for facts in document["problems"]}
    assert {record["digest"] for record in document["records"]} == {facts["digest"] for facts in document["problems"]}
    assert {record["input"] for record in document["records"]} == {
        "normal:d=4,n=8,std=1,seed=0",
        str(inputs / "good.npz"),
    }
    code, printed, said = run(capsys, "report", out, "--out", inputs / "report", "--json")
    document = json.loads(printed)
    assert (code, said) == (0, "")
    assert Path(document["page"]).is_file()
    assert all(Path(path).is_file() for path in document["files"])
    code, printed, _ = run(capsys, "report", out, "--out", inputs / "report", *wide)
    assert printed.endswith(f"page: {inputs / 'report' / 'report.html'}\n")
    assert lines[-3] in printed.splitlines()  # the same sentence


def test_options_reach_the_inputs(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--jobs", "0", "--input", inputs / "names.npz", "--keys", "a,b,c", "--scale", "0.5", "--causal"]
    chosen = ["--mechanisms", "softmax/softmax,taylor/scores", "--arithmetic", "float32", "--orders", "1,3"]
    code, printed, _ = run(capsys, "sweep", *arguments, *chosen, "--out", inputs / "run.sqlite", "--json")
    found = json.loads(printed)["records"]
    assert code == 0
    assert {(r["mechanism"], r["form"], r["labels"].get("order")) for r in found} == {
        ("softmax", "softmax", None),
        ("taylor", "scores", 1),
        ("taylor", "scores", 3),
    }
    assert {(r["scale"], r["causal"], r["arithmetic"]) for r in found} == {(0.5, True, "float32")}


def test_failed_cells_make_exit_code_one(
    inputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("verify.truth.enclosure.MAX_BITS", 64)
    code, printed, said = run(capsys, "sweep", *FAST, "--out", inputs / "run.sqlite")
    assert code == 1
    assert "16 failed" in printed
    assert said.count("\n") == 2
    assert re.match(r"attnproof: normal.*: softmax/softmax, and 15 more: .* digits of 33 at the cap of 64 bits", said)


KINDS = {"forms", "arithmetics", "formats", "samples", "scenarios", "metrics", "presets"}


def test_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = run(capsys, "list", "--json")
    lists = json.loads(printed)
    assert (code, set(lists)) == (0, {"mechanisms", *KINDS})
    code, table, _ = run(capsys, "list")
    assert all(name in table for names in lists.values() for name in names)
    assert max(map(len, table.splitlines())) <= 80


def test_help_needs_none_of_the_heavy_packages() -> None:
    script = (
        "import sys; from cli.main import main; code = main(['--help'])\n"
        "heavy = {'numpy', 'scipy', 'sympy', 'pandas', 'matplotlib', 'mpmath', 'flint', 'jinja2'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy or code else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: attnproof ")


def test_reading_runs_needs_none_of_what_measures() -> None:
    script = (
        "import sys; import reports.write\n"
        "heavy = {'scipy', 'sympy', 'mpmath', 'flint', 'verify.truth', 'verify.mechanisms'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", sorted(c.name for c in app.registered_commands if c.name))
def test_every_command_has_help_and_stands_in_the_documents(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = run(capsys, command, "--help")
    assert code == 0
    assert f"Usage: attnproof {command}" in printed
    root = Path(__file__).parents[2]
    assert f"attnproof {command}" in (root / "docs" / "commands.md").read_text()
    assert f"`{command}`" in (root / "README.md").read_text()


FOR_FILES = (["--keys", "q=Q"], ["--ignore", "note"], ["--layout", "bshd"], ["--bits", "bfloat16"])


def test_options_that_do_not_apply_are_refused(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in (
        ["--causal"],
        ["--head-sizes", "8"],
        ["--tokens", "8"],
        ["--logit-std", "1"],
        ["--seeds", "0"],
        *FOR_FILES,
    ):
        sample = ["sweep", "--input", "sample:minilm-layer05", "--out", inputs / "run.sqlite"]
        code, _, said = run(capsys, *sample, *option)
        assert (code, said.count("\n")) == (2, 1)
        assert f"{option[0]} with inputs it does not apply to" in said


def test_synthetic_options_reach_the_inputs(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spreads = ["--logit-std", "1,1.0000001", "--seeds", "0,3", "--no-causal", "--mechanisms", "softmax/softmax"]
    code, printed, _ = run(capsys, "sweep", *FAST, *spreads, "--out", inputs / "run.sqlite", "--json")
    found = json.loads(printed)["records"]
    assert code == 0
    assert len(found) == 2 * 2 * 2
    assert {(r["logit_std"], r["causal"]) for r in found} == {(1.0, False), (1.0000001, False)}
    assert len({r["digest"] for r in found}) == 4


def test_scenarios_are_measured_over_sizes_spreads_and_seeds(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twice = ["--input", "needle:matches=2,height=0.5", "--input", "needle:height=0.5, matches=2.0"]
    chosen = ["--head-sizes", "4,5", "--tokens", "8,9", "--logit-std", "1,2", "--seeds", "0,3", "--no-causal"]
    few = ["--jobs", "0", "--mechanisms", "softmax/softmax", "--arithmetic", "float32", "--out", inputs / "run.sqlite"]
    code, printed, _ = run(capsys, "sweep", *twice, *chosen, *few, "--json")
    found = json.loads(printed)["records"]
    assert code == 0
    assert sorted(r["input"] for r in found) == sorted(
        f"needle:height=0.5,matches=2,d={d},n={n},std={std},seed={seed},full"
        for d in (4, 5)
        for n in (8, 9)
        for std in (1, 2)
        for seed in (0, 3)
    )
    assert {(r["kind"], r["causal"], r["status"]) for r in found} == {("synthetic", False, "ok")}
    assert {(r["head_size"], r["keys"], r["logit_std"]) for r in found} == {
        (d, n, std) for d in (4, 5) for n in (8, 9) for std in (1.0, 2.0)
    }


def test_every_scenario_that_is_listed_is_measured(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenarios = json.loads(run(capsys, "list", "--json")[1])["scenarios"]
    chosen = [option for name in scenarios for option in ("--input", name)]
    code, printed, _ = run(capsys, "sweep", *FAST, *chosen, "--out", inputs / "run.sqlite", "--json")
    found = json.loads(printed)
    assert (code, found["status"]["ok"]) == (0, found["cells"])
    assert {r["input"].partition(":")[0] for r in found["records"]} == set(scenarios)
    defaults = {name: text.rpartition("; parameters ")[2] for name, text in scenarios.items() if "; param" in text}
    assert defaults["needle"] == "matches=1,height=10"
    chosen = [option for name, text in defaults.items() for option in ("--input", f"{name}:{text}")]
    code, printed, _ = run(capsys, "sweep", *FAST, *chosen, "--out", inputs / "run.sqlite", "--json")
    assert code == 0
    assert {r["digest"] for r in json.loads(printed)["records"]} <= {r["digest"] for r in found["records"]}


def test_alignment_reaches_the_input(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = np.random.default_rng(26).standard_normal((3, 6, 2))
    np.savez(inputs / "cross.npz", q=tokens[0, :2], k=tokens[1], v=tokens[2])
    digests = []
    for alignment in ("top-left", "bottom-right"):
        arguments = ["--jobs", "0", "--input", inputs / "cross.npz", "--causal", "--alignment", alignment, "--json"]
        code, printed, _ = run(capsys, "sweep", *arguments, "--orders", "1", "--out", inputs / "run.sqlite")
        digests.append(json.loads(printed)["records"][0]["digest"])
        assert code == 0
    q, k, v = tokens[0, :2], tokens[1], tokens[2]
    expected = [Problem(q, k, v, causal=True, alignment=a) for a in ("top-left", "bottom-right")]
    assert digests == [problem.digest for problem in expected]


def test_a_damaged_run_file_is_no_half_document(
    inputs: Path, small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = inputs / "run.sqlite"
    assert run(capsys, "sweep", *FAST, "--out", out)[0] == 0
    with closing(sqlite3.connect(out)) as connection:
        connection.execute("UPDATE rest SET histogram = substr(histogram, 1, 10)")
        connection.commit()
    for arguments in (["sweep", *FAST, "--out", out, "--json"], ["report", out, "--out", inputs / "report"]):
        code, printed, said = run(capsys, *arguments)
        assert (code, printed, said.count("\n")) == (2, "", 1)
        assert "damaged" in said
    assert not (inputs / "report").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_report_does_not_overwrite_its_run(inputs: Path, small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (inputs / "cells.csv").write_bytes(small_run.read_bytes())
    code, _, said = run(capsys, "report", inputs / "cells.csv", "--out", inputs)
    assert (code, said.count("\n")) == (2, 1)
    assert (inputs / "cells.csv").read_bytes() == small_run.read_bytes()
