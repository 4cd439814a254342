"""Proofs, checks, counted operations and lists of monomials, as text and as tables."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from reports.text import Table, count_text
from verify.finding import Finding
from verify.operations import AccountRow

WIDTH = 118


def verdict(finding: Finding) -> str:
    """Return how far the statement holds, or that it fails and where first."""
    return finding.scope if finding.difference is None else f"FAILS: {finding.difference}"


def finding_text(finding: Finding) -> str:
    """Return a finding for a terminal: statement, verdict and the steps, wrapped."""
    lines = _wrapped(f"{finding.name} [{finding.source}]: {finding.statement}", "", "  ")
    lines += _wrapped(verdict(finding), "  => ", "     ")
    for number, step in enumerate(finding.steps, 1):
        lines += _wrapped(step, f"  {number}. ", "     ")
    return "\n".join(lines)


def finding_table(findings: Iterable[Finding]) -> Table:
    """Return one row per finding, without the steps."""
    columns = ["statement", "source", "what it says", "verdict"]
    return Table(columns, [[f.name, f.source, f.statement, verdict(f)] for f in findings])


def account_table(account: Iterable[AccountRow]) -> Table:
    """Return the operations of one token part by part, as published and as they ran."""
    columns = ["part", "SA (14)", "as published, run", "packed, run", "of these x", "+", "/", "packed - SA (14)"]
    rows = []
    for row in account:
        packed = row.packed
        counts = (row.charged, row.published.flops, packed.flops)
        kinds = (packed.multiplications, packed.additions, packed.divisions, packed.flops - row.charged)
        rows.append([row.part, *map(count_text, counts), *map(count_text, kinds)])
    return Table(columns, rows)


def account_reasons(account: Iterable[AccountRow]) -> str:
    """Return why the parts differ, one paragraph each."""
    return "\n".join("\n".join(_wrapped(f"{row.part}: {row.why}", "", "  ")) for row in account if row.why)


def monomial_table(records: Iterable[Mapping[str, Any]]) -> Table:
    """Return one row per monomial, from records of its degree, positions, indices and multiplicity."""
    columns = ["d", "degree", "position", "paper's position", "indices", "multiplicity"]
    rows = []
    for record in records:
        *numbers, indices, multiplicity = record.values()
        rows.append([*map(str, numbers), " ".join(map(str, indices)), str(multiplicity)])
    return Table(columns, rows)


def _wrapped(text: str, first: str, later: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=later, break_long_words=False)
