"""The tables of a report's inputs, each a selection of the frame as finished text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.curves import (
    Variant,
    axis_of,
    curve,
    formula_name,
    leading_variant,
    mechanisms,
    members,
    share_text,
    variants,
    without_axis,
)
from reports.frame import by_input, in_order, labels_of, measured
from reports.text import Table, count_text, error_text, number_text, skill_text
from verify.arguments import value_text


@dataclass(frozen=True)
class MechanismSection:
    """What the report says about one mechanism with an axis on one input."""

    mechanism: str
    axis: str
    totals: Table
    roundings: Table
    cells: pd.DataFrame


@dataclass(frozen=True)
class InputSection:
    """Everything the report says about one input.

    mechanisms: those with an axis; others: the rest, in one table.
    """

    name: str
    facts: Sequence[tuple[str, str]]
    mechanisms: Sequence[MechanismSection]
    others: Table
    cells: pd.DataFrame


def _optional(value: Any) -> Any:
    return None if value is None or value != value else value


def input_sections(frame: pd.DataFrame) -> list[InputSection]:
    """Return one section per input."""
    return [_section(str(name), cells) for name, cells in by_input(frame)]


def _section(name: str, cells: pd.DataFrame) -> InputSection:
    first = cells.iloc[0]
    scale = _optional(first["scale"])
    facts = [
        ("heads x queries x keys", f"{first['heads']} x {first['queries']} x {first['keys']}"),
        ("d_k, d_v", f"{first['head_size']}, {first['value_size']}"),
        ("scale", "1/sqrt(d_k), exactly" if scale is None else repr(float(scale))),
        ("causal", "yes" if first["causal"] else "no"),
        ("largest attended |logit|", number_text(first["largest_logit"])),
        ("standard deviation of the logits", number_text(first["measured_logit_std"])),
        ("rows", count_text(first["rows"])),
        ("certified digits of exact values", _fewest_digits(cells)),
        ("measured in", _sessions(cells)),
    ]
    own = [
        MechanismSection(mechanism, axis_of(group), _totals(group), _roundings(group), group)
        for mechanism, group in mechanisms(cells)
    ]
    return InputSection(name, facts, own, _others(cells), cells)


def _sessions(cells: pd.DataFrame) -> str:
    found = in_order(zip(cells["run"], cells["session"], strict=True))
    return ", ".join(f"{run} session {session}" for run, session in found)


def _fewest_digits(cells: pd.DataFrame) -> str:
    digits = measured(cells)["digits"]
    return f"at least {digits.min()}" if len(digits) else "none"


def label_cells(cell: Any, labels: Sequence[tuple[str, str]]) -> list[str]:
    """Return what tables show of a member, in the order of the labels; empty where it has none."""
    values = (_optional(cell[column]) for _, column in labels)
    return ["" if value is None else value_text(value) for value in values]


def _totals(cells: pd.DataFrame) -> Table:
    """Return the formula error and total errors by member, with the rows whose sum of weights Z is not positive."""
    shown, labels, formula = variants(cells), labels_of(cells), formula_name(cells)
    columns = [label for label, _ in labels]
    counted = "features per key" if "features" in columns else "features"
    columns += [counted, "rows with Z <= 0", formula, f"{formula} max"]
    columns += [f"total {arithmetic} {form}" for form, arithmetic in shown] + ["skill"]
    leading = leading_variant(cells)
    rows = []
    for _, group in members(cells):
        found = measured(group)
        rows.append([*label_cells(group.iloc[0], labels), count_text(_optional(group["features"].dropna().min()))])
        if found.empty:
            rows[-1] += ["", "", ""]
        else:
            exact = found.iloc[0]
            rows[-1] += [share_text(exact, "nonpositive_exact"), _formula_text(exact, "formula_relative")]
            rows[-1] += [_formula_text(exact, "formula_max")]
        rows[-1] += [_cell(group, variant, "total_relative") for variant in shown]
        quoted = [] if leading is None else [_optional(v) for v in curve(group, leading)["skill"]]
        rows[-1].append(skill_text(quoted[0]) if quoted else "")
    return Table(columns, rows)


def _formula_text(cell: Any, column: str) -> str:
    """Return a statistic of the formula error; what everything is compared with has none."""
    return "exact" if _optional(cell["formula_error"]) is None else error_text(cell[column])


def _roundings(cells: pd.DataFrame) -> Table:
    """Return rounding error by member and variant, and the rows whose sum of weights came out not positive."""
    shown, labels = variants(cells), labels_of(cells)
    columns = [label for label, _ in labels]
    columns += [f"rounding {arithmetic} {form}" for form, arithmetic in shown]
    columns += [f"Z <= 0 computed, {arithmetic} {form}" for form, arithmetic in shown]
    rows = []
    for _, group in members(cells):
        row = label_cells(group.iloc[0], labels)
        row += [_cell(group, variant, "rounding_relative") for variant in shown]
        row += [_cell(group, variant, "nonpositive_rows") for variant in shown]
        rows.append(row)
    return Table(columns, rows)


def _cell(group: pd.DataFrame, variant: Variant, column: str) -> str:
    form, arithmetic = variant
    chosen = group[(group["variant"] == form) & (group["arithmetic"] == arithmetic)]
    if chosen.empty:
        return ""
    cell = chosen.iloc[0]
    if cell["status"] != "ok":
        return str(cell["status"])
    return count_text(cell[column]) if column == "nonpositive_rows" else error_text(cell[column])


def _others(cells: pd.DataFrame) -> Table:
    """Return the mechanisms without an axis, with the formula errors that there are, each under its own name."""
    found = without_axis(cells)
    names = in_order(found["formula_error"].dropna())
    columns = ["mechanism", "form", "arithmetic", *names, "rounding", "total", "skill", "state", "FLOPs/token"]
    rows = []
    for _, cell in found.iterrows():
        own = _optional(cell["formula_error"])
        row = [cell["member"], cell["variant"], cell["arithmetic"]]
        if cell["status"] != "ok":
            row += [*("" for _ in names), "", str(cell["status"]), ""]
        else:
            row += [_formula_text(cell, "formula_relative") if own in (None, name) else "" for name in names]
            row += [error_text(cell["rounding_relative"]), error_text(cell["total_relative"])]
            row.append(skill_text(_optional(cell["skill"])))
        row += [count_text(_optional(cell["state_elements"])), count_text(_optional(cell["flops_per_token"]))]
        rows.append(row)
    return Table(columns, rows)


def unmeasured_table(frame: pd.DataFrame) -> Table:
    """Return the cells that were refused, failed or crashed, with the reason."""
    columns = ["input", "member", "variant", "arithmetic", "status", "reason"]
    missing = frame[frame["status"] != "ok"]
    rows = [list(map(str, row)) for row in missing[columns].itertuples(index=False)]
    return Table(["input", "mechanism", "form", "arithmetic", "status", "reason"], rows)


def quantised(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the cells in which rounding the inputs to the arithmetic's format changed the exact value."""
    return frame[frame["quantisation_max"] > 0]
