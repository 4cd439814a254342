"""Write a report: all of it beside its place first, then put in place file by file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reports.answer import Answer
from reports.answers import answers
from reports.benchmarks import load_benchmarks
from reports.cells import TIMINGS
from reports.columns import write_csv
from reports.costs import cost_record, cost_table, cost_text
from reports.crossing import COLUMNS as CROSSING
from reports.crossing import crossing_table, crossing_text
from reports.curves import leading_curves
from reports.equal_state import equal_state
from reports.figures import figures
from reports.frame import IDENTITY, Runs, load_runs
from reports.hazards import run_table, run_text
from reports.heat import answer_records, heat_table
from reports.page import Contents, Fold, html_page, markdown_page
from reports.tables import input_sections
from reports.text import csv_text
from reports.unmeasured import unmeasured_table, unmeasured_text
from reports.worsening import COLUMNS as WORSENING
from reports.worsening import steps, worsening_table, worsening_text
from verify.errors import InvalidRequestError

# From so many cells on processes are worth their start-up.
MANY = 10_000


@dataclass(frozen=True)
class Written:
    """What a report consists of, and its answer in every arithmetic.

    cells: how many there are; missing: those that were asked for and are not there; superseded: older ones left out.
    """

    page: Path
    files: Sequence[Path]
    answers: Sequence[Answer]
    cells: int
    missing: int
    superseded: int


def write_report(
    runs: Sequence[Path],
    out: Path,
    bench: Path | None = None,
    formats: Sequence[str] = ("svg",),
    executor: Executor | None = None,
) -> Written:
    """Write report.html, report.md, CSV files and figures/ into a folder.

    bench: a file that `make bench` wrote, to be shown too. formats: of figures; the page needs svg.  executor: where
    large tables become text, `verify.parallel.executors.worker_pool` for one.  Raises InvalidRequestError for files
    that cannot be read or a folder that cannot be written: what was there before is then untouched; WorkerDiedError if
    a process of the executor dies.
    """
    loaded = load_runs(runs)
    workers = executor if len(loaded.frame) > MANY else None
    sources = {path.resolve() for path in (*runs, *([bench] if bench else []))}
    found = answers(loaded)
    contents = _contents(loaded, found, bench, formats)
    with _folder(out) as aside:
        written = list(_written(aside, loaded, found, contents, workers))
        for name in written:
            if (out / name).resolve() in sources:
                raise InvalidRequestError(
                    f"the file to read {out / name} where the report would write",
                    "another folder",
                    "choose another folder with --out",
                )
        for name in written:
            (out / name).parent.mkdir(exist_ok=True)
            (aside / name).replace(out / name)
    files = [out / name for name in written]
    return Written(out / "report.html", files, found, len(loaded.frame), loaded.missing, loaded.superseded)


def _contents(loaded: Runs, found: Sequence[Answer], bench: Path | None, formats: Sequence[str]) -> Contents:
    frame = loaded.frame
    curves = leading_curves(frame, [*dict.fromkeys((*CROSSING, *WORSENING))])
    inputs = frame["label"].nunique()
    worse = steps(curves)
    return Contents(
        heats=[heat_table(answer) for answer in found],
        equal=equal_state(found[-1]) if found else None,
        worsening=Fold(worsening_text(worse, inputs), worsening_table(worse)),
        crossing=Fold(crossing_text(curves, found[-1].arithmetic if found else None), crossing_table(curves)),
        hazards=Fold(run_text(frame), run_table(frame)),
        unmeasured=Fold(unmeasured_text(frame), unmeasured_table(frame)),
        costs=Fold(cost_text(loaded.counts, loaded.mechanisms.values()), cost_table(loaded.counts)),
        sections=input_sections(loaded, found),
        inputs=inputs,
        figures=figures(loaded, formats),
        benchmarks=None if bench is None else load_benchmarks(bench),
        mechanisms=list(loaded.mechanisms.values()),
        sessions=loaded.sessions,
        superseded=loaded.superseded,
        missing=loaded.missing,
        quantised=int((frame["quantisation_max"] > 0).sum()),
        cells=len(frame),
    )


def _written(
    folder: Path, loaded: Runs, found: Sequence[Answer], contents: Contents, executor: Executor | None
) -> Iterator[str]:
    """Write the files into a folder, and yield their names."""
    frame = loaded.frame
    texts: dict[str, Callable[[], str]] = {
        "report.html": lambda: html_page(contents),
        "report.md": lambda: markdown_page(contents),
        "answer.csv": lambda: csv_text(answer_records(found)) + "\n",
        "costs.csv": lambda: csv_text(map(cost_record, loaded.counts)) + "\n",
    }
    for name, made in texts.items():
        (folder / name).write_text(made(), encoding="utf-8")
        yield name
    places = loaded.heads["cell"].to_numpy()
    tables = {
        "cells.csv": frame.drop(columns=[*TIMINGS]),
        "heads.csv": frame[IDENTITY].iloc[places].reset_index(drop=True).join(loaded.heads.drop(columns="cell")),
        "timings.csv": frame[[*IDENTITY, *TIMINGS]],
    }
    for name, table in tables.items():
        write_csv(table, folder / name, executor, loaded.places if name == "cells.csv" else None)
        yield name
    (folder / "figures").mkdir()
    for figure in contents.figures:
        for kind, image in figure.images.items():
            (folder / f"figures/{figure.name}.{kind}").write_bytes(image)
            yield f"figures/{figure.name}.{kind}"


@contextmanager
def _folder(out: Path) -> Iterator[Path]:
    """Make the folder of a report, and yield one in it whose files can be put in place; nothing is left of that."""
    made = not out.exists()
    aside = None
    try:
        out.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=out, prefix=".attnproof."))
        yield aside
    except OSError as error:
        raise InvalidRequestError(
            f"folder {out} cannot be written ({error.strerror or error})",
            "a folder that can be",
            "choose another one with --out",
        ) from error
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
        if made and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
