"""The tables of a report's inputs, each a selection of the frame as finished text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.answer import Answer
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
from reports.text import Table, count_text, error_text, number_text, percent_text, skill_text
from verify.arguments import value_text
from verify.integers import how_many


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

    heads: their errors in every arithmetic, where there are several.  mechanisms: those with an axis; others: the rest,
    in one table.
    """

    name: str
    facts: Sequence[tuple[str, str]]
    heads: Table
    mechanisms: Sequence[MechanismSection]
    others: Table
    cells: pd.DataFrame


def _optional(value: Any) -> Any:
    return None if value is None or value != value else value


# Inputs that have a section of their own on a page
MOST_SECTIONS = 40


def input_sections(frame: pd.DataFrame, found: Sequence[Answer]) -> list[InputSection]:
    """Return a section for each of the first inputs, with what the answers say of their heads."""
    names = in_order(frame["label"])[:MOST_SECTIONS]
    shown = frame[frame["label"].isin(names)]
    return [_section(str(name), cells, found) for name, cells in by_input(shown)]


def _heads(name: str, found: Sequence[Answer]) -> Table:
    """Return a row for each head of an input and arithmetic: what summaries quote."""
    columns = ["head", "arithmetic", "largest |logit|", *(found[0].name(c) for c in found[0].columns), "softmax's own"]
    rows = []
    for answer in found:
        for subject in answer.subjects:
            for head in subject.heads if subject.name == name else ():
                points = [head.points.get(place) for place in range(len(answer.columns))]
                errors = ["" if p is None else p.status if p.error is None else percent_text(p.error) for p in points]
                about = [head.name, answer.arithmetic or "", number_text(head.largest_logit)]
                rows.append([*about, *errors, percent_text(head.softmax)])
    return Table(columns, rows)


def _section(name: str, cells: pd.DataFrame, found: Sequence[Answer]) -> InputSection:
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
    return InputSection(name, facts, _heads(name, found), own, _others(cells), cells)


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
    """Return a line for each cause of cells that were refused, failed or crashed: reasons that differ in numbers only.

    The reason shown is that of the first such cell.
    """
    missing = frame[frame["status"] != "ok"]
    columns = ("label", "member", "variant", "arithmetic", "status", "reason")
    groups: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for cell in zip(*(missing[name].tolist() for name in columns), strict=True):
        cause = re.sub(r"\d[\d.,e+-]*", "#", cell[5].replace(cell[0], "#"))
        groups.setdefault((cell[4], cause), []).append(cell)
    rows = []
    for (status, _), cells in groups.items():
        what = in_order(f"{member}/{variant}" for _, member, variant, *_ in cells)
        rows.append([f"{len(cells):,}", status, _some(what), _some(in_order(cell[0] for cell in cells)), cells[0][5]])
    return Table(["cells", "status", "what", "inputs", "reason of the first"], rows)


def _some(names: Sequence[str], most: int = 3) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def unmeasured_text(frame: pd.DataFrame) -> str:
    """Return the answer in a line: how many cells were not measured, and for how many causes."""
    missing = frame[frame["status"] != "ok"]
    if missing.empty:
        return "Not measured: nothing, every cell asked for was measured"
    counts = missing["status"].value_counts(sort=False)
    told = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    causes = len(unmeasured_table(frame).rows)
    return f"Not measured: {how_many(len(missing), 'cell')} ({told}), for {how_many(causes, 'cause')}"


def quantised(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the cells in which rounding the inputs to the arithmetic's format changed the exact value."""
    return frame[frame["quantisation_max"] > 0]
