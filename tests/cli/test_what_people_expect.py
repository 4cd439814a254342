"""Versions, help, widths, and messages that name the option which remedies them."""

from __future__ import annotations

import os
import re
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from cli import text
from cli.main import app
from cli.progress import progress_bar
from tests.cli.running import run

COMMANDS = sorted(command.name for command in app.registered_commands if command.name)


def test_the_version_with_what_numbers_depend_on(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, said = run(capsys, "--version")
    assert (code, said, printed.count("\n")) == (0, "", 1)
    assert printed.startswith(f"attnproof {version('attnproof')} (python 3.")
    assert all(f"{name} {version(name)}" in printed for name in ("numpy", "mpmath", "python-flint"))


def test_nothing_at_all_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, said = run(capsys)
    assert (code, said) == (0, "")
    assert printed == run(capsys, "--help")[1] == run(capsys, "-h")[1]
    assert all(f"\n  {command} " in printed for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_short_of_the_edge(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = run(capsys, command, "-h")
    assert code == 0
    assert printed == run(capsys, command, "--help")[1]
    assert max(map(len, printed.splitlines())) <= 80
    assert "--columns" in printed


def made(folder: Path) -> Path:
    """Make a file with a long name, and return its place."""
    tokens = np.random.default_rng(7).standard_normal((3, 2, 6, 4))
    path = folder / ("a_long_name_" * 12 + ".npz")
    np.savez(path, **dict(zip("qkv", tokens, strict=True)), causal=True, softcap=30.0, dout=tokens[2])
    return path


@pytest.mark.parametrize("width", [40, 80])
def test_no_printed_line_is_wider_than_asked_for(
    width: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    path, out = made(tmp_path), tmp_path / "run.sqlite"
    commands: list[list[object]] = [
        ["features", "--orders", "0:3"],
        ["features", "--orders", "200", "--head-sizes", "64"],
        ["features", "--width", "1024:4096", "--value-size", "16"],
        ["features", "--monomials", "--head-sizes", "3", "--orders", "2,9"],
        ["features", "--mechanism", "favor"],
        ["list"],
        ["recommend", path, "--tolerance", "1e-2", "--arithmetic", "float32"],
        ["recommend", path, "--tolerance", "1e-9", "--max-order", "2"],
        ["reference", path, "--mechanism", "taylor:order=1", "--rounded", "bfloat16", "--out", tmp_path / "o.npz"],
        ["sweep", "--input", path, "--jobs", "0", "--orders", "1", "--mechanisms", "taylor", "--out", out],
        ["report", out, "--out", tmp_path / "report"],
    ]
    for command in commands:
        code, printed, _ = run(capsys, *command, "--columns", width)
        assert code in (0, 1), command
        assert printed, command
        assert max(map(len, printed.splitlines())) <= width, command


def test_the_width_is_that_of_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = run(capsys, "features")[1]
    assert max(map(len, narrow.splitlines())) <= 80
    assert run(capsys, "features", "--columns", "80")[1] == narrow
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "fileno", lambda: 1)
    monkeypatch.setattr(os, "get_terminal_size", lambda descriptor: os.terminal_size((200, 50)))
    assert text.width_of(None) == 200
    assert text.width_of("90") == 90
    monkeypatch.setattr(os, "get_terminal_size", lambda descriptor: os.terminal_size((0, 0)))
    assert text.width_of(None) == 80


def test_progress_stays_on_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.progress.EVERY", 0.0)
    with progress_bar("cells") as update:
        update(1, 1000, "name " * 60)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert len(said) <= 81


NAMED = {
    "--columns": ["features", "--columns", "5"],
    "--head-sizes": ["features", "--head-sizes", "0"],
    "--orders": ["sweep", "--orders", "3:1"],
    "--tokens": ["sweep", "--tokens", "many"],
    "--logit-std": ["sweep", "--logit-std", "x"],
    "--seeds": ["sweep", "--seeds", "-1"],
    "--jobs": ["sweep", "--jobs", "-1"],
    "--as": ["features", "--as", "html"],
    "--storage": ["features", "--storage", "float61"],
    "--value-size": ["features", "--value-size", "x"],
    "--width": ["features", "--width", "0"],
    "--tolerance": ["recommend", "sample:minilm-layer05", "--tolerance", "x"],
    "--max-order": ["recommend", "sample:minilm-layer05", "--tolerance", "1", "--max-order", "x"],
    "--seconds": ["recommend", "sample:minilm-layer05", "--tolerance", "1", "--seconds", "x"],
    "--digits": ["reference", "sample:minilm-layer05", "--digits", "0"],
    "--memory": ["reference", "sample:minilm-layer05", "--memory", "0"],
    "--order": ["reference", "sample:minilm-layer05", "--mechanism", "taylor", "--order", "x"],
    "--rounded": ["reference", "sample:minilm-layer05", "--rounded", "bfloat61"],
    "--rows": ["reference", "sample:minilm-layer05", "--rows", "128"],
}


@pytest.mark.parametrize(("option", "command"), NAMED.items(), ids=NAMED)
def test_messages_name_the_option(
    option: str, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed, said = run(capsys, *command)
    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert said.endswith(f" ({option})\n")


def test_what_is_too_large_names_its_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "v.npz"
    _, _, said = run(capsys, "reference", "sample:minilm-layer05", "--memory", "0.001", "--out", place)
    assert all(option in said for option in ("--rows", "--digits", "--memory"))
    _, _, said = run(capsys, "sweep", "--tokens", "8", "--rows", "9", "--input", "normal", "--out", place)
    assert "--rows" in said
    _, _, said = run(capsys, "recommend", "sample:minilm-layer05", "--tolerance", "1", "--seconds", "1e-9")
    assert "--seconds" in said
    assert run(capsys, "sweep", "--input", "neddle")[2].endswith("; did you mean needle?\n")
    assert run(capsys, "sweep", "--input", "sample:minilm-layer5")[2].endswith("; did you mean minilm-layer05?\n")


def test_refusals_are_told_with_their_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    q, k, v = np.random.default_rng(1).standard_normal((3, 5, 3))
    np.savez(tmp_path / "a.npz", q=q, k=k, v=v, window=np.array([1, 1]))
    command = ["sweep", "--input", tmp_path / "a.npz", "--jobs", "0", "--orders", "1", "--out", tmp_path / "r.sqlite"]
    for found in ("8 measured now, 0", "0 measured now, 8"):  # the same when nothing is left to do
        code, printed, said = run(capsys, *command, "--mechanisms", "taylor", "--columns", "500")
        assert code == 0
        assert re.search(rf"8 cells: {found} found in the file; \d ok, \d refused", printed)
        lines = said.splitlines()
        assert lines
        assert len(lines) <= 5
        assert all(
            re.fullmatch(r"attnproof: refused: .*a\.npz: taylor:order=1/\w+(, and \d more)?: .*", x) for x in lines
        )
        assert len({line.rpartition(": ")[2] for line in lines}) == len(lines)


def test_one_of_anything_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "a.npz", q=[[1.0]], k=[[1.0]], v=[[2.0]])
    said = run(capsys, "reference", tmp_path / "a.npz", "--out", tmp_path / "b.npz", "--columns", "500")[1]
    assert "1 x 1 output element\n1 head x 1 query x 1 key of size 1" in said
