"""attnproof recommend: the smallest order that meets a tolerance on given inputs, or why there is none."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.echo import echo, loaded
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
    unknown_input,
)
from cli.progress import progress_bar
from cli.text import LARGEST_SIZE, Columns, asked, integer, number, one_line, print_json, show, width_of
from verify.errors import InvalidRequestError

if TYPE_CHECKING:
    from verify.recommend import Recommendation


def recommend(
    context: typer.Context,
    input_: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="sample:NAME, FILE.npz, FILE.safetensors, or Q.npy,K.npy,V.npy."),
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
    columns: Columns = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Recommend an order.

    The smallest order, or value along another mechanism's axis, that meets a tolerance on these inputs, per head and
    overall, as measured and as guaranteed by bounds, with what it costs. Exit code 1 if none does.
    """
    from verify.mechanisms.loading import explained
    from verify.mechanisms.registry import RECOMMENDED, files_in, known
    from verify.recommend import SECONDS
    from verify.recommend import recommend as recommended

    width = width_of(columns)
    wanted = asked("--tolerance", number, tolerance, "tolerance")
    largest = (
        None
        if max_order is None
        else asked("--max-order", integer, max_order, "largest order", least=0, most=LARGEST_SIZE)
    )
    longest = SECONDS if seconds is None else asked("--seconds", number, seconds, "seconds")
    varied = RECOMMENDED if mechanism is None else mechanism
    chosen, _ = known(files_in([varied])).opened(varied)
    source = fixed_source(input_, FileOptions(keys, ignore, layout, bits, scale, causal, alignment))
    if source is None:
        raise unknown_input(input_, [])
    given = given_options(context)
    require_applicable(given, [source])
    if "form" in given and arithmetic is None:
        raise InvalidRequestError("--form without --arithmetic", "both or neither", "exact values have no form")
    problem, _, facts = loaded(source)
    with progress_bar(f"values of {chosen.axis}") as update, explained(chosen):
        found = recommended(
            problem,
            wanted,
            mechanism=varied,
            metric=metric,
            arithmetic=arithmetic,
            form=form,
            largest=largest,
            seconds=longest,
            progress=lambda done, all_: update(done, all_, ""),
        )
    if json_:
        print_json(_document(input_, facts, found))
    else:
        _print(input_, facts, found, width)
    if found.overall.value is None:
        raise typer.Exit(1)


def _document(input_: str, facts: dict[str, Any], found: Recommendation) -> dict[str, Any]:
    from verify.files.documents import plain

    document: dict[str, Any] = plain(
        {
            "input": input_,
            "problem": facts,
            **{name: value for name, value in asdict(found).items() if name not in ("overall", "per_head")},
            **{name: value for name, value in asdict(found.overall).items() if name != "head"},
            "per_head": [asdict(advice) for advice in found.per_head],
        }
    )
    return document


def _print(input_: str, facts: dict[str, Any], found: Recommendation, width: int) -> None:
    from reports.advice import advice_table, overall_text

    how = "exact values" if found.arithmetic is None else f"{found.form} in {found.arithmetic}"
    tried = f"{found.axis} up to {found.largest}"
    asked_for = f"{found.metric} error of at most {found.tolerance:g}, {how}, {found.mechanism}, {tried}"
    show(f"{one_line(input_)}: {asked_for}", width)
    show(echo(facts, width), width)
    print(advice_table(found).plain(width))
    show(overall_text(found), width)
