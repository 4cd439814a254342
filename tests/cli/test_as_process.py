"""attnproof as a process: interrupted, killed, its output closed, names in any script."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.running import start
from verify.errors import InvalidRequestError
from verify.sweep import RunFile


def cells(path: Path) -> int:
    try:
        with RunFile(path) as file:
            return sum(1 for _ in file.records())
    except InvalidRequestError:  # not there yet, or just being made
        return 0


def is_run(path: Path) -> bool:
    try:
        with RunFile(path):
            return True
    except InvalidRequestError:  # not there yet, or just being made
        return False


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
@pytest.mark.parametrize("wait_for_cells", [False, True])
def test_interrupting_keeps_what_is_finished(wait_for_cells: bool, tmp_path: Path) -> None:
    # largest first: one worker stays with the 1,500 tokens while the other finishes small ones
    sizes = ["--head-sizes", "4", "--tokens", "8,9,10,1500", "--logit-std", "1"]
    process = start(
        tmp_path,
        *["sweep", "--input", "normal", *sizes, "--jobs", "2", "--out", "run.sqlite"],
        start_new_session=True,
        # whoever runs the tests may have had it ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        deadline = time.monotonic() + 100
        # without waiting, the signal meets workers that are still importing
        while not (cells if wait_for_cells else is_run)(tmp_path / "run.sqlite"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        printed, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert printed == ""
    kept = cells(tmp_path / "run.sqlite")
    assert kept > 0 or not wait_for_cells
    verb = "finished cell is" if kept == 1 else "finished cells are"
    assert said == f"attnproof: interrupted; {kept} {verb} kept in run.sqlite; the same command goes on from there\n"


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_a_killed_sweep_leaves_no_orphans(tmp_path: Path) -> None:
    arguments = ["--input", "normal", "--head-sizes", "4", "--tokens", "2000", "--jobs", "2", "--out", "run.sqlite"]
    process = start(tmp_path, "sweep", *arguments, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run.sqlite").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1.0)
    process.kill()
    process.communicate()  # ends when the last process that holds the pipes has gone
    while alive(process.pid):
        assert time.monotonic() < deadline, "orphans"
        time.sleep(0.1)


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_cannot_be_written_is_said_to_be(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = start(tmp_path, "list", stdout=full)
        assert process.communicate()[1].startswith("attnproof: the output cannot be written")
        assert process.returncode == 2
    for command in ("['nothing']", "['features', '--json']", "['features']"):
        script = f"import sys; sys.stdout = sys.stderr = None; from cli.main import main; sys.exit(main({command}))"
        assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 2


def test_output_that_nobody_reads_is_no_message(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start(tmp_path, "features", "--orders", "0:300", stdout=writer)
    os.close(writer)
    assert process.communicate()[1] == ""
    assert process.returncode == 141


def test_names_in_any_script_and_in_none(inputs: Path) -> None:
    # not UTF-8, a carriage return, a leading underscore, another script, a comma: none is lost, none breaks a line
    good = (inputs / "good.npz").read_bytes()
    names = [b"\xff\xfe.npz", b"a\rb.npz", "_\u65e5\u672c\u8a9e$x$.npz".encode(), b"a,b.npz", b"G.NPZ"]
    for name in names:
        (Path(os.fsdecode(os.fsencode(inputs) + b"/" + name))).write_bytes(good)
    chosen = [option for name in names for option in ("--input", os.fsdecode(name))]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": os.pathsep.join(sys.path)}
    for arguments in (
        ["sweep", "--jobs", "0", "--orders", "1", *chosen, "--out", "\u00f6.sqlite"],
        ["report", "\u00f6.sqlite", "--out", "report"],
    ):
        process = start(inputs, *arguments, env=environment)
        printed, said = process.communicate()
        assert (process.returncode, said) == (0, "")
        assert "\\xf6.sqlite" in printed or "report" in printed
    with (inputs / "report" / "cells.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(names) * 8
    assert {row["input"] for row in rows} == {
        "\\udcff\\udcfe.npz",
        "a\\rb.npz",
        "_\u65e5\u672c\u8a9e$x$.npz",
        "a,b.npz",
        "G.NPZ",
    }
