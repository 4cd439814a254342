"""The tables of a report's inputs, each a selection of cells as finished text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.answer import Answer
from reports.curves import (
    Cell,
    formula_name,
    grouped,
    known,
    label_cells,
    labels_of,
    leading_variant,
    measured,
    members,
    of_variant,
    share_text,
    variants,
    with_axis,
)
from reports.frame import Runs, in_order
from reports.text import Table, count_text, error_text, measured_text, number_text, percent_text, skill_text


@dataclass(frozen=True)
class MechanismSection:
    """What the report says about one mechanism with an axis on one input."""

    mechanism: str
    axis: str
    totals: Table
    roundings: Table
    cells: Sequence[Cell]


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
    cells: Sequence[Cell]


# Inputs that have a section of their own on a page
MOST_SECTIONS = 12


def input_sections(runs: Runs, found: Sequence[Answer]) -> list[InputSection]:
    """Return a section for each of the first inputs, with what the answers say of their heads."""
    names = in_order(runs.frame["label"])[:MOST_SECTIONS]
    shown = runs.places.with_nested(runs.frame[runs.frame["label"].isin(names)])
    columns = {name: shown[name].tolist() for name in shown.columns}
    cells = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [_section(name, own, found) for name, own in grouped(cells, "label")]


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


def _section(name: str, cells: Sequence[Cell], found: Sequence[Answer]) -> InputSection:
    first = cells[0]
    scale = known(first["scale"])
    digits = [cell["digits"] for cell in measured(cells)]
    sessions = in_order((cell["run"], cell["session"]) for cell in cells)
    facts = [
        ("heads x queries x keys", f"{first['heads']} x {first['queries']} x {first['keys']}"),
        ("d_k, d_v", f"{first['head_size']}, {first['value_size']}"),
        ("scale", "1/sqrt(d_k), exactly" if scale is None else repr(float(scale))),
        ("causal", "yes" if first["causal"] else "no"),
        ("largest attended |logit|", number_text(first["largest_logit"])),
        ("standard deviation of the logits", number_text(first["measured_logit_std"])),
        ("rows", measured_text(first["measured_rows"], first["rows"])),
        ("certified digits of exact values", f"at least {min(digits)}" if digits else "none"),
        ("measured in", ", ".join(f"{run} session {session}" for run, session in sessions)),
    ]
    own = [
        MechanismSection(mechanism, str(group[0]["axis"]), _totals(group), _roundings(group), group)
        for mechanism, group in grouped(with_axis(cells), "mechanism")
    ]
    return InputSection(name, facts, _heads(name, found), own, _others(cells), cells)


def _totals(cells: Sequence[Cell]) -> Table:
    """Return the formula error and total errors by member, with the rows whose sum of weights Z is not positive."""
    shown, labels, formula = variants(cells), labels_of(cells), formula_name(cells)
    columns = [label for label, _ in labels]
    counted = "features per key" if "features" in columns else "features"
    columns += [counted, "rows with Z <= 0", formula, f"{formula} max"]
    columns += [f"total {arithmetic} {form}" for form, arithmetic in shown] + ["skill"]
    leading = leading_variant(cells)
    rows = []
    for _, group in members(cells):
        features = [cell["features"] for cell in group if known(cell["features"]) is not None]
        row = [*label_cells(group[0], labels), count_text(min(features, default=None))]
        exact = next(iter(measured(group)), None)
        row += ["", "", ""] if exact is None else _exact(exact)
        row += [_cell_text(of_variant(group, variant), "total_relative") for variant in shown]
        quoted = of_variant(measured(group), leading)
        rows.append([*row, "" if quoted is None else skill_text(known(quoted["skill"]))])
    return Table(columns, rows)


def _exact(cell: Cell) -> list[str]:
    errors = [_formula_text(cell, column) for column in ("formula_relative", "formula_max")]
    return [share_text(cell, "nonpositive_exact"), *errors]


def _formula_text(cell: Cell, column: str) -> str:
    """Return a statistic of the formula error; what everything is compared with has none."""
    return "exact" if cell["formula_error"] is None else error_text(cell[column])


def _roundings(cells: Sequence[Cell]) -> Table:
    """Return rounding error by member and variant, and the rows whose sum of weights came out not positive."""
    shown, labels = variants(cells), labels_of(cells)
    columns = [label for label, _ in labels]
    columns += [f"rounding {arithmetic} {form}" for form, arithmetic in shown]
    columns += [f"Z <= 0 computed, {arithmetic} {form}" for form, arithmetic in shown]
    rows = []
    for _, group in members(cells):
        found = [of_variant(group, variant) for variant in shown]
        errors = [_cell_text(cell, "rounding_relative") for cell in found]
        lost = [_cell_text(cell, "nonpositive_rows") for cell in found]
        rows.append([*label_cells(group[0], labels), *errors, *lost])
    return Table(columns, rows).filled(len(labels) + len(shown))


def _cell_text(cell: Cell | None, column: str) -> str:
    if cell is None:
        return ""
    if cell["status"] != "ok":
        return str(cell["status"])
    return count_text(cell[column]) if column == "nonpositive_rows" else error_text(cell[column])


def _others(cells: Sequence[Cell]) -> Table:
    """Return the mechanisms without an axis, with the formula errors that there are, each under its own name."""
    found = [cell for cell in cells if cell["axis"] is None]
    names = in_order(cell["formula_error"] for cell in found if cell["formula_error"] is not None)
    columns = ["mechanism", "form", "arithmetic", *names, "rounding", "total", "skill", "state", "FLOPs/token"]
    rows = []
    for cell in found:
        own = cell["formula_error"]
        row = [cell["member"], cell["variant"], cell["arithmetic"]]
        if cell["status"] != "ok":
            row += [*("" for _ in names), "", str(cell["status"]), ""]
        else:
            row += [_formula_text(cell, "formula_relative") if own in (None, name) else "" for name in names]
            row += [error_text(cell["rounding_relative"]), error_text(cell["total_relative"])]
            row.append(skill_text(known(cell["skill"])))
        row += [count_text(known(cell["state_elements"])), count_text(known(cell["flops_per_token"]))]
        rows.append(row)
    return Table(columns, rows)
