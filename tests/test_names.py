"""A mechanism's name stands in its own files and nowhere else, no file is long, and values stay what they are."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import verify
from verify.mechanisms.registry import SHIPPED

ROOT = Path(__file__).parents[1]
OWN = ROOT / "verify" / "mechanisms"
QUOTED = re.compile("(?P<quote>[\"'])(?:{})(?P=quote)".format("|".join(map(re.escape, SHIPPED))))
FOLDERS = ("attnproof", "verify", "cli", "reports", "tests", "examples")
ANOTHER_MEAN = '"mean": Real('  # the parameter of a scenario


@pytest.mark.parametrize("pattern", ["reports/**/*.py", "reports/templates/*", "cli/*.py", "verify/**/*.py"])
def test_nothing_but_mechanisms_names_a_mechanism(pattern: str) -> None:
    files = sorted(path for path in ROOT.glob(pattern) if OWN not in path.parents)
    assert files
    lines = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if QUOTED.search(line.replace(ANOTHER_MEAN, ""))
    ]
    assert not lines, "\n".join(lines)


def test_a_quoted_name_is_noticed() -> None:
    assert QUOTED.search('frame["mechanism"] == "taylor"')
    assert QUOTED.search("name = 'softmax'")
    assert not QUOTED.search('"softmax\'s own rounding"')


def test_no_file_is_long() -> None:
    files = [path for name in FOLDERS for path in (ROOT / name).rglob("*.py")]
    assert len(files) > 200
    lengths = {path.relative_to(ROOT).as_posix(): path.read_text().count("\n") for path in files}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


# What is added up while something runs; all else is a value.
GROWING = {"Tally", "SweepSummary"}


def test_values_are_frozen() -> None:
    modules = [importlib.import_module(found.name) for found in pkgutil.walk_packages(verify.__path__, "verify.")]
    classes = {
        found for module in modules for found in vars(module).values() if inspect.isclass(found) and is_ours(found)
    }
    assert len(classes) > 60
    params = {found: inspect.getattr_static(found, "__dataclass_params__") for found in classes}
    assert {found.__name__ for found, how in params.items() if not how.frozen} == GROWING


def is_ours(found: type) -> bool:
    return dataclasses.is_dataclass(found) and found.__module__.startswith("verify.")


@pytest.mark.parametrize("name", ["verify", "verify.attention", "verify.families", "verify.sweep"])
def test_names_loaded_on_use_are_those_that_are_listed(name: str) -> None:
    package = importlib.import_module(name)
    assert set(package.__all__) <= set(dir(package))
    for exported in package.__all__:
        home = inspect.getmodule(getattr(package, exported))
        assert home is None or home.__name__.startswith(f"{name}."), exported
    modules = {found.name for found in pkgutil.iter_modules(package.__path__)}
    assert not modules & {*package.__all__}, "a module that was imported stands in a name's place"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018
