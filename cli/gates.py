"""attnproof gates: what public acceptance rules for attention kernels let through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Annotated, TypeVar

import typer

from cli.inputs import given_options
from cli.progress import progress_bar
from cli.text import LARGEST_SIZE, Columns, asked, choice, integer, numbers, print_json, width_of, words
from verify.errors import InvalidRequestError
from verify.integers import integers

LARGEST_TOKENS = 1 << 22

MOST_QUERIES = 1 << 12

Named = TypeVar("Named")


def gates(
    context: typer.Context,
    tokens: Annotated[str, typer.Option(help="Keys of the inputs.")] = "16384,65536,262144",
    head_sizes: Annotated[str, typer.Option(help="Head sizes of the inputs.")] = "64",
    logit_stds: Annotated[str, typer.Option(help="Standard deviations of the logits.")] = "1",
    arithmetic: Annotated[
        str,
        typer.Option(help="Arithmetics of a plain run, whose formats inputs and answers have (see attnproof list)."),
    ] = "bfloat16+float32",
    queries: Annotated[str, typer.Option(help="Queries, each of which sees all keys.")] = "64",
    seeds: Annotated[str, typer.Option(help="Seeds of the inputs.")] = "0",
    rules: Annotated[
        str | None, typer.Option(help="Rules, separated by commas.  [default: all]", show_default=False)
    ] = None,
    functions: Annotated[
        str | None, typer.Option(help="Wrong functions, separated by commas.  [default: all]", show_default=False)
    ] = None,
    sources: Annotated[
        bool, typer.Option("--sources", help="Say what the rules ask, where they stand, and what the functions are.")
    ] = False,
    columns: Columns = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Judge the rules that judge attention kernels.

    For each public rule, and that of attnproof check, the wrongest of some functions that are not attention which it
    accepts, by the number of keys, with its true relative error: outputs shrink as keys grow, and tolerances that are
    absolute do not. Exit code 1 if our own rule accepts one.
    """
    from reports.gates import gate_document, gate_text, impostor_table, rule_table
    from verify.gates.impostors import impostors
    from verify.gates.judged import Trial, judged, steps
    from verify.gates.own import OwnRule
    from verify.gates.rules import RULES, Judge
    from verify.inputs import SyntheticInput

    width = width_of(columns)
    ours = OwnRule()
    known: dict[str, Judge] = {**RULES, ours.name: ours}
    chosen = _chosen("--rules", "rule", rules, known)
    family = _chosen("--functions", "function", functions, impostors())
    if sources:
        _require_alone(given_options(context))
        if json_:
            print_json(gate_document([], chosen, family))
        else:
            print(rule_table(chosen).plain(width), impostor_table(family).plain(width), sep="\n\n")
        return
    asked_for = product(
        asked("--head-sizes", integers, head_sizes, "head size", least=1, most=LARGEST_SIZE),
        asked("--logit-stds", numbers, logit_stds, "logit standard deviation"),
        dict.fromkeys(words(arithmetic)),
        asked("--tokens", integers, tokens, "tokens", least=1, most=LARGEST_TOKENS),
        asked("--seeds", integers, seeds, "seed", least=0, most=2**31 - 1),
    )
    count = asked("--queries", integer, queries, "queries", least=1, most=MOST_QUERIES)
    trials = [
        Trial(SyntheticInput("normal", d, n, std, seed, causal=False), policy, count)
        for d, std, policy, n, seed in asked_for
    ]
    found, total = [], steps(family) * len(trials)
    with progress_bar("steps") as update:
        done = iter(range(1, total + 1))
        for trial in trials:
            found.append(judged(trial, chosen, family, progress=lambda step: update(next(done), total, step)))
    if json_:
        print_json(gate_document(found, chosen, family))
    else:
        print(gate_text(found, chosen, width))
    if any(one.accepted(ours.name) for one in found):
        raise typer.Exit(1)


def _chosen(option: str, label: str, text: str | None, known: Mapping[str, Named]) -> list[Named]:
    """Return what a list names, each once; all there is without one."""
    names: Iterable[str] = known if text is None else dict.fromkeys(words(text))
    return [known[asked(option, choice, name, label, known)] for name in names]


def _require_alone(given: set[str]) -> None:
    """Raise InvalidRequestError for options that say what is to be judged."""
    others = sorted(given - {"sources", "rules", "functions", "columns", "json_"})
    if others:
        raise InvalidRequestError(
            f"--{others[0].replace('_', '-')} with --sources, which judges nothing", "one of the two", "leave one out"
        )
