"""The pages of docs/ name what there is: entries of files, columns, mechanisms and what is proved of them."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import verify
from reports.write import write_report
from tests.pages import loaded_from_elsewhere
from tests.readme import PROOFS, ROOT
from verify.inputs import SAMPLES, sample
from verify.inputs.roles import RESERVED
from verify.measure.summary import BoundSummary, ErrorSummary
from verify.mechanisms import known
from verify.mechanisms.registry import SHIPPED
from verify.sweep.record import BOUNDS, ERRORS
from verify.truth.vectors import write_vectors

PAGES = {path.stem: path.read_text() for path in (ROOT / "docs").glob("*.md")}


def told(text: str, endings: Iterable[str] = (), beginnings: Iterable[str] = ()) -> set[str]:
    """Return the names that a page has, and those of a beginning and an ending that it has."""
    names = set(re.findall(r"`([^`\s]+)`", text))
    return names | {first + last for first in beginnings for last in endings if {first, last} <= names}


def told_with_endings(page: str) -> set[str]:
    """Return the names that a page has, and those of every error and bound of which it has the ending."""
    errors, bounds = (
        [f"{start}{f.name}" for f in fields(kind)] for start, kind in (("_", ErrorSummary), ("_bound_", BoundSummary))
    )
    return told(page, errors, ERRORS) | told(page, bounds, BOUNDS)


def test_every_entry_of_input_and_vector_files() -> None:
    page = PAGES["files"]
    endings = ("_decimal", "_radius", "_essentially_zero")  # of names that are told once, with all of these
    assert told(page, endings, told(page)) >= RESERVED


def test_every_column_of_cells(small_run: Path, tmp_path: Path, undrawn: None) -> None:
    write_report([small_run], tmp_path)
    page = PAGES["files"].partition("## cells.csv")[2] + PAGES["run-file"]
    names = told_with_endings(page)
    assert names >= set(pd.read_csv(tmp_path / "cells.csv").columns)


def test_every_column_of_run_files(small_run: Path) -> None:
    page = PAGES["run-file"]
    connection = sqlite3.connect(small_run)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]
    for name in names:
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({name})")}
        described = {row[0] for row in connection.execute("SELECT name FROM about WHERE relation = ?", (name,))}
        if name not in ("cell", "head"):  # which the views are made of
            assert described == {None, *columns}
        assert {name, *columns} <= told_with_endings(page), name
    descriptor, provenance, portraits = connection.execute(
        "SELECT descriptor, provenance, portraits FROM mechanism, session"
    ).fetchone()
    texts = " ".join(meaning for (meaning,) in connection.execute("SELECT meaning FROM about"))
    connection.close()
    members = {*json.loads(descriptor), *json.loads(provenance), *json.loads(portraits)[0]}
    assert {member for member in members if member not in texts} == set()


def test_every_entry_of_states(tmp_path: Path) -> None:
    states = (verify.TaylorState(2, 1, order=1, compensated=True), verify.LogExpState(2, 1))
    for place, state in enumerate(states):
        state.save(tmp_path / f"{place}.npz")
        with np.load(tmp_path / f"{place}.npz") as file:
            assert {*file, *json.loads(str(file["about"]))} <= told(PAGES["files"])


@pytest.mark.parametrize("name", list(SHIPPED))
def test_every_shipped_mechanism_with_its_source_parameters_and_forms(name: str) -> None:
    mechanism = known().mechanism(name)
    section = PAGES["mechanisms"].partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]
    assert f"Source: {mechanism.source}." in section
    assert {*mechanism.parameters, *(f"{name}/{form.name}" for form in mechanism.forms)} <= told(section)
    assert {option for form in mechanism.forms for option in form.options} <= told(PAGES["mechanisms"])


def test_all_that_is_proved_and_all_that_is_checked() -> None:
    proved, checked = PAGES["method"].partition("## What is proved")[2].split("Checked on the cases")
    for page, verdict in ((proved, "proved for all"), (checked, "checked for")):
        rows = re.findall(r"^\| (.+?) \| (.+?) \| .+ \|$", page, re.MULTILINE)
        statements = re.findall(
            rf"^(\S.*?) \[([^\]]+)\]: (?:.+\n)(?:  (?!=>).+\n)*  => {verdict}", PROOFS.read_text(), re.MULTILINE
        )
        assert rows[1:] == statements != []


SNIPPET = re.search(r"```python\n(import numpy as np\n\nexact = .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("name", list(SAMPLES))
def test_the_snippet_that_needs_nothing_of_ours_runs_on_every_sample(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert SNIPPET is not None
    write_vectors(verify.reference(sample(name), 17), tmp_path / "vectors.npz")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(compile(SNIPPET[1], "README.md", "exec"), found)
    assert found["mine"].shape == sample(name).output_shape
    assert "to within" in capsys.readouterr().out


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://a.example/b.js"></script>',
        '<img alt="" srcset="//a.example/b.png 2x">',
        '<link rel="stylesheet" href="HTTP://a.example/b.css">',
        "<style>@import 'https://a.example/b.css';</style>",
        '<p style="background: url(//a.example/b.png)">',
    ],
)
def test_what_a_page_loads_from_elsewhere_is_noticed(page: str) -> None:
    assert len(loaded_from_elsewhere(page)) == 1


def test_links_and_a_sites_own_files_are_not() -> None:
    page = '<a href="https://arxiv.org/abs/2602.00294">SA</a><script src="assets/a.js"></script>'
    assert loaded_from_elsewhere(f'{page}<link href="../b.css"><style>p {{ background: url(c.png) }}</style>') == []
