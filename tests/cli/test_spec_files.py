"""Sweeps that are asked for in a file: a spec of one's own, or a preset that comes with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.spec import PRESETS, preset_text
from tests.cli.running import run
from verify.sweep import RunFile


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


SPEC = """
input = ["normal", "needle"]
head-sizes = [3]
tokens = 8
logit_std = 1
orders = "1:2"
mechanisms = ["softmax/softmax", "taylor/packed:side=both,degrees=apart"]
arithmetic = ["float32"]
causal = false
rows = 5
jobs = 0
"""


def measured(path: Path = Path("run.sqlite")) -> set[tuple[str, str, str, int, int]]:
    with RunFile(path) as run_file:
        return {
            (record.input.partition(":")[0], record.member, record.variant, record.measured_rows, int(record.causal))
            for _, record, _ in run_file.records()
        }


def test_a_file_asks_for_what_options_ask_for_and_they_win(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.toml").write_text(SPEC)
    assert run(capsys, "sweep", "--spec", "mine.toml")[0] == 0
    forms = [("softmax", "softmax")]
    forms += [(f"taylor:order={order}", "packed:side=both,degrees=apart") for order in (1, 2)]
    assert measured() == {(name, *form, 5, 0) for name in ("normal", "needle") for form in forms}
    options = ("--orders", "3", "--causal", "--input", "normal", "--out", "other.sqlite")
    assert run(capsys, "sweep", *options, "--spec", "mine.toml")[0] == 0
    forms = [*forms[:1], ("taylor:order=3", forms[1][1])]
    assert measured(Path("other.sqlite")) == {("normal", *form, 5, 1) for form in forms}


def test_a_preset_gives_way_to_a_file_and_both_to_options(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.toml").write_text('tokens = 4\nlogit_std = 2\narithmetic = "float32"\njobs = 0\norders = 0\n')
    for order in ([], ["--preset", "quick"]):
        more = [] if order else ["--preset", "quick"]
        command = ["sweep", *order, "--spec", "mine.toml", *more, "--head-sizes", "2", "--input", "normal"]
        code, _, said = run(capsys, *command)
        assert code == 0, said
    with RunFile(Path("run.sqlite")) as run_file:
        assert {record.input for _, record, _ in run_file.records()} == {"normal:d=2,n=4,std=2,seed=0"}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_file_to_copy(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = run(capsys, "list", "--preset", name)
    assert (code, printed) == (0, preset_text(name))
    assert printed.startswith("# ")
    Path("copy.toml").write_text(printed)
    shown = [run(capsys, "sweep", *asked, "--help")[1] for asked in (["--preset", name], ["--spec", "copy.toml"])]
    assert shown[0] == shown[1] != run(capsys, "sweep", "--help")[1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("headsizes = 3", "headsizes in mine.toml; expected one of input, head_sizes, "),
        ("spec = 'other.toml'", "spec in mine.toml; expected one of "),
        ("tokens = {least = 1}", "tokens = {'least': 1} in mine.toml; expected text, a number"),
        ("tokens = [[1]]", "tokens = [[1]] in mine.toml; expected text, a number"),
        ("tokens = 2026-11-28", "tokens = datetime.date(2026, 11, 28) in mine.toml; expected text, a number"),
        ("input = []", "input = [] in mine.toml; expected text, a number"),
        ("tokens = 0", "tokens 0; expected integers from 1"),
        ("tokens = ", "mine.toml, which is no TOML (Invalid value"),
        ("tokens = 1\ntokens = 2", "mine.toml, which is no TOML (Cannot overwrite a value"),
        ("rows = 1.5", "rows '1.5'; expected"),
        ("jobs = 0.5", "jobs '0.5'; expected"),
        ("memory = '1x'", "memory '1x'; expected"),
        ("causal = 'perhaps'", "Invalid value for '--causal'"),
    ],
)
def test_what_a_file_gets_wrong_is_said_in_a_line(text: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.toml").write_text(text)
    code, printed, said = run(capsys, "sweep", "--spec", "mine.toml")
    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert says in said
    assert not Path("run.sqlite").exists()


def test_a_file_that_is_none_is_said_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("latin.toml").write_bytes(b'input = "\xe9"')
    for asked, says in (
        (["--spec", "none.toml"], "none.toml (No such file or directory)"),
        (["--spec", "."], ". (Is a directory)"),
        (["--spec", "latin.toml"], "latin.toml, which is no TOML ("),
        (["--preset", "quik"], "did you mean quick?"),
        (["--preset", "../quick"], "preset '../quick'; expected one of quick"),
    ):
        code, printed, said = run(capsys, "sweep", *asked)
        assert (code, printed, said.count("\n")) == (2, "", 1)
        assert says in said
