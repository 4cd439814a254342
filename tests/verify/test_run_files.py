"""Run files and records: what was written is read back, and what is damaged is said to be."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SMALL_SPEC
from tests.run_files import Document, Edit, changed, documents, rewrite
from tests.sweeps import plans, run
from verify.arguments import Value
from verify.errors import InvalidRequestError
from verify.mechanisms import known
from verify.sweep import Record, RunFile, Status, SweepSpec


def test_run_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("this is not a database, but it is long enough to look at")
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as other:
        other.execute("CREATE TABLE t (x)")
        other.commit()
    run(dataclasses.replace(SMALL_SPEC, inputs=SMALL_SPEC.inputs[:1], orders=(0,)), tmp_path / "old.sqlite")
    with closing(sqlite3.connect(tmp_path / "old.sqlite")) as old:
        old.execute("PRAGMA user_version = 99")
    cases = {"absent": "no run file", "text": "cannot be", "other": "not a run file", "old": "of version 99"}
    for name, message in cases.items():
        path = tmp_path / f"{name}.sqlite"
        before = path.read_bytes() if path.exists() else None
        for write in (False, True):
            if write and name == "absent":
                continue
            with pytest.raises(InvalidRequestError, match=message):
                RunFile(path, write=write)
        assert (path.read_bytes() if path.exists() else None) == before


def cut(document: Document) -> None:
    del document["errors"]["total"]["rms"]


DAMAGES: dict[str, Edit] = {
    "a number less": cut,
    "no errors": lambda document: {name: value for name, value in document.items() if name != "errors"},
    "errors empty": lambda document: document | {"errors": {}},
    "no hazards": lambda document: document | {"hazards": None},
    "half a bound": lambda document: document["bounds"].pop("rounding_probable"),
    "text for a number": lambda document: document | {"skill": "<script>"},
    "text for a size": lambda document: document | {"head_size": "eight"},
    "no size": lambda document: document | {"head_size": None},
    "a truth value that is none": lambda document: document | {"causal": 2},
    "status": lambda document: document | {"status": "wonderful"},
    "an error below zero": lambda document: document["errors"]["formula"].update(relative=-1.0),
    "a count below zero": lambda document: document["errors"]["total"].update(unresolved=-1),
    "a head twice": lambda document: document | {"per_head": 2 * document["per_head"]},
    "no heads": lambda document: document | {"per_head": []},
    "a head below zero": lambda document: document["per_head"][0].update(total=-1.0),
    "a head without a number": lambda document: document["per_head"][0].update(rounding=None),
    "a head of text": lambda document: document["per_head"][0].update(rows="many"),
    "another head": lambda document: document["per_head"][0].update(head=["0"]),
    "a label that is none": lambda document: document["labels"].update(order=None),
    "another mechanism": lambda document: document | {"mechanism": "relu"},
}


@pytest.fixture
def copy(small_run: Path, tmp_path: Path) -> Path:
    """A run file that may be changed."""
    return Path(shutil.copy(small_run, tmp_path / "run.sqlite"))


def key_of_taylor(path: Path) -> str:
    return next(key for key, document in documents(path).items() if document["mechanism"] == "taylor")


def assert_damaged(path: Path, key: str) -> None:
    """Whoever reads the cell says so: record by record, one by its key, and all columns at once."""
    with RunFile(path) as run_file:
        for read in (lambda: list(run_file.records()), lambda: run_file.record(key), run_file.numbers):
            with pytest.raises(InvalidRequestError, match="damaged") as caught:
                read()
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_records_are_said_to_be(damage: Edit, copy: Path) -> None:
    key = key_of_taylor(copy)

    def edit(document: Document) -> Document:
        found = damage(document)
        return found if isinstance(found, dict) and "input" in found else document

    rewrite(copy, edit, keys=[key])
    assert_damaged(copy, key)


SPECIALS = ["[]", "{", '{"absent": 1}', '{"skill": "nan"}', '{"skill": 0.5}', '{"labels": {}}', "5", '{"rows": NaN}']


@pytest.mark.parametrize("special", SPECIALS)
def test_special_values_that_do_not_fit_are_damage(special: str, copy: Path) -> None:
    key = key_of_taylor(copy)
    changed(copy, "UPDATE cell SET special = ? WHERE key = ?", special, key)
    assert_damaged(copy, key)


@pytest.mark.parametrize("text", [None, "[1, 2", "[[1, 2]]", '"[]"', "[NaN]", "[" * 200_000])
def test_damage_of_what_is_no_single_number_is_found_by_who_reads_it(text: str | None, copy: Path) -> None:
    key = key_of_taylor(copy)
    changed(copy, "UPDATE rest SET by_position = ? WHERE cell = (SELECT id FROM cell WHERE key = ?)", text, key)
    with RunFile(copy) as run_file:
        (portion,), _ = run_file.numbers()  # which have nothing to do with it
        ids = portion.ids.tolist()
        with pytest.raises(InvalidRequestError, match="damaged"):
            list(run_file.records())
        if text is not None:  # that there has to be one, nobody knows who looks at these columns alone
            with pytest.raises(InvalidRequestError, match="damaged"):
                list(run_file.rests(ids))
    changed(copy, "DELETE FROM rest WHERE cell = (SELECT id FROM cell WHERE key = ?)", key)
    with RunFile(copy) as run_file:
        with pytest.raises(InvalidRequestError, match="damaged"):
            run_file.record(key)
        with pytest.raises(InvalidRequestError, match="changed while it was read"):
            list(run_file.rests(ids))


def everything(run_file: RunFile) -> tuple[Any, ...]:
    return run_file.sessions(), run_file.descriptors(), list(run_file.records())


def test_damaged_tables_are_said_to_be(small_run: Path, tmp_path: Path) -> None:
    statements = [f"DROP TABLE {table}" for table in ("cell", "head", "rest", "session", "mechanism")]
    statements += ["UPDATE session SET provenance = '{}'", "UPDATE mechanism SET descriptor = '{}'"]
    for statement in statements:
        path = tmp_path / "run.sqlite"
        path.write_bytes(small_run.read_bytes())
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(statement)
            connection.commit()
        with RunFile(path) as run_file, pytest.raises(InvalidRequestError, match=r"run file|damaged"):
            everything(run_file)


def test_a_file_somebody_else_holds_is_said_to_be(small_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    path.write_bytes(small_run.read_bytes())
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InvalidRequestError, match=r"cannot be written \(database is locked"):
            RunFile(path, write=True, patience=0.1)


def test_records_survive_json(small_run: Path) -> None:
    with RunFile(small_run) as run_file:
        for _, record, _ in run_file.records():
            assert Record.from_json(record.to_json()) == record
            special = dataclasses.replace(record, skill=float("-inf"), largest_logit=float("inf"))
            assert Record.from_json(special.to_json()) == special


def test_labels_and_options_keep_their_types(small_run: Path) -> None:
    with RunFile(small_run) as run_file:
        record = next(record for _, record, _ in run_file.records() if record.mechanism == "taylor")
    values: dict[str, Value] = {
        "whole": 3,
        "one": 1,
        "yes": True,
        "no": False,
        "zero": 0,
        "half": 0.5,
        "three": 3.0,
        "word": "inf",
    }
    changed = dataclasses.replace(record, labels=values, options=values | {"side": "both"})
    again = Record.from_json(changed.to_json())
    assert again == changed
    for found in (again.labels, again.options):
        assert [type(found[name]) for name in values] == [type(value) for value in values.values()]


def test_bounds_that_are_unknown_are_absent(small_run: Path) -> None:
    with RunFile(small_run) as run_file:
        record = next(record for _, record, _ in run_file.records() if record.mechanism == "taylor")
    assert set(record.bounds) == {"formula", "rounding", "rounding_probable"}
    for known_ones in ((), ("formula",), ("rounding", "rounding_probable")):
        changed = dataclasses.replace(record, bounds={name: record.bounds[name] for name in known_ones})
        assert Record.from_json(changed.to_json()) == changed
    refused = dataclasses.replace(
        record,
        status=Status.REFUSED,
        errors={},
        bounds={},
        per_head=(),
        output_rows=None,
        weights=None,
        hazards=None,
        nonpositive_exact=None,
    )
    assert Record.from_json(refused.to_json()) == refused
    with pytest.raises(ValueError, match="bounds"):
        Record.from_json(dataclasses.replace(refused, bounds=record.bounds).to_json())


RECORD_DAMAGES: dict[str, Any] = {
    "an integer beyond float64": lambda d: d["errors"]["total"].update(rms=10**400),
    "no hazards": lambda d: d.update(hazards=None),
    "no weights": lambda d: d.update(weights=None),
    "half a bound": lambda d: d["bounds"].pop("rounding_probable"),
    "the other half": lambda d: d["bounds"].pop("rounding"),
    "an unknown bound": lambda d: d["bounds"].update(total=d["bounds"]["rounding"]),
    "a bound on no error": lambda d: d["errors"].pop("formula"),
    "an unknown error": lambda d: d["errors"].update(truncation=d["errors"]["formula"]),
    "no total": lambda d: d["errors"].pop("total"),
    "no rounding": lambda d: d["errors"].pop("rounding"),
    "another mechanism": lambda d: d.update(mechanism="relu"),
    "another member": lambda d: d.update(member="taylors:order=3"),
    "no mechanism": lambda d: d.update(mechanism="", member=""),
    "a label that is none": lambda d: d["labels"].update(order=None),
    "a label of several": lambda d: d["labels"].update(order=[3]),
    "an option that is none": lambda d: d["options"].update(side=None),
    "options in a list": lambda d: d.update(options=[]),
    "an unknown member": lambda d: d.update(more=1),
    "a text for a number": lambda d: d.update(rows="4"),
    "a truth value for a number": lambda d: d.update(rows=True),
}


@pytest.mark.parametrize("damage", RECORD_DAMAGES.values(), ids=RECORD_DAMAGES.keys())
def test_damaged_records_are_no_records(damage: Any, small_run: Path) -> None:
    with RunFile(small_run) as run:
        record = next(record for _, record, _ in run.records() if record.mechanism == "taylor")
    assert Record.from_json(record.to_json()) == record
    document = json.loads(record.to_json())
    damage(document)
    with pytest.raises(ValueError, match=r"."):
        Record.from_json(json.dumps(document))
    for text in ("[" * 200_000, record.to_json().replace('"skill": ', '"skill": NaN, "x": ')):
        with pytest.raises(ValueError, match=r"."):
            Record.from_json(text)


def test_mechanisms_are_described_for_every_session(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    spec = SweepSpec(SMALL_SPEC.inputs[:1], plans("softmax/softmax", "taylor/scores"), (1,), ("float64",))
    run(spec, path)
    run(dataclasses.replace(spec, plans=plans("taylor/scores", "elu"), orders=(2,)), path)
    run(spec, path)  # nothing is measured, and no session written
    with RunFile(path) as run_file:
        found = run_file.descriptors()
        assert set(found) == {(1, "softmax"), (1, "taylor"), (2, "taylor"), (2, "elu")}
        for (_, name), descriptor in found.items():
            assert descriptor == known().mechanism(name).descriptor()
        assert found[1, "softmax"]["formula_error"] is None
        assert found[1, "taylor"]["formula_error"] == "truncation"
        assert (found[2, "taylor"]["axis"], found[2, "elu"]["axis"]) == ("order", None)
        assert found[2, "elu"]["forms"] == ["pairs", "stream"]


def test_a_record_of_a_mechanism_that_is_not_installed_is_read_back(small_run: Path, tmp_path: Path) -> None:
    with RunFile(small_run) as run_file:
        record = next(record for _, record, _ in run_file.records() if record.mechanism == "taylor")
        descriptor = run_file.descriptors()[1, "taylor"]
    foreign = dataclasses.replace(
        record,
        mechanism="hers",
        member="hers:depth=2,kind=fast",
        labels={"depth": 2, "kind": "fast"},
        form="fused",
        options={"tile": 16, "exact": True},
        bounds={},
    )
    assert "hers" not in list(known())
    path = tmp_path / "run.sqlite"
    with RunFile(path, write=True) as run_file:
        run_file.begin("now", {"command": "x", "spec": {}, "limits": {}, "machine": {}})
        run_file.describe(descriptor | {"name": "hers", "axis": "depth", "formula_error": "deviation"}, [])
        run_file.write("key", foreign)
    with RunFile(path) as run_file:
        assert run_file.record("key") == foreign
        assert list(run_file.records()) == [(1, foreign, None)]
        assert run_file.descriptors()[1, "hers"]["formula_error"] == "deviation"


@pytest.mark.parametrize(("mechanism", "claimed"), [("taylor", None), ("softmax", "deviation")])
def test_records_have_the_errors_that_their_mechanism_is_described_with(
    mechanism: str, claimed: str | None, small_run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run.sqlite"
    path.write_bytes(small_run.read_bytes())
    with RunFile(path) as run_file:
        descriptor = run_file.descriptors()[1, mechanism] | {"formula_error": claimed}
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE mechanism SET descriptor = ? WHERE name = ?", (json.dumps(descriptor), mechanism))
        connection.commit()
    key = next(key for key, document in documents(path).items() if document["mechanism"] == mechanism)
    with RunFile(path) as run_file:
        for read in (lambda: list(run_file.records()), lambda: run_file.record(key), run_file.numbers):
            with pytest.raises(InvalidRequestError, match=f"damaged .*not the errors of {mechanism}"):
                read()


WRITER = """
import os, signal, sys
from pathlib import Path
from verify.sweep import RunFile

