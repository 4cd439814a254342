"""The weight of a key as a function of its logit, beside the exponential."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from reports.figures.material import Drawing, Left, Material
from reports.figures.sheet import Sheet
from reports.figures.style import GREY, code
from reports.figures.ticks import fixed, linear, number_label
from verify.sweep.portrait import LOGITS

# Where the scale of weights, linear around zero, becomes logarithmic
_LINEAR = 0.1
_LARGEST = 1e12


def weight_by_logit(material: Material) -> Iterator[Drawing]:
    """Yield the weights of the members shown whose weights are functions of the logits."""
    portraits = material.runs.portraits
    known = [name for name in material.shown if name in portraits and len(portraits[name].weights) == len(LOGITS)]
    if not known:
        return
    left, sheet = Left(), Sheet(height=3.1)
    (axes,) = sheet.panels
    logits = np.array(LOGITS)
    exp = sheet.kind("exp(s), the weight of conventional attention", linewidth=3.5, alpha=0.5)
    sheet.line(axes, logits, np.exp(logits), [exp], color=GREY, linewidth=3.5, alpha=0.5)
    drawn = [np.exp(logits)]
    negative: list[tuple[float, str]] = []
    for place, name in enumerate(known):
        weights = np.array(portraits[name].weights)
        values = np.where(np.abs(weights) <= _LARGEST, weights, np.nan)
        left.infinite += int(np.isnan(values).sum())
        key = sheet.key(material.names[name], **code(place))
        sheet.line(axes, logits, values, [key], **code(place), markevery=(place, 8))
        drawn.append(values)
        if (weights < 0).any():
            negative.append((float(logits[weights < 0].max()), material.names[name]))
    finite = np.concatenate(drawn)[np.isfinite(np.concatenate(drawn))]
    low, high = min(-_LINEAR, 1.5 * float(finite.min())), 1.5 * float(finite.max())
    axes.set_yscale("symlog", linthresh=_LINEAR)
    axes.set_ylim(low, high)
    powers = [10.0**power for power in range(-1, 13)]
    ticks = [*(-tick for tick in reversed(powers)), 0.0, *powers]
    inside = [tick for tick in ticks if low <= tick <= high]
    fixed(axes, "y", inside, [number_label(tick) for tick in inside])
    linear(axes, "x", LOGITS, whole=True)
    sheet.ground(axes.axhspan(low, 0.0, color="#D55E00", alpha=0.1, linewidth=0), "negative weights", color="#D55E00")
    axes.set_xlabel("scaled logit s")
    axes.set_ylabel("weight, that of s = 0 is 1")
    caption = (
        "Weight of a key by its scaled logit, divided by that of the logit 0; a shift of all logits changes no output."
        f" The scale is linear between -{_LINEAR:g} and {_LINEAR:g}.{left.sentences()}"
    )
    if negative:
        logit, name = max(negative)
        above = min((s for s in LOGITS if s > logit), default=logit)
        answer = f"weights are negative at a logit of {logit:g}, and not at {above:g} ({name})"
        if any(logit == LOGITS[-1] for logit, _ in negative):
            answer = f"weights are negative at a logit of {logit:g} ({name})"
    else:
        answer = f"no weight is negative at logits from {LOGITS[0]:g} to {LOGITS[-1]:g}"
    yield Drawing("weight_by_logit", "Weight as a function of the logit", caption, answer, sheet.finish())
