"""Mechanisms that distributions bring: a folder with a module and its metadata, as an installer leaves them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.cli.running import run
from tests.own import MINE, written
from tests.readme import ROOT
from verify.errors import InvalidRequestError
from verify.inputs import SyntheticInput
from verify.mechanisms import known, loading, registry
from verify.parallel.executors import worker_pool
from verify.sweep.provenance import code_digest, sources
from verify.truth import reference

SMALL = (
    "--input",
    "normal",
    "--head-sizes",
    3,
    "--tokens",
    5,
    "--logit-std",
    1,
    "--arithmetic",
    "float64",
    "--jobs",
    0,
)
LIST = "from verify.mechanisms import known; print(*known())"


def install(
    folder: Path, text: str = MINE, *, point: str = "mine", module: str = "tiny_mine", version: str = "1.0"
) -> Path:
    """Put a distribution into a folder: one module, or one package if it is called so, and one entry point."""
    path = folder / f"{module.replace('.', '/')}.py"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    top, _, inside = module.partition(".")
    if inside:
        (folder / top / "__init__.py").touch()
    about = folder / f"{top}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {top.replace('_', '-')}\nVersion: {version}\n")
    (about / "entry_points.txt").write_text(f"[{loading.GROUP}]\n{point} = {module}:MINE\n")
    (about / "top_level.txt").write_text(f"{top}\n")
    return path


def forget() -> None:
    """Forget what was loaded, as a new process would."""
    for cached in (registry._known, loading.installed, code_digest):
        cached.cache_clear()
    for name in [name for name in sys.modules if name.startswith("tiny_")]:
        del sys.modules[name]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose distributions are installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delenv(loading.SWITCH, raising=False)
    forget()
    yield folder
    forget()


def test_what_an_installed_mechanism_prints_goes_to_stderr(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(site, f"print('imported')\n{MINE}")
    code, printed, said = run(capsys, "list", "--json")
    assert (code, said) == (0, "imported\n")
    assert "mine" in json.loads(printed)["mechanisms"]


def test_an_installed_mechanism_is_known_unless_plugins_are_off(site: Path) -> None:
    install(site, f'import sys\nprint("loaded", file=sys.stderr)\n{MINE}')
    environment = os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}
    for switch, names in (("on", ["mine"]), ("off", []), ("OFF", [])):
        done = subprocess.run(
            [sys.executable, "-c", LIST],
            env=environment | {loading.SWITCH: switch},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == [*registry.SHIPPED, *names]
        assert done.stderr == ""  # it is loaded when it is used


def test_an_installed_mechanism_is_measured_here_and_in_processes(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(site)
    for jobs in (0, 1):
        given = ("--mechanisms", "mine:order=3", "--jobs", jobs, "--out", tmp_path / f"{jobs}.sqlite")
        code, printed, said = run(capsys, "sweep", *SMALL, *given)
        assert (code, said) == (0, "")
        assert "1 cell: 1 measured now, 0 found in the file; 1 ok" in printed.splitlines()
    problem = SyntheticInput("normal", 3, 5).load()
    with worker_pool(1) as pool:
        exact = reference(problem, 30, "mine:order=3", executor=pool)
    np.testing.assert_array_equal(exact.value, reference(problem, 30, "mine:order=3").value)


CLASHES = {
    "shipped": [("softmax", "tiny_one")],
    "installed twice": [("mine", "tiny_one"), ("mine", "tiny_two")],
}


@pytest.mark.parametrize("points", CLASHES.values(), ids=CLASHES)
def test_a_name_that_is_taken_is_refused(
    points: list[tuple[str, str]],
    site: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for point, module in points:
        install(site, point=point, module=module)
    given = ("sweep", *SMALL, "--mechanisms", "softmax/softmax", "--out", tmp_path / "run.sqlite")
    code, printed, said = run(capsys, *given)
    assert (code, printed) == (2, "")
    who = rf"the mechanism '{points[0][0]}' installed by tiny-(one|two) 1\.0, beside another one of that name"
    what = rf"expected each name once; uninstall one, or set {loading.SWITCH}=off"
    assert re.fullmatch(f"attnproof: {who}; {what}\n", said), said
    monkeypatch.setenv(loading.SWITCH, "off")
    assert run(capsys, *given)[0] == 0


def test_a_file_cannot_take_the_name_of_an_installed_one(site: Path, tmp_path: Path) -> None:
    install(site)
    with pytest.raises(
        InvalidRequestError, match=r"mine\.py:MINE with a mechanism called 'mine'; expected a name that"
    ):
        known((written(tmp_path),))


BROKEN = {
    "absent": (
        "import tiny_absent\n",
        r"\(ModuleNotFoundError: No module named 'tiny_absent'\); expected a module that",
    ),
    "raises": ("raise RuntimeError('one\\ntwo')\n", r"\(RuntimeError: one two\)"),
    "exit": ("raise SystemExit(3)\n", r"\(SystemExit: 3\)"),
    "without": ("", r"\(AttributeError: module 'tiny_mine' has no attribute 'MINE'\)"),
    "class": (MINE.replace("Mine()", "Mine"), "a class; expected an instance of it"),
    "another name": (MINE.replace('"mine"', '"yours"'), "'yours' under the entry point 'mine'; expected the same name"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_one_that_cannot_be_loaded_is_named_when_it_is_used_and_not_before(
    text: str, message: str, site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(site, text)
    out = tmp_path / "run.sqlite"
    assert run(capsys, "--help")[0] == 0
    assert run(capsys, "sweep", *SMALL, "--mechanisms", "softmax/softmax", "--out", out)[0] == 0
    assert list(known())[-1] == "mine"
    code, printed, said = run(capsys, "sweep", *SMALL, "--mechanisms", "softmax/softmax,mine", "--out", out)
    assert (code, printed) == (2, "")
    assert re.fullmatch(r"attnproof: .+; expected .+; .+\n", said)
    assert re.search(message, said), said
    assert "mine" in said


def test_the_help_of_a_process_minds_nothing_that_is_installed(site: Path) -> None:
    install(site, "raise RuntimeError", point="softmax")
    environment = os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "cli.main", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_cells_are_known_by_the_package_and_the_version(site: Path) -> None:
    head = "from tiny_pack.parts import PART\nfrom . import more\n"
    for name in ("parts", "more", "unused"):
        (site / "tiny_pack").mkdir(exist_ok=True)
        (site / "tiny_pack" / f"{name}.py").write_text("PART = 1\n")
    file = install(site, head + MINE, module="tiny_pack.mine")

    def digest() -> str:
        forget()
        return code_digest(known().mechanism("mine"))

    digests = [digest()]
    own = {name for name in sources(known().mechanism("mine")) if name.startswith("tiny_")}
    assert own == {"tiny_pack", "tiny_pack.mine", "tiny_pack.parts", "tiny_pack.more"}
    (site / "tiny_pack" / "unused.py").write_text("PART = 2\n")
    assert digest() == digests[0]
    for changed in (file.with_name("parts.py"), file.with_name("more.py"), file):
        changed.write_text(f"{changed.read_text()}# changed\n")
        digests.append(digest())
    (site / "tiny_pack-1.0.dist-info").rename(site / "tiny_pack-1.1.dist-info")
    metadata = site / "tiny_pack-1.1.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.0", "1.1"))
    digests.append(digest())
    assert len(set(digests)) == 5
