"""Write a report: everything is made in memory first, then put in place file by file."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from reports.benchmarks import load_benchmarks
from reports.causes import crossing_tables, worsening_tables
from reports.costs import cost_record, cost_table
from reports.figures import figures
from reports.frame import load_runs
from reports.glance import glance_table
from reports.page import Contents, html_page, markdown_page
from reports.tables import input_sections, quantised, unmeasured_table
from reports.text import csv_cell, csv_text
from verify.errors import InvalidRequestError
from verify.files.placing import place


@dataclass(frozen=True)
class Written:
    """What a report consists of."""

    page: Path
    files: Sequence[Path]


def write_report(runs: Sequence[Path], out: Path, bench: Path | None = None) -> Written:
    """Write report.html, report.md, cells.csv, costs.csv and figures/ into a folder.

    bench: a file that `make bench` wrote, to be shown too.  Raises InvalidRequestError for files that cannot be read or
    a folder that cannot be written.
    """
    loaded = load_runs(runs)
    benchmarks = None if bench is None else load_benchmarks(bench)
    _require_writable(out)
    contents = Contents(
        glance=glance_table(loaded.frame),
        crossing=crossing_tables(loaded.frame),
        worsening=worsening_tables(loaded.frame),
        sections=input_sections(loaded.frame),
        costs=cost_table(loaded.counts),
        unmeasured=unmeasured_table(loaded.frame),
        figures=figures(loaded.frame),
        benchmarks=benchmarks,
        mechanisms=list(loaded.mechanisms.values()),
        sessions=loaded.sessions,
        superseded=loaded.superseded,
        quantised=len(quantised(loaded.frame)),
        cells=len(loaded.frame),
    )
    files = {
        "report.html": html_page(contents).encode(),
        "report.md": markdown_page(contents).encode(),
        "cells.csv": _printable(loaded.frame).to_csv(index=False, lineterminator="\n").encode(),
        "costs.csv": f"{csv_text(map(cost_record, loaded.counts))}\n".encode(),
    }
    for figure in contents.figures:
        files[f"figures/{figure.name}.svg"] = figure.svg
        files[f"figures/{figure.name}.png"] = figure.png
    sources = {path.resolve() for path in (*runs, *([bench] if bench else []))}
    for name in files:
        if (out / name).resolve() in sources:
            raise InvalidRequestError(
                f"the file to read {out / name} where the report would write", "another folder", "choose another folder"
            )
    for name, content in files.items():
        _put(out / name, content)
    return Written(out / "report.html", [out / name for name in files])


def _printable(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with all texts as cells of CSV: no row ends early, and none is taken for a formula."""
    texts = frame.map(lambda value: csv_cell(value) if isinstance(value, str) else value)
    return texts.rename(columns=csv_cell)


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidRequestError(
            f"folder {folder} cannot be written ({error.strerror})", "a folder that can be", "choose another one"
        ) from error


def _put(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise InvalidRequestError(
            f"{path.parent} cannot be made ({error.strerror})", "a folder that can be", "choose another folder"
        ) from error
    place(path, lambda file: file.write(content), overwrite=True)
