"""attnproof recommend: the smallest order that meets a tolerance on given inputs or runs, or why there is none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.inputs import (
    Alignment,
    Bits,
    Causal,
    FileOptions,
    Ignore,
    Keys,
    Layout,
    Scale,
    fixed_source,
    given_options,
    require_applicable,
    seeded_input,
    unknown_input,
)
from cli.recommended import Shown, recommend_of_runs, recommend_on_inputs
from cli.text import LARGEST_SIZE, Columns, asked, choice, integer, number, width_of
from verify.errors import InvalidRequestError

if TYPE_CHECKING:
    from verify.inputs import InputSource

LARGEST_STATE = 10**18  # beyond any machine


def recommend(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="sample:NAME, a scenario such as normal:d=8,std=4, FILE.npz, FILE.safetensors, or Q.npy,K.npy,V.npy;"
            " or run files of attnproof sweep, of which nothing is computed again.",
        ),
    ],
    tolerance: Annotated[str, typer.Option(help="The largest error allowed, by the metric.")],
    metric: Annotated[
        str, typer.Option(help="relative, rms, max, median, q95 or q99 of the error against exact softmax.")
    ] = "relative",
    arithmetic: Annotated[
        str | None, typer.Option(help="Arithmetic to compute in (see attnproof list).  [default: exact, no rounding]")
    ] = None,
    mechanism: Annotated[
        str | None,
        typer.Option(
            help="Mechanism with something to vary (see attnproof list), or FILE.py:NAME, with other parameters as in"
            " NAME:seed=1.  [default: that with orders]",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        str | None, typer.Option(help="Form to compute with, in an arithmetic.  [default: the mechanism's first]")
    ] = None,
    max_order: Annotated[
        str | None, typer.Option(help="Largest order, or value along the mechanism's axis, to try.  [default: its own]")
    ] = None,
    max_state: Annotated[
        str | None, typer.Option(help="Numbers that one head may hold from token to token.  [default: any number]")
    ] = None,
    seconds: Annotated[
        str | None,
        typer.Option(help="Seconds that the first exact values may be estimated to take.  [default: 10]"),
    ] = None,
    keys: Keys = None,
    ignore: Ignore = None,
    layout: Layout = None,
    bits: Bits = None,
    scale: Scale = None,
    causal: Causal = None,
    alignment: Alignment = None,
    style: Annotated[str, typer.Option("--as", help="plain, markdown, csv or latex.")] = "plain",
    columns: Columns = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Recommend an order.

    The smallest order, or value along another mechanism's axis, that meets a tolerance on these inputs, per head and
    overall, as measured and as guaranteed by bounds, with what it costs. Exit code 1 if none does on one of them.
    """
    from reports.text import STYLES

    width = width_of(columns)
    asked("--as", choice, style, "style", STYLES)
    given = given_options(context)
    if json_ and "style" in given:
        raise InvalidRequestError(f"--as {style} with --json", "one of the two", "leave one out")
    wanted = asked("--tolerance", number, tolerance, "tolerance")
    most = None if max_state is None else asked("--max-state", integer, max_state, "state", least=1, most=LARGEST_STATE)
    shown = Shown(style, width, json_)
    runs = [name for name in inputs if _is_run(name)]
    if runs:
        _require_runs(inputs, runs, given)
        enough = recommend_of_runs([Path(name) for name in runs], wanted, arithmetic, most, shown)
    else:
        options = FileOptions(keys, ignore, layout, bits, scale, causal, alignment)
        sources = list(dict.fromkeys(_source(name, options) for name in inputs))
        for source in sources[1:]:
            source.load()  # what cannot be read is found out before anything is printed
        require_applicable(given, sources)
        if "form" in given and arithmetic is None:
            raise InvalidRequestError("--form without --arithmetic", "both or neither", "exact values have no form")
        limits = {
            "largest": None
            if max_order is None
            else asked("--max-order", integer, max_order, "largest order", least=0, most=LARGEST_SIZE),
            "seconds": None if seconds is None else asked("--seconds", number, seconds, "seconds"),
        }
        how: dict[str, Any] = {"metric": metric, "arithmetic": arithmetic, "form": form, "max_state": most}
        how |= {name: value for name, value in limits.items() if value is not None}
        enough = recommend_on_inputs(sources, wanted, mechanism, how, shown)
    if not enough:
        raise typer.Exit(1)


def _is_run(name: str) -> bool:
    """Say whether a name is that of an SQLite file: no input is one."""
    path = Path(name)
    if path.suffix == ".sqlite" or not path.is_file():
        return path.suffix == ".sqlite"
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _require_runs(inputs: list[str], runs: list[str], given: set[str]) -> None:
    if len(runs) < len(inputs):
        other = next(name for name in inputs if name not in runs)
        raise InvalidRequestError(
            f"the run file {runs[0]} with the input {other}", "run files alone, or inputs alone", "ask twice"
        )
    for option in sorted(given - {"inputs", "tolerance", "arithmetic", "max_state", "style", "columns", "json_"}):
        raise InvalidRequestError(
            f"--{option.replace('_', '-')} with a run file, of which nothing is computed again",
            "--tolerance, --arithmetic, --max-state",
            "leave it out, or name the input itself",
        )


def _source(name: str, options: FileOptions) -> InputSource:
    from verify.inputs import SCENARIOS

    source = seeded_input(name) or fixed_source(name, options)
    if source is None:
        raise unknown_input(name, SCENARIOS)
    return source
