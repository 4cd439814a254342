"""attnproof report: tables, figures and a page from run files."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer

from cli.text import Columns, asked, choice, one_line, print_json, show, width_of, words
from verify.errors import InvalidRequestError
from verify.integers import how_many


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run files written by attnproof sweep.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("report"),
    bench: Annotated[Path | None, typer.Option(help="Measurements of make bench, to be shown too.")] = None,
    formats: Annotated[
        str, typer.Option("--figures", help="Formats of figures: svg, which the page has, png (200 dpi) and pdf.")
    ] = "svg",
    columns: Columns = None,
    json_: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write tables, figures and a page from runs.

    Markdown, CSV, figures, and one HTML page that needs no network.
    """
    width = width_of(columns)
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
