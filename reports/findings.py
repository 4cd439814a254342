"""Proofs, checks, counted operations and lists of monomials, as text and as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from reports.terminal import wrapped
from reports.text import Table, count_text, escape_markdown, printable
from verify.proofs.finding import Finding

if TYPE_CHECKING:
    from verify.claims.audit import Account


def verdict(finding: Finding) -> str:
    """Return how far the statement holds, or that it fails and where first."""
    return finding.scope if finding.difference is None else f"FAILS: {finding.difference}"


def finding_text(finding: Finding, width: int) -> str:
    """Return a finding for a terminal of so many columns: statement, verdict and the steps."""
    lines = [wrapped(f"{finding.name} [{finding.source}]: {finding.statement}", width, later="  ")]
    lines.append(wrapped(verdict(finding), width, "  => ", "     "))
    for number, step in enumerate(finding.steps, 1):
        lines.append(wrapped(step, width, f"  {number}. ", "     "))
    return "\n".join(lines)


def finding_table(findings: Iterable[Finding]) -> Table:
    """Return one row per finding, without the steps."""
    columns = ["statement", "source", "what it says", "verdict"]
    return Table(columns, [[f.name, f.source, f.statement, verdict(f)] for f in findings])


def account_table(account: Account) -> Table:
    """Return the operations of one token part by part, as published and as they ran."""
    columns = ["part", "SA (14), as we read it", "A1, A2 as written, run", "packed, run", "of these x", "+", "/"]
    rows = []
    for row in account.rows:
        packed = row.packed
        counts = (row.charged, row.published.flops, packed.flops)
        kinds = (packed.multiplications, packed.additions, packed.divisions)
        rows.append([row.part, *map(count_text, counts), *map(count_text, kinds), f"{packed.flops - row.charged:+,}"])
    return Table([*columns, "packed - SA (14)"], rows, keys=1)


def account_title(account: Account, style: str, width: int) -> str:
    """Return what is counted, as a comment in LaTeX."""
    sizes = f"d = {account.head_size}, d_v = {account.value_size}, order {account.order}"
    return _commented(
        [f"FLOPs of one token that goes through the state, at {sizes}, counted while they ran"], style, width
    )


def account_notes(account: Account, style: str, width: int) -> str:
    """Return why the parts differ, one paragraph each, and what causal chunks take besides."""
    own, whole = account.own_pairs.flops, account.rows[-1].packed.flops
    notes = [f"{row.part}: {row.why}" for row in account.rows if row.why]
    notes.append(
        f"causal: a chunk's own pairs go by scores; at {account.chunk} tokens a chunk that takes {own:,} more for each"
        f" token, {whole + own:,} in all"
    )
    notes.append("every +, x and / is one; the first addition to a sum that is zero, and multiplications by 1, count")
    return _commented(notes, style, width)


def _commented(notes: Iterable[str], style: str, width: int) -> str:
    """Return paragraphs where they stand: wrapped for a terminal, apart in Markdown, as comments in LaTeX."""
    if style == "latex":
        return "\n".join("% " + printable(note) for note in notes)
    if style == "markdown":
        return "\n\n".join(map(escape_markdown, notes))
    return "\n".join(wrapped(note, width, later="  ") for note in notes)


def account_record(account: Account) -> dict[str, Any]:
    """Return every number of the account."""
    record = asdict(account)
    for row, written in zip(account.rows, record["rows"], strict=True):
        for name in ("published", "packed"):
            written[name]["flops"] = getattr(row, name).flops
    record["own_pairs"]["flops"] = account.own_pairs.flops
    return record


def monomial_table(records: Iterable[Mapping[str, Any]]) -> Table:
    """Return one row per monomial, from records of its degree, positions, indices and multiplicity."""
    columns = ["d", "degree", "position", "paper's position", "indices", "multiplicity"]
    rows = []
    for record in records:
        *numbers, indices, multiplicity = record.values()
        rows.append([*map(str, numbers), " ".join(map(str, indices)), str(multiplicity)])
    return Table(columns, rows)
