"""attnproof reference: certified outputs of one input, as reference vectors in a file."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from cli.inputs import Alignment, Keys, Scale, fixed_source, given_options, require_applicable, unknown_input
from cli.progress import progress_bar
from cli.text import gibibytes, integer, one_line, print_json
from verify.errors import InvalidRequestError

# Of Taylor: the exact values of high orders are found, each a term later than the last.
ORDER_LIMIT = 512


def reference(
    context: typer.Context,
    input_: Annotated[
        str,
        typer.Argument(
            metavar="INPUT", help="sample:NAME, FILE.npz, FILE.safetensors, or Q.npy,K.npy,V.npy.", show_default=False
        ),
    ],
    mechanism: Annotated[str, typer.Option(help="softmax, logexp or taylor.")] = "softmax",
    order: Annotated[str | None, typer.Option(help="Order of taylor (highest power kept, terms - 1).")] = None,
    digits: Annotated[str, typer.Option(help="Digits to certify of every output element, 1 to 1000.")] = "50",
    keys: Keys = "q,k,v",
    scale: Scale = None,
    causal: Annotated[
        bool | None,
        typer.Option("--causal/--no-causal", help="Whether an input file is causal.  [default: as it says, or no]"),
    ] = None,
    alignment: Alignment = None,
    out: Annotated[Path, typer.Option(help="File to write, .npz or .json.")] = Path("reference.npz"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    jobs: Annotated[
        str | None,
        typer.Option(help="Worker processes; 0 works in this process.  [default: one per core if it pays]"),
    ] = None,
    memory: Annotated[str | None, typer.Option(help="GiB that may be needed.  [default: 4]")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Certify the exact output of an input.

    Writes inputs, values, radii and full decimals to a file that other projects' tests can read, and says how many
    digits are certified.
    """
    from verify.parallel.executors import ended_pool, worker_pool
    from verify.truth import (
        MAX_DIGITS,
        MEMORY_LIMIT,
        check_mechanism,
        processes_for,
        require_writable,
        write_vectors,
    )
    from verify.truth import reference as certified

    wanted = integer(digits, "digits", least=1, most=MAX_DIGITS)
    power = None if order is None else integer(order, "order", least=0, most=ORDER_LIMIT)
    limit = MEMORY_LIMIT if memory is None else gibibytes(memory, "memory")
    workers = None if jobs is None else integer(jobs, "jobs", least=0, most=256)
    source = fixed_source(input_, keys=keys, scale=scale, causal=causal, alignment=alignment)
    if source is None:
        raise unknown_input(input_, [])
    require_applicable(given_options(context), [source])

    check_mechanism(mechanism, power)
    require_writable(out, overwrite=force)
    problem = source.load()
    if os.path.realpath(out) in map(os.path.realpath, input_.split(",")):
        raise InvalidRequestError(f"{out}, the input itself, as the file to write", "another file", "name another")
    if workers is None:
        workers = processes_for(problem, power)
    with (
        progress_bar("rows") as update,
        ended_pool(lambda: worker_pool(workers)) if workers else nullcontext() as executor,
    ):
        truth = certified(
            problem,
            wanted,
            mechanism,
            power,
            executor=executor,
            memory_limit=limit,
            progress=lambda done, rows: update(done, rows, ""),
        )
    write_vectors(truth, out, overwrite=force)
    facts = {
        "input": problem.name,
        "mechanism": mechanism,
        "order": power,
        "elements": truth.value.size,
        "digits_certified": truth.digits,
        "digits_asked": wanted,
        "essentially_zero": int(truth.absolute.sum()),
        "undefined_rows": int(truth.undefined_rows.sum()),
        "nonpositive_rows": int(truth.nonpositive_rows.sum()),
        "out": str(out),
    }
    if json_:
        print_json(facts)
        return
    shape = " x ".join(map(str, truth.value.shape))
    name = mechanism if power is None else f"{mechanism} of order {power}"
    print(f"exact {name} on {one_line(problem.name)}: {shape} output elements")
    print(f"certified digits: at least {truth.digits}, {wanted} asked for")
    if facts["essentially_zero"]:
        print(f"essentially zero, and so without digits: {facts['essentially_zero']} elements")
    if facts["nonpositive_rows"]:
        print(f"rows whose sum of weights is zero or less: {facts['nonpositive_rows']}")
    if facts["undefined_rows"]:
        print(f"rows without a value, their weights summing to zero: {facts['undefined_rows']}")
    print(f"file: {one_line(str(out))}")
