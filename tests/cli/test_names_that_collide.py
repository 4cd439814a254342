"""The command in a folder that holds a verify.py, cli.py and reports.py of somebody's own."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.readme import ROOT

SWEEP = ("sweep", "--input", "normal", "--head-sizes", "4", "--tokens", "8", "--logit-std", "1", "--jobs", "2")
FEW = ("--mechanisms", "mean", "--arithmetic", "float64")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of modules that must not be imported, and the script that an installer makes of the entry point."""
    for name in ("verify", "cli", "reports"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('somebody else imported mine')\n")
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["attnproof"]
    module, _, function = entry.partition(":")
    main = f"if __name__ == '__main__':\n    sys.exit({function}())\n"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "attnproof").write_text(f"import sys\nfrom {module} import {function}\n{main}")
    return tmp_path


def started(folder: Path, command: list[str], path: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=inherited | {"PYTHONPATH": os.pathsep.join(path)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", [["bin/attnproof"], ["-m", "attnproof"]], ids=["script", "module"])
def test_the_command_and_its_processes_import_their_own(command: list[str], folder: Path) -> None:
    # the folder comes first on the path, as with PYTHONPATH=. or python -m
    done = started(folder, [*command, *SWEEP, *FEW], [".", str(ROOT)])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("1 cell: 1 measured now, 0 found in the file; 1 ok\nrun file: run.sqlite\n")


def test_without_the_folder_on_the_path(folder: Path) -> None:
    done = started(folder, ["-m", "attnproof", "--version"], [str(ROOT)], PYTHONSAFEPATH="1")
    assert (done.returncode, done.stdout.split()[0]) == (0, "attnproof")


def test_what_is_planted_is_imported_otherwise(folder: Path) -> None:
    done = started(folder, ["-c", "import verify"], [".", str(ROOT)])
    assert "somebody else imported mine" in done.stderr


def test_pytest_runs_there(folder: Path) -> None:
    (folder / "test_theirs.py").write_text("def test_it():\n    assert True\n")
    done = started(folder, ["-m", "pytest", "-q", "-p", "no:cacheprovider"], [".", str(ROOT)])
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 passed" in done.stdout
