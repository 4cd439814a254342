"""What goes wrong along the axis of a mechanism: sums of weights, single weights, the top key."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from reports.figures.material import Drawing, Left, Material, axis_text, band, curves, on_inputs, percent
from reports.figures.sheet import Sheet, headed
from reports.figures.style import code
from reports.figures.ticks import linear

# What is counted, out of what, and what the panel says
_SHARES = (
    ("nonpositive_exact", "measured_rows", "rows with Z <= 0"),
    ("negative", "pairs", "negative weights"),
    ("top_key_agreement", None, "rows that keep their top key"),
)


def failings(material: Material) -> Iterator[Drawing]:
    """Yield for each mechanism the shares of rows and weights that go wrong, by its axis."""
    for subject, axis, cells in material.along():
        shares = cells.assign(
            **{
                column: cells[column].astype(float) / (1.0 if whole is None else cells[whole].astype(float))
                for column, whole, _ in _SHARES
            }
        )
        kept = [(column, says) for column, whole, says in _SHARES if whole is None or (shares[column] > 0).any()]
        left = Left()
        sheet = Sheet(len(kept), height=1.35, title_lines=1)
        drawn = curves(shares, left)
        for axes, (column, says) in zip(sheet.panels, kept, strict=True):
            tops = [0.0]
            for place, (name, own) in enumerate(drawn):
                found = band(own, column)
                sheet.line(axes, found.x, found.middle, [sheet.key(name, **code(place))], **code(place))
                tops.append(float(np.max(found.middle)))
            headed(axes, says)
            linear(axes, "y", [0.0, max(tops)], percent=True)
            linear(axes, "x", sorted(set(cells["along"])), whole=True)
            axes.set_xlabel(axis)
            axes.set_ylabel("share")
        absent = [says for column, _, says in _SHARES if column not in dict(kept)]
        if absent:
            left.other.append(f"There are no {' and no '.join(absent)}.")
        caption = f"Shares of all rows and of all weights, from exact weights, by {axis}.{left.sentences()}"
        title = subject.title(f"What goes wrong, by {axis}")
        yield Drawing(subject.file(f"hazards_by_{axis}"), title, caption, _worst(shares, axis), sheet.finish())


def _worst(shares: pd.DataFrame, axis: str) -> str:
    column = shares["nonpositive_exact"].fillna(0.0)
    if not (column > 0).any():
        lowest = shares["top_key_agreement"].min()
        return f"Z is positive in every row; the top key is kept in {percent(lowest)} of rows at least"
    worst = shares.iloc[int(column.argmax())]
    values = sorted(set(shares.loc[column > 0, "along"]))
    where = ", ".join(axis_text(value) for value in values[:6]) + (" and more" if len(values) > 6 else "")
    on = on_inputs(shares.loc[column > 0, "label"].nunique(), shares["label"].nunique())
    return (
        f"Z <= 0 at {axis} {where}{on}: in up to {percent(column.max())} of rows ({axis} {axis_text(worst['along'])})"
    )
