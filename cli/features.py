"""attnproof features: feature, state and FLOP counts, the monomials themselves, and the proofs of it all."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.inputs import given_options
from cli.text import (
    LARGEST_SIZE,
    Columns,
    asked,
    choice,
    integer,
    one_line,
    print_json,
    print_json_stream,
    show,
    width_of,
)
from verify.errors import InvalidRequestError, TooLargeError
from verify.integers import how_many, integers

if TYPE_CHECKING:
    from reports.costs import Labels
    from verify.arguments import Value
    from verify.attention.contract import Member
    from verify.families.costs import FeatureCost, MultiheadCost
    from verify.proofs.finding import Finding

# d^512 at the largest head size has 2,467 digits, and Python prints no integer of more than 4,300
ORDER_LIMIT = 512

LARGEST_WIDTH = 1 << 24


def features(
    context: typer.Context,
    head_sizes: Annotated[str, typer.Option(help="Head sizes of queries and keys.")] = "8,16,32,64,128",
    orders: Annotated[
        str,
        typer.Option(help="Values along the mechanism's axis: orders (highest power kept, terms - 1), degrees, ..."),
    ] = "0:7",
    mechanism: Annotated[
        str | None,
        typer.Option(
            help="Mechanism whose features are counted, or FILE.py:NAME, with parameters as in NAME:seed=1.  [default:"
            " the one that recommend takes]",
            show_default=False,
        ),
    ] = None,
    value_size: Annotated[str | None, typer.Option(help="Size of a value.  [default: the head size]")] = None,
    storage: Annotated[str, typer.Option(help="Number format that the bytes of the state are counted in.")] = "float32",
    width: Annotated[
        str | None,
        typer.Option(help="Widths of a layer, for totals over its heads; 1024:8192 doubles, 1024:8192:1024 has steps."),
    ] = None,
    monomials: Annotated[
        bool, typer.Option("--monomials", help="List the monomials whose degree is the order, with multiplicities.")
    ] = False,
    prove: Annotated[
        bool, typer.Option("--prove", help="Prove the formulas, check the numeric basis, and count operations.")
    ] = False,
    style: Annotated[
        str, typer.Option("--as", help="plain, markdown, csv or latex; of --prove, csv has the statements only.")
    ] = "plain",
    columns: Columns = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Count features, state and FLOPs.

    Of a mechanism with features, from published formulas where there are some, with the context at which it meets
    conventional attention; list the monomials; or prove the formulas for all head sizes and orders.
    """
    from reports.text import STYLES
    from verify.numbers.formats import FORMATS

    given = given_options(context)
    asked("--as", choice, style, "style", STYLES)
    asked("--storage", choice, storage, "storage", FORMATS)
    screen = width_of(columns)
    if json_ and "style" in given:
        raise InvalidRequestError(f"--as {style} with --json", "one of the two", "leave one out")
    if prove:
        table_options = sorted(given - {"prove", "style", "columns", "json_"})
        if table_options:
            raise InvalidRequestError(
                f"--{table_options[0].replace('_', '-')} with --prove, which is for all sizes and orders",
                "--prove with --as or --json only",
                "leave it out",
            )
        _prove(style, json_, screen)
        return
    if monomials and width is not None:
        raise InvalidRequestError("--width with --monomials", "one of the two", "leave one out")
    sizes = asked("--head-sizes", integers, head_sizes, "head size", least=1, most=LARGEST_SIZE)
    d_v: int | None = None
    if value_size is not None:
        d_v = asked("--value-size", integer, value_size, "value size", least=1, most=LARGEST_SIZE)
    members = _members(mechanism, orders, "orders" in given)
    rows = [_counts(member, size, d_v) for size in sizes for member in members]
    labels = {member.name: _labels(member) for member in members}
    if monomials:
        _list_monomials(rows, labels, storage, style, json_, screen)
    elif width is not None:
        widths = asked("--width", integers, width, "width", least=1, most=LARGEST_WIDTH, doubling=True)
        _count_heads(widths, rows, labels, storage, style, json_, screen)
    else:
        _count(rows, labels, storage, style, json_, screen)


def _members(mechanism: str | None, orders: str, chosen: bool) -> list[Member]:
    """Return the members whose features are counted: along the axis, unless its value is given with the mechanism."""
    from verify.mechanisms.loading import explained
    from verify.mechanisms.registry import RECOMMENDED, files_in, known

    text = RECOMMENDED if mechanism is None else mechanism
    plans = known(files_in([text])).plans([text])
    plan, axis = plans[0], plans[0].mechanism.axis
    if axis is None or axis in dict(plan.parameters):
        if chosen:
            raise InvalidRequestError(f"--orders with {mechanism}", "a mechanism with an open axis", "leave it out")
        values: tuple[int, ...] = ()
    elif chosen or mechanism is None:
        values = asked("--orders", integers, orders, axis, least=0, most=ORDER_LIMIT)
        if mechanism is not None:
            parameter = plan.mechanism.parameters[axis]
            for end in (min(values), max(values)):
                parameter.checked(axis, end)
    else:
        with explained(plan.mechanism):
            values = tuple(plan.mechanism.searched(None)[:8])
    along = {} if axis is None else {axis: values}
    return list(dict.fromkeys(variant.member for plan in plans for variant in plan.variants(along)))


