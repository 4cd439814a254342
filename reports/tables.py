"""The tables of a report, each a selection of the frame as finished text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.frame import by_input, in_order, measured
from reports.text import Table, count_text, error_text, number_text, skill_text
from verify.cost import feature_count, logexp_state_size
from verify.numbers.arithmetic import ARITHMETICS

THRESHOLDS = (1e-2, 1e-3)


@dataclass(frozen=True)
class InputSection:
    """Everything the report says about one input."""

    name: str
    facts: Sequence[tuple[str, str]]
    totals: Table
    roundings: Table
    others: Table
    cells: pd.DataFrame


def _optional(value: Any) -> Any:
    return None if value is None or value != value else value


def variants(cells: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the (form, arithmetic) pairs of measured Taylor cells, arithmetics in the order they are listed in."""
    taylor = measured(cells[cells["mechanism"] == "taylor"])
    pairs = in_order(zip(taylor["form"], taylor["arithmetic"], strict=True))
    known = list(ARITHMETICS)
    return sorted(pairs, key=lambda pair: (known.index(pair[1]), pair[0] != "scores", pair[0]))


def leading_variant(cells: pd.DataFrame) -> tuple[str, str] | None:
    """Return the variant that summaries quote: the last arithmetic listed, on the logits (scores) if that was measured.

    The form scores evaluates the polynomial as it stands and is measured at every order.
    """
    found = variants(cells)
    if not found:
        return None
    arithmetic = found[-1][1]
    return leading_form(cells, arithmetic) or "", arithmetic


def leading_form(cells: pd.DataFrame, arithmetic: str) -> str | None:
    """Return the form that summaries quote in an arithmetic, or None if none was measured."""
    forms = [form for form, other in variants(cells) if other == arithmetic]
    return forms[0] if forms else None


def taylor_curve(cells: pd.DataFrame, variant: tuple[str, str]) -> pd.DataFrame:
    """Return the measured Taylor cells of one form and arithmetic, by order."""
    form, arithmetic = variant
    chosen = cells[(cells["mechanism"] == "taylor") & (cells["form"] == form) & (cells["arithmetic"] == arithmetic)]
    return measured(chosen).sort_values("order")


def glance_table(frame: pd.DataFrame) -> Table:
    """Return one row per input: its logits, which order was enough, and what order 3 does."""
    columns = ["input", "d", "largest |logit|", "std of logits"]
    columns += [f"order for {threshold:g}" for threshold in THRESHOLDS]
    columns += ["best order", "its total error", "order 3: total", "order 3: Z <= 0", "log-exp deviation", "arithmetic"]
    return Table(columns, [_glance(str(name), cells) for (name, _), cells in by_input(frame)])


def _glance(name: str, cells: pd.DataFrame) -> list[str]:
    first = cells.iloc[0]
    row = [name, str(first["head_size"]), number_text(first["largest_logit"]), number_text(first["measured_logit_std"])]
    logexp = measured(cells[cells["mechanism"] == "logexp"])
    deviation = error_text(logexp["deviation_relative"].iloc[0]) if len(logexp) else ""
    variant = leading_variant(cells)
    if variant is None:
        return [*row, *[""] * (len(THRESHOLDS) + 4), deviation, ""]
    curve = taylor_curve(cells, variant)
    for threshold in THRESHOLDS:
        enough = curve[curve["total_relative"] <= threshold]
        row.append(str(enough["order"].iloc[0]) if len(enough) else f"none up to {curve['order'].iloc[-1]}")
    best = curve.iloc[int(curve["total_relative"].to_numpy().argmin())]
    row += [str(best["order"]), error_text(best["total_relative"])]
    third = curve[curve["order"] == 3]
    if len(third):
        row += [error_text(third["total_relative"].iloc[0]), share_text(third.iloc[0], "nonpositive_exact")]
    else:
        row += ["", ""]
    return [*row, deviation, f"{variant[1]} {variant[0]}"]


def share_text(cell: Any, count: str) -> str:
    """Return a count of rows as a part of all rows."""
    return f"{cell[count]:,} of {cell['rows']:,}"


def input_sections(frame: pd.DataFrame) -> list[InputSection]:
    """Return one section per input."""
    return [_section(str(name), cells) for (name, _), cells in by_input(frame)]


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
        ("constant state of log-exp", count_text(logexp_state_size(first["head_size"], first["value_size"]))),
    ]
    return InputSection(name, facts, _totals(cells), _roundings(cells), _others(cells), cells)


