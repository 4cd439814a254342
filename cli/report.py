"""attnproof report: tables, figures and a page from run files."""

from __future__ import annotations

import gc
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cli.inputs import given_options
from cli.text import Columns, asked, choice, one_line, print_json, show, width_of, words
from verify.errors import InvalidRequestError
from verify.integers import how_many


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run files written by attnproof sweep.", show_default=False)],
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write into; of --records, the file.  [default: report; of --records, standard output]"
        ),
    ] = None,
    records: Annotated[
        str | None,
        typer.Option(help="Write every record instead, a row each, a column per number: csv, json or parquet."),
    ] = None,
    bench: Annotated[Path | None, typer.Option(help="Measurements of make bench, to be shown too.")] = None,
    formats: Annotated[
        str, typer.Option("--figures", help="Formats of figures: svg, which the page has, png (200 dpi) and pdf.")
    ] = "svg",
    columns: Columns = None,
    json_: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write tables, figures and a page from runs, or every record for other programs.

    Markdown, CSV, figures, and one HTML page that needs no network.
    """
    width = width_of(columns)
    if records is not None:
        _write_records(runs, records, out, width, given_options(context))
        return
    out = Path("report") if out is None else out
    if not str(out).strip() or out == Path():
        raise InvalidRequestError("no folder to write into", "a folder, as in report", "name one (--out)")
    chosen = tuple(dict.fromkeys(("svg", *words(formats))))
    for name in chosen:
        asked("--figures", choice, name, "format of figures", ("svg", "png", "pdf"))
    from reports.write import write_report
    from verify.parallel.executors import every_core

    gc.set_threshold(100_000)  # a figure is thousands of small objects, which nobody needs to look through meanwhile
    with every_core() as executor:
        written = write_report(runs, out, bench, chosen, executor)
    if json_:
        print_json({"page": str(written.page), "files": [str(path) for path in written.files]})
    else:
        from reports.heat import answer_text, interrupted_text

        if written.answers:
            prefix = interrupted_text(written.cells, written.missing)
            print(answer_text(written.answers[-1], width, prefix=prefix))
        if written.superseded:
            show(f"left out: {how_many(written.superseded, 'older cell')} about the same things", width)
        show(f"{how_many(len(written.files), 'file')} in {one_line(str(out))}", width)
        show(f"page: {one_line(str(written.page))}", width)


def _write_records(runs: list[Path], kind: str, out: Path | None, width: int, given: set[str]) -> None:
    """Write every record into a file, or print it when all of it has been read."""
    from reports.export import FORMATS, require_format, write_records
    from verify.files.placing import place, require_placeable

    asked("--records", choice, kind, "format of records", FORMATS)
    for name, option in (("bench", "--bench"), ("formats", "--figures"), ("json_", "--json")):
        if name in given:
            raise InvalidRequestError(
                f"{option} with --records, which writes no page", "one of the two", "leave one out"
            )
    require_format(kind)
    if out is None:
        if kind == "parquet":
            raise InvalidRequestError(
                "--records parquet on standard output", "a file: it is no text", "name one (--out)"
            )
        with tempfile.TemporaryFile() as file:
            write_records(runs, kind, file)
            file.seek(0)
            for line in file:
                sys.stdout.write(line.decode())
        return
    if out.resolve() in {path.resolve() for path in runs}:
        raise InvalidRequestError(f"{out}, which is to be read", "another file", "choose another one (--out)")
    require_placeable(out, overwrite=True)
    counts: list[int] = []
    place(out, lambda file: counts.append(write_records(runs, kind, file)), overwrite=True)
    show(f"{how_many(counts[0], 'record')} in {one_line(str(out))}", width)