def _counts(member: Member, size: int, d_v: int | None) -> FeatureCost:
    from verify.families.costs import counts_of
    from verify.mechanisms.loading import explained

    with explained(member.mechanism):
        counts = counts_of(member, size, d_v)
    if counts is None:
        raise InvalidRequestError(
            f"the features of {member.of}, which has none", "a mechanism with features", "see attnproof list"
        )
    return counts


def _labels(member: Member) -> dict[str, Value]:
    from verify.mechanisms.loading import explained

    with explained(member.mechanism):
        return member.labels


def _count(rows: list[FeatureCost], labels: Labels, storage: str, style: str, json_: bool, screen: int) -> None:
    from reports.costs import cost_record, cost_table

    if json_:
        print_json({"rows": [cost_record(row) for row in rows]})
    else:
        print(cost_table(rows, storage, labels).styled(style, map(cost_record, rows), screen))


def _count_heads(
    widths: tuple[int, ...],
    heads: list[FeatureCost],
    labels: Labels,
    storage: str,
    style: str,
    json_: bool,
    screen: int,
) -> None:
    """Print what can be counted, then refuse a width that is no multiple of a head size."""
    from reports.costs import cost_record, multihead_record, multihead_table
    from verify.families.costs import multihead_cost

    rows: list[MultiheadCost] = []
    refused: list[InvalidRequestError] = []
    for width in widths:
        for head in heads:
            try:
                rows.append(multihead_cost(width, head))
            except InvalidRequestError as error:
                refused.append(error)
    if json_:
        document = {"rows": [cost_record(head) for head in heads]}
        print_json(document | {"heads": [multihead_record(row) for row in rows]})
    elif rows:
        print(multihead_table(rows, storage, labels).styled(style, map(multihead_record, rows), screen))
    _refuse(refused)


def _list_monomials(
    counts: list[FeatureCost], labels: Labels, storage: str, style: str, json_: bool, screen: int
) -> None:
    """Print the lists, or the counts alone of what is too long to list, which is then refused."""
    from reports.costs import cost_record, cost_table
    from reports.findings import monomial_table
    from reports.text import csv_text
    from verify.families.polynomial.basis import monomial_table as listed

    refused: list[InvalidRequestError] = []

    def records(row: FeatureCost) -> list[dict[str, Any]]:
        if row.order is None:
            raise InvalidRequestError(
                f"monomials of {row.member}", "a polynomial of the logits", "leave --monomials out"
            )
        try:
            place = {"head_size": row.head_size, "degree": row.order}
            return [place | asdict(monomial) for monomial in listed(row.head_size, row.order)]
        except TooLargeError as error:
            refused.append(error)
            return []

    if json_:
        head = {"rows": [cost_record(row) for row in counts]}
        print_json_stream(head, "monomials", (json.dumps(monomial) for row in counts for monomial in records(row)))
    else:
        header = True
        for row in counts:
            rows = records(row)
            if style == "csv":
                if rows:
                    print(csv_text(rows, header=header))
                    header = False
            elif rows:
                print(monomial_table(rows).styled(style, rows, screen), end="\n\n")
            else:
                print(cost_table([row], storage, labels).styled(style, [], screen), end="\n\n")
    _refuse(refused)


def _refuse(refused: Sequence[InvalidRequestError]) -> None:
    """Refuse the first of several after everything else has been printed, and say how many more there are."""
    if not refused:
        return
    sys.stdout.flush()
    first, more = refused[0], len(refused) - 1
    given = f"{first.given} (and {more} more like it)" if more else first.given
    raise InvalidRequestError(given, first.expected, first.remedy)


def _prove(style: str, json_: bool, screen: int) -> None:
    from reports.findings import (
        account_notes,
        account_record,
        account_table,
        account_title,
        finding_table,
        finding_text,
    )
    from verify.claims.audit import findings, operations_of_one_token
    from verify.proofs import VARIABLES

    found: list[Finding] = []
    if style == "plain" and not json_:
        show(f"{VARIABLES}\n", screen)
        print()
    for finding in findings():
        found.append(finding)
        if style == "plain" and not json_:
            print(finding_text(finding, screen), end="\n\n", flush=True)
    failed = [finding for finding in found if not finding.holds]
    # what is counted may be what is wrong
    operations = None if failed else operations_of_one_token()
    if json_:
        print_json(
            {
                "variables": VARIABLES,
                "findings": [asdict(finding) | {"holds": finding.holds} for finding in found],
                "operations": None if operations is None else account_record(operations),
            }
        )
    elif style == "csv":
        print(finding_table(found).styled(style, [asdict(finding) for finding in found]))
    else:
        if style != "plain":
            print(finding_table(found).styled(style, []), end="\n\n")
        if operations is not None:
            table = account_table(operations).styled(style, [], screen)
            print(account_title(operations, style, screen), table, account_notes(operations, style, screen), sep="\n\n")
    if failed:
        sys.stdout.flush()
        first = f"{failed[0].name}: {failed[0].difference}"
        fail = how_many(len(failed), "statement fails", "statements fail")
        print(one_line(f"attnproof: {fail}, of {len(found)}; the first is {first}"), file=sys.stderr)
        raise typer.Exit(1)