def _sessions(cells: pd.DataFrame) -> str:
    found = in_order(zip(cells["run"], cells["session"], strict=True))
    return ", ".join(f"{run} session {session}" for run, session in found)


def _fewest_digits(cells: pd.DataFrame) -> str:
    digits = measured(cells)["digits"]
    return f"at least {digits.min()}" if len(digits) else "none"


def _totals(cells: pd.DataFrame) -> Table:
    """Return truncation and total error by order, with the rows whose sum of weights Z is not positive."""
    shown = variants(cells)
    columns = ["order", "terms", "features", "rows with Z <= 0", "truncation", "truncation max"]
    columns += [f"total {arithmetic} {form}" for form, arithmetic in shown] + ["skill"]
    leading = leading_variant(cells)
    rows = []
    for order, group in cells[cells["mechanism"] == "taylor"].groupby("order", sort=True):
        found = measured(group)
        features = count_text(feature_count(int(group["head_size"].iloc[0]), int(str(order))))
        rows.append([str(order), str(group["terms"].iloc[0]), features])
        if found.empty:
            rows[-1] += ["", "", ""]
        else:
            exact = found.iloc[0]
            rows[-1] += [
                share_text(exact, "nonpositive_exact"),
                error_text(exact["truncation_relative"]),
                error_text(exact["truncation_max"]),
            ]
        rows[-1] += [_cell(group, variant, "total_relative") for variant in shown]
        quoted = [] if leading is None else [_optional(v) for v in taylor_curve(group, leading)["skill"]]
        rows[-1].append(skill_text(quoted[0]) if quoted else "")
    return Table(columns, rows)


def _roundings(cells: pd.DataFrame) -> Table:
    """Return rounding error by order and variant, and the rows whose sum of weights came out not positive."""
    shown = variants(cells)
    columns = ["order", "terms", *(f"rounding {arithmetic} {form}" for form, arithmetic in shown)]
    columns += [f"Z <= 0 computed, {arithmetic} {form}" for form, arithmetic in shown]
    rows = []
    for order, group in cells[cells["mechanism"] == "taylor"].groupby("order", sort=True):
        row = [str(order), str(group["terms"].iloc[0])]
        row += [_cell(group, variant, "rounding_relative") for variant in shown]
        row += [_cell(group, variant, "nonpositive_rows") for variant in shown]
        rows.append(row)
    return Table(columns, rows)


def _cell(group: pd.DataFrame, variant: tuple[str, str], column: str) -> str:
    form, arithmetic = variant
    chosen = group[(group["form"] == form) & (group["arithmetic"] == arithmetic)]
    if chosen.empty:
        return ""
    cell = chosen.iloc[0]
    if cell["status"] != "ok":
        return str(cell["status"])
    return count_text(cell[column]) if column == "nonpositive_rows" else error_text(cell[column])


def _others(cells: pd.DataFrame) -> Table:
    """Return the mechanisms that take no order: conventional softmax and log-exp."""
    columns = ["mechanism", "form", "arithmetic", "deviation", "rounding", "total", "skill", "state", "FLOPs/token"]
    rows = []
    for _, cell in cells[cells["mechanism"] != "taylor"].iterrows():
        row = [cell["mechanism"], cell["form"], cell["arithmetic"]]
        if cell["status"] != "ok":
            row += ["", "", str(cell["status"]), ""]
        else:
            deviation = "exact" if cell["mechanism"] == "softmax" else error_text(cell["deviation_relative"])
            row += [deviation, error_text(cell["rounding_relative"]), error_text(cell["total_relative"])]
            row.append(skill_text(cell["skill"]))
        row += [count_text(_optional(cell["state_elements"])), count_text(_optional(cell["flops_per_token"]))]
        rows.append(row)
    return Table(columns, rows)


def unmeasured_table(frame: pd.DataFrame) -> Table:
    """Return the cells that were refused, failed or crashed, with the reason."""
    columns = ["input", "mechanism", "form", "order", "arithmetic", "status", "reason"]
    missing = frame[frame["status"] != "ok"]
    return Table(
        columns,
        [[("" if _optional(v) is None else str(v)) for v in row] for row in missing[columns].itertuples(index=False)],
    )


def quantised(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the cells in which rounding the inputs to the arithmetic's format changed the exact value."""
    return frame[frame["quantisation_max"] > 0]
