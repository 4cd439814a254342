"""attnproof reference: certified outputs of one input, as reference vectors in a file."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.echo import echo, loaded, tell_time
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
from cli.text import Columns, asked, gibibytes, integer, one_line, print_json, show, width_of
from verify.errors import InvalidRequestError
from verify.integers import how_many

if TYPE_CHECKING:
    from verify.attention.contract import Member
    from verify.truth import Demand

ORDER_LIMIT = 512  # far beyond any use


def reference(
    context: typer.Context,
    input_: Annotated[
        str,
        typer.Argument(
            metavar="INPUT", help="sample:NAME, FILE.npz, FILE.safetensors, or Q.npy,K.npy,V.npy.", show_default=False
        ),
    ],
    mechanism: Annotated[
        str | None,
        typer.Option(
            help="Mechanism (see attnproof list), with parameters as in NAME:order=3, or FILE.py:NAME.  [default:"
            " conventional attention]",
            show_default=False,
        ),
    ] = None,
    order: Annotated[
        str | None, typer.Option(help="Order (highest power kept, terms - 1) of a mechanism that has one.")
    ] = None,
    digits: Annotated[str, typer.Option(help="Digits to certify of every output element, 1 to 1000.")] = "50",
    keys: Keys = None,
    ignore: Ignore = None,
    layout: Layout = None,
    bits: Bits = None,
    scale: Scale = None,
    causal: Causal = None,
    alignment: Alignment = None,
    rows: Annotated[
        str | None,
        typer.Option(help="Queries to certify, as in 0,17,-4: (the first, the 18th, the last four).  [default: all]"),
    ] = None,
    rounded: Annotated[
        str | None,
        typer.Option(help="Format to round to as well, as bfloat16, with what a test of a kernel may demand of it."),
    ] = None,
    out: Annotated[Path, typer.Option(help="File to write, .npz or .json.")] = Path("reference.npz"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    jobs: Annotated[
        str | None,
        typer.Option(help="Worker processes; 0 works in this process.  [default: one per core if it pays]"),
    ] = None,
    memory: Annotated[str | None, typer.Option(help="GiB that may be needed.  [default: 4]")] = None,
    columns: Columns = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Certify the exact output of an input.

    Writes inputs, values, radii and full decimals to a file that other projects' tests can read, and says how many
    digits are certified. Gradients as well, if the input file holds dout.
    """
    from verify.inputs import FileInput
    from verify.mechanisms.loading import explained, is_shipped
    from verify.numbers.formats import named_format
    from verify.parallel.executors import ended_pool, worker_pool
    from verify.problem import described
    from verify.problem.selection import chosen_rows, of_rows
    from verify.truth import (
        MAX_DIGITS,
        MEMORY_LIMIT,
        More,
        certify_some,
        demanded,
        gradients,
        processes_for,
        require_writable,
        write_vectors,
    )
    from verify.truth import reference as certified

    width = width_of(columns)
    wanted = asked("--digits", integer, digits, "digits", least=1, most=MAX_DIGITS)
    member = _member(mechanism, order)
    limit = MEMORY_LIMIT if memory is None else asked("--memory", gibibytes, memory, "memory")
    workers = None if jobs is None else asked("--jobs", integer, jobs, "jobs", least=0, most=256)
    source = fixed_source(input_, FileOptions(keys, ignore, layout, bits, scale, causal, alignment))
    if source is None:
        raise unknown_input(input_, [])
    require_applicable(given_options(context), [source])

    require_writable(out, overwrite=force)
    if rounded is not None:
        asked("--rounded", named_format, rounded)
    problem, others, facts = loaded(source)
    chosen = None if rows is None else asked("--rows", chosen_rows, rows, problem.queries)
    facts = {**facts, "unused": []} if others else facts  # what it holds beside the problem is dout
    if chosen is not None:
        problem, dout = of_rows(problem, chosen), others.get("dout")
        others = {} if dout is None else {"dout": dout[..., list(chosen), :]}
        facts = {**facts, **described(problem), "rows": list(chosen)}
    if os.path.realpath(out) in map(os.path.realpath, source.paths if isinstance(source, FileInput) else ()):
        raise InvalidRequestError(
            f"{out}, the input itself, as the file to write", "another file", "name another (--out)"
        )
    if workers is None:
        with explained(member.mechanism):
            workers = processes_for(problem, member)
    tell_time(problem, member)
    with (
        explained(member.mechanism),
        progress_bar("rows") as update,
        ended_pool(lambda: worker_pool(workers)) if workers else nullcontext() as executor,
    ):
        truth = certified(
            problem,
            wanted,
            member,
            executor=executor,
            memory_limit=limit,
            progress=lambda done, rows: update(done, rows, ""),
        )
        if not is_shipped(member.mechanism):  # nobody has looked at its formula
            certify_some(problem, wanted, member)
        more = More(
            gradients=gradients(problem, others["dout"], wanted, member) if "dout" in others else None,
            demand=None if rounded is None else demanded(truth, rounded),
            rows=chosen,
        )
    write_vectors(truth, out, more, overwrite=force)
    zeros = int(truth.absolute.sum())
    summary = {
        "input": problem.name,
        "problem": facts,
        "mechanism": member.of,
        "member": member.name,
        **dict(member.parameters),
        "elements": truth.value.size,
        "digits_certified": truth.digits,
        "digits_asked": wanted,
        "essentially_zero": zeros,
        "undefined_rows": int(truth.undefined_rows.sum()),
        "nonpositive_rows": int(truth.nonpositive_rows.sum()),
        "gradients": None if more.gradients is None else list(more.gradients.balls),
        "gradient_digits": None if more.gradients is None else more.gradients.digits,
        "rounded": rounded,
        "bound": None if more.demand is None else more.demand.arithmetic,
        "out": str(out),
    }
    if json_:
        print_json(summary)
        return
    shape = " x ".join(map(str, truth.value.shape))
    elements = "output element" if truth.value.size == 1 else "output elements"
    show(f"exact {one_line(member.name)} on {one_line(problem.name)}: {shape} {elements}", width)
    show(echo(facts, width), width)
    show(f"certified digits: at least {truth.digits}, {wanted} asked for", width)
    if more.gradients is not None:
        names = ", ".join(more.gradients.balls)
        show(f"gradients {names}: at least {how_many(more.gradients.digits, 'certified digit')}", width)
    if more.demand is not None:
        show(_demand_text(more.demand), width)
    if zeros:
        show(f"essentially zero, and so without digits: {how_many(zeros, 'element')}", width)
    if summary["nonpositive_rows"]:
        show(f"rows whose sum of weights is zero or less: {summary['nonpositive_rows']}", width)
    if summary["undefined_rows"]:
        show(f"rows without a value, their weights summing to zero: {summary['undefined_rows']}", width)
    show(f"file: {one_line(str(out))}", width)


def _demand_text(demand: Demand) -> str:
    """Return what is known of kernels in the format."""
    if demand.arithmetic is None:
        return f"rounded to {demand.format}; no bound, as nothing computes in it or the inputs are not numbers of it"
    return f"rounded to {demand.format}; bounds of {demand.form} in {demand.arithmetic}, element by element"


def _member(mechanism: str | None, order: str | None) -> Member:
    """Return the member that is asked for, its order given by itself or with the mechanism."""
    from verify.mechanisms.registry import CONVENTIONAL, named_member

    text = CONVENTIONAL if mechanism is None else mechanism
    if order is not None:
        power = asked("--order", integer, order, "order", least=0, most=ORDER_LIMIT)
        text += f"{',' if '=' in text else ':'}order={power}"
    return named_member(text)