with RunFile(Path(sys.argv[1])) as run:
    found = list(run.records())
run = RunFile(Path(sys.argv[2]), write=True)
run.begin("now", {"command": "x", "spec": {}, "limits": {}, "machine": {}})
for number, (_, record, seconds) in enumerate(found):
    run.write(f"cell {number}", record, seconds)
print(len(found), flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals and locks are those of POSIX")
def test_a_killed_run_is_read_whole_or_refused(small_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    command = [sys.executable, "-c", WRITER, str(small_run), str(path)]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdin is not None
    assert writer.stdout is not None
    try:
        cells = int(writer.stdout.readline())
        with pytest.raises(InvalidRequestError, match="which another sweep writes to; expected one at a time"):
            RunFile(path, write=True)
        with RunFile(path) as run:
            assert run.count() == cells
    finally:
        writer.kill()
        writer.communicate()
    alone = tmp_path / "alone" / "run.sqlite"
    alone.parent.mkdir()
    shutil.copy(path, alone)
    with pytest.raises(InvalidRequestError, match=r"without run\.sqlite-wal, which its latest cells are in"):
        RunFile(alone)
    with RunFile(path) as run:
        assert run.count() == cells
    for each, kept in ((path, cells), (alone, 0)):
        with RunFile(each, write=True):  # what a sweep on it opens, and ends
            pass
        assert not Path(f"{each}-wal").exists()
        with RunFile(each) as run:
            assert run.count() == kept
