"""attnproof sweep: measure formulations over inputs, orders and arithmetics into a run file."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.echo import echo, facts_of
from cli.inputs import (
    Alignment,
    Bits,
    FileOptions,
    Ignore,
    Keys,
    Layout,
    Mechanisms,
    Scale,
    fixed_source,
    given_options,
    parameters_in,
    require_applicable,
    unknown_input,
)
from cli.progress import progress_bar
from cli.spec import Preset, Spec
from cli.text import (
    LARGEST_SIZE,
    Columns,
    Interrupted,
    asked,
    entries,
    gibibytes,
    integer,
    numbers,
    one_line,
    print_json_stream,
    seconds_of,
    show,
    width_of,
    words,
)
from verify.errors import InvalidRequestError
from verify.integers import how_many, integers

if TYPE_CHECKING:
    from verify.inputs import InputSource
    from verify.mechanisms.registry import Plan
    from verify.problem import Problem
    from verify.sweep import SweepSpec

LARGEST_TOKENS = 1 << 20

ORDER_LIMIT = 64  # 64! and s^64 are far beyond any use; the exact values would still be found, slowly

MOST_REASONS = 5  # reasons that are printed


def sweep(
    context: typer.Context,
    spec_file: Spec = None,
    preset: Preset = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            help="What to measure on, repeatable: samples, sample:NAME, a scenario such as normal or needle:matches=2"
            " (see attnproof list), FILE.npz, FILE.safetensors, or Q.npy,K.npy,V.npy. Default: samples and normal.",
        ),
    ] = None,
    head_sizes: Annotated[str, typer.Option(help="Head sizes of synthetic inputs.")] = "8,16,32,64",
    orders: Annotated[str, typer.Option(help="Orders (highest power kept, terms - 1), where there are any.")] = "0:7",
    tokens: Annotated[str, typer.Option(help="Tokens of synthetic inputs.")] = "256",
    logit_std: Annotated[str, typer.Option(help="Logit standard deviations of synthetic inputs.")] = "1,4",
    seeds: Annotated[str, typer.Option(help="Seeds of synthetic inputs.")] = "0",
    mechanisms: Annotated[
        str | None,
        typer.Option(
            help="Mechanisms, or forms as MECHANISM/FORM, with parameters and options, as in NAME:features=64/stream or"
            " NAME/packed:side=both,degrees=apart (see attnproof list).  [default: those of the main job]",
        ),
    ] = None,
    own: Mechanisms = None,
    arithmetics: Annotated[
        str, typer.Option("--arithmetic", help="Arithmetics (see attnproof list).")
    ] = "float64,float32",
    rows: Annotated[
        str | None,
        typer.Option(
            help="Measure errors on a sample of so many rows of each input, spread over positions; forms with a state"
            " still run on all.  [default: all rows]",
        ),
    ] = None,
    keys: Keys = None,
    ignore: Ignore = None,
    layout: Layout = None,
    bits: Bits = None,
    scale: Scale = None,
    causal: Annotated[
        bool | None,
        typer.Option(
            "--causal/--no-causal",
            help="Whether synthetic inputs and files are causal.  [default: synthetic yes, files as they say, or no]",
        ),
    ] = None,
    alignment: Alignment = None,
    out: Annotated[Path, typer.Option(help="Run file to write or to continue.")] = Path("run.sqlite"),
    jobs: Annotated[
        str | None, typer.Option(help="Worker processes; 0 works in this process.  [default: one per core]")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="GiB that state and buffers of a form may take; a worker may take one more. What was refused is tried"
            " again with another limit.  [default: 0.5, and half of the machine's for a worker]",
        ),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(
            help="Seconds for each piece of a cell's work: its run, its exact values on a block.  [default: no limit]"
        ),
    ] = None,
    columns: Columns = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the summary and every record as JSON.")] = False,
) -> None:
    """Measure formulations into a run file.

    Over inputs, mechanisms and their forms, orders and arithmetics. What the file holds already is not computed again;
    interrupt and continue at will.
    """
    from verify.parallel.executors import InProcessExecutor, cores, worker_pool
    from verify.sweep import Limits, RunFile, SweepSpec, cell_keys, run_sweep

    width = width_of(columns)
    workers = cores() if jobs is None else asked("--jobs", integer, jobs, "jobs", least=0, most=256)
    spec = SweepSpec(
        inputs=_inputs(
            inputs if inputs else ["samples", "normal"],
            given_options(context),
            head_sizes=asked("--head-sizes", integers, head_sizes, "head size", least=1, most=LARGEST_SIZE),
            tokens=asked("--tokens", integers, tokens, "tokens", least=1, most=LARGEST_TOKENS),
            logit_stds=asked("--logit-std", numbers, logit_std, "logit standard deviation"),
            seeds=asked("--seeds", integers, seeds, "seed", least=0, most=2**31 - 1),
            options=FileOptions(keys, ignore, layout, bits, scale, causal, alignment),
        ),
        plans=_plans(mechanisms, own or []),
        orders=asked("--orders", integers, orders, "order", least=0, most=ORDER_LIMIT),
        arithmetics=tuple(dict.fromkeys(words(arithmetics))),
        rows=None if rows is None else asked("--rows", integer, rows, "rows", least=1, most=LARGEST_TOKENS),
    )
    limits = Limits(
        None if memory is None else asked("--memory", gibibytes, memory, "memory"),
        None if timeout is None else seconds_of(timeout),
    )
    read: list[dict[str, Any]] = []

    def planned(source: InputSource, problem: Problem) -> None:
        read.append({"input": source.name, "kind": source.kind, **facts_of(source, problem)})

    try:
        with progress_bar("cells") as update:
            summary = run_sweep(
                spec,
                lambda: RunFile(out, write=True),
                (lambda: worker_pool(workers)) if workers else InProcessExecutor,
                started=datetime.now(UTC).isoformat(timespec="seconds"),
                command=shlex.join(["attnproof", *sys.argv[1:]]),
                progress=update,
                planned=planned,
                limits=limits,
            )
    except KeyboardInterrupt:
        raise _kept(out) from None
    counts = {
        "cells": summary.cells,
        "measured": summary.measured,
        "reused": summary.reused,
        "status": summary.by_status,
    }
    if json_:
        with RunFile(out) as run:
            for key in cell_keys(spec, summary.digests):
                run.record(key)  # a damaged file is found out before anything is printed: half a document is none
            records = (run.record(key) for key in cell_keys(spec, summary.digests))
            texts = (record.to_json() for record in records if record is not None)
            print_json_stream({"run": str(out), **counts, "problems": read}, "records", texts)
    else:
        for facts in read:
            if facts["kind"] == "file":
                show(f"{one_line(facts['input'])}:", width)
                show(echo(facts, width), width)
        ended = ", ".join(f"{count:,} {status}" for status, count in summary.by_status.items() if count)
        found = f"{summary.measured:,} measured now, {summary.reused:,} found in the file"
        _print_answer(out, spec, summary.digests, width)
        show(f"{how_many(summary.cells, 'cell')}: {found}; {ended}", width)
        show(f"run file: {one_line(str(out))}", width)
    _tell_reasons("refused: ", summary.refusals)
    if summary.by_status["failed"] or summary.by_status["crashed"]:
        _tell_reasons("", summary.faults)
        print("attnproof: some cells failed or crashed; the report says which and why", file=sys.stderr)
        raise typer.Exit(1)
    if not summary.by_status["ok"]:
        print("attnproof: nothing that was asked for could be measured", file=sys.stderr)
        raise typer.Exit(1)


def _print_answer(out: Path, spec: SweepSpec, digests: list[str], width: int) -> None:
    """Print what came out for the cells of this sweep, in the coarsest arithmetic."""
    from reports.answers import answers, cells_of
    from reports.frame import load_runs
    from reports.heat import answer_text

    names = {cell.variant.name for cell in spec.cells()}
    found = answers(load_runs([out]), cells_of(digests, names, spec.arithmetics))
    if found and found[-1].series:
        print(answer_text(found[-1], width))


def _tell_reasons(what: str, reasons: Mapping[str, tuple[str, str, int]]) -> None:
    """Say on stderr why cells have no numbers: a line for each cause, with its first cell and how many more."""
    for first, reason, times in list(reasons.values())[:MOST_REASONS]:
        where = first if times == 1 else f"{first}, and {times - 1:,} more"
        print(f"attnproof: {what}{one_line(where)}: {one_line(reason)}", file=sys.stderr)
    if len(reasons) > MOST_REASONS:
        others = how_many(len(reasons) - MOST_REASONS, "other reason")
        print(f"attnproof: {what}{others}; the report lists them all", file=sys.stderr)


def _kept(out: Path) -> Interrupted:
    """Return what an interrupted sweep leaves behind."""
    from verify.sweep import RunFile

    try:
        with RunFile(out) as run:
            kept = run.count()
    except InvalidRequestError:  # it is not there yet
        return Interrupted("interrupted before anything was measured")
    cells = how_many(kept, "finished cell is", "finished cells are")
    return Interrupted(f"interrupted; {cells} kept in {out}; the same command goes on from there")


def _inputs(
    names: list[str],
    given: set[str],
    *,
    head_sizes: tuple[int, ...],
    tokens: tuple[int, ...],
    logit_stds: tuple[float, ...],
    seeds: tuple[int, ...],
    options: FileOptions,
) -> tuple[InputSource, ...]:
    from verify.inputs import SAMPLES, SCENARIOS, SampleInput, SyntheticInput

    sources: dict[InputSource, None] = {}
    for name in names:
        found: list[InputSource]
        scenario, colon, text = name.partition(":")
        if name == "samples":
            found = [SampleInput(sample) for sample in SAMPLES]
        elif scenario in SCENARIOS:
            parameters = parameters_in(text) if colon else ()
            found = [
                SyntheticInput(scenario, d, n, std, seed, causal=options.causal is not False, parameters=parameters)
                for d in head_sizes
                for n in tokens
                for std in logit_stds
                for seed in seeds
            ]
        else:
            source = fixed_source(name, options)
            if source is None:
                raise unknown_input(name, ["samples", *SCENARIOS])
            found = [source]
        sources.update(dict.fromkeys(found))
    require_applicable(given, sources)
    return tuple(sources)


def _plans(mechanisms: str | None, own: list[str]) -> tuple[Plan, ...]:
    """Return what is to be measured: as asked for, or the main job's, and of files named by themselves all forms."""
    from verify.mechanisms.registry import SWEPT, files_in, known

    chosen = SWEPT if mechanisms is None else entries(mechanisms)
    registry = known((*own, *files_in(chosen)))
    plans = registry.plans(chosen)
    asked = {plan.mechanism for plan in plans}
    return (*plans, *registry.plans([text for text in own if registry.mechanism(text) not in asked]))
