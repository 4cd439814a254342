"""Every curve shows what the records hold, and the legend says which curve it is."""

from __future__ import annotations

from math import comb, factorial
from pathlib import Path

import numpy as np
import pytest

from reports.figures.material import Drawing
from tests.reports.drawings import data, drawn, legend, lines, panel, records, texts
from tests.reports.running import swept
from verify.inputs import SyntheticInput
from verify.sweep import Record

NARROW, WIDE = "normal:d=4,n=12,std=1,seed=0", "normal:d=8,n=12,std=4,seed=0"
NAMES = [
    *("error_by_order", "error_by_state", "error_by_flops", "error_by_time", "formula_against_rounding_by_order"),
    *("error_histogram", "error_by_position", "weight_by_distance", "weight_by_logit", "hazards_by_order"),
    *("break_even_logexp", "multihead_costs_logexp", "break_even_taylor", "multihead_costs_taylor"),
    *("packing", "terms"),
]


@pytest.fixture(scope="module")
def small(small_run: Path) -> dict[str, Drawing]:
    return drawn(small_run)


@pytest.fixture(scope="module")
def seeds_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which truncation falls below rounding, over four seeds."""
    path = tmp_path_factory.mktemp("runs") / "seeds.sqlite"
    inputs = [SyntheticInput("normal", 4, 12, logit_std=0.25, seed=seed) for seed in range(4)]
    plans = ["softmax/softmax", "taylor/scores"]
    return swept(path, plans, inputs=inputs, orders=range(5), arithmetics=("bfloat16",))


@pytest.fixture(scope="module")
def seeds(seeds_run: Path) -> dict[str, Drawing]:
    return drawn(seeds_run)


def along(found: list[Record], input_: str, error: str, rest: int | None = None) -> tuple[list[float], list[float]]:
    own = [one for one in found if one.input == input_]
    own = [one for one in own if rest is None or int(one.labels["order"]) % 2 == rest]
    return [float(one.labels["order"]) for one in own], [one.errors[error].relative for one in own]


def test_every_line_is_in_the_legend_and_every_axis_has_labelled_ticks(
    small: dict[str, Drawing], seeds: dict[str, Drawing]
) -> None:
    assert list(small) == NAMES
    for drawing in (*small.values(), *seeds.values()):
        known = set(legend(drawing))
        assert all(text.get_fontsize() >= 9 for text in texts(drawing) if text.get_text())
        assert drawing.canvas.get_figwidth() < 6
        columns = {axes.get_position().x0 for axes in drawing.canvas.axes}
        for axes in drawing.canvas.axes:
            for artist in (*axes.lines, *(band for band in axes.collections if band.get_array() is None)):
                assert set(str(artist.get_label()).split(" | ")) <= known, (drawing.name, artist.get_label())
            assert len(axes.get_xticks()) >= 1
            assert len(axes.get_yticks()) >= 2, drawing.name
            inner = axes.get_position().x0 > min(columns)
            assert inner or all(text.get_text() for text in axes.get_yticklabels())
        assert drawing.title
        assert drawing.caption.endswith(".")
        assert not drawing.answer.endswith(".")
    assert {name for name, drawing in small.items() if drawing.timing} == {"error_by_time"}


def test_error_by_order_has_even_and_odd_orders_apart(small: dict[str, Drawing], small_run: Path) -> None:
    drawing = small["error_by_order"]
    found = records(small_run, "taylor", "float32", "scores")
    for name in (NARROW, WIDE):
        for kind, rest, style in (("even orders", 0, "-"), ("odd orders", 1, "--")):
            (line,) = lines(drawing, name, kind)
            assert data(line) == along(found, name, "total", rest)
            assert (line.get_linestyle(), line.get_fillstyle()) == (style, "full" if rest == 0 else "none")
        (level,) = lines(drawing, name, "conventional softmax's own error")
        (softmax,) = (one for one in records(small_run, "softmax", "float32") if one.input == name)
        assert data(level)[1] == [softmax.errors["rounding"].relative] * 2
    resolutions = {data(line)[1][0] for line in lines(drawing, "resolution of a number format, 2^-p")}
    limits = panel(drawing).get_ylim()
    assert resolutions == {2.0**-p for p in (8, 11, 24, 53) if limits[0] < 2.0**-p < limits[1]}
    assert {2.0**-8, 2.0**-11} <= resolutions
    best = [min(zip(*reversed(along(found, name, "total")), strict=True))[1] for name in (NARROW, WIDE)]
    order = min(best, key=lambda own: (-best.count(own), own))
    assert drawing.answer.startswith(f"order {order:.0f} is the best measured on {best.count(order)} of 2 inputs")


def test_the_crossing_is_ringed_and_seeds_are_one_band(seeds: dict[str, Drawing], seeds_run: Path) -> None:
    found = records(seeds_run, "taylor", "bfloat16")
    shown = "normal:d=4,n=12,std=0.25 (4 seeds)"

    def quantile(error: str, order: int, place: int) -> float:  # of four, the second one is the median
        return sorted(one.errors[error].relative for one in found if one.labels["order"] == order)[place]

    drawing = seeds["formula_against_rounding_by_order"]
    (solid,), (dashed,) = lines(drawing, shown, "truncation"), lines(drawing, shown, "rounding")
    for line, error in ((solid, "formula"), (dashed, "rounding")):
        assert data(line)[1] == [quantile(error, order, 1) for order in range(5)]
    crossing = min(order for order in range(5) if data(solid)[1][order] <= data(dashed)[1][order])
    assert crossing > 0
    (ring,) = lines(drawing, shown, "first order with truncation below rounding")
    assert data(ring) == ([crossing], [quantile("formula", crossing, 1)])
    assert drawing.answer.startswith("truncation falls below rounding at order")
    bands = [np.asarray(band.get_paths()[0].vertices) for band in panel(seeds["error_by_order"]).collections]
    edges = {tuple(vertex) for band in bands for vertex in band.tolist()}
    for order in range(5):
        assert {(order, quantile("total", order, place)) for place in (0, 3)} <= edges
    assert "5 to 95 % of the seeds" in legend(seeds["error_by_order"])


@pytest.mark.parametrize("cost", ["state", "flops"])
def test_frontiers_fade_what_is_beaten(small: dict[str, Drawing], small_run: Path, cost: str) -> None:
    drawing = small[f"error_by_{cost}"]
    member = {"state": "state_elements", "flops": "flops_per_token"}[cost]
    every = [one for name in ("softmax", "logexp", "taylor") for one in records(small_run, name, "float32")]
    for name in (NARROW, WIDE):
        own = [one for one in every if one.input == name and (one.mechanism != "taylor" or one.form == "packed")]
        points = {}
        for one in own:
            price = getattr(one, member)
            if price:
                points[(float(price * (4 if cost == "state" else 1)), one.errors["total"].relative)] = one.mechanism
        beaten = {
            (x, y)
            for x, y in points
            for other, error in points
            if other <= x and error <= y and (other, error) != (x, y)
        }
        faded = lines(drawing, name, "faded: something has less of both")
        shown = lines(drawing, name)
        steps = [line for line in shown if line.get_drawstyle() == "steps-post"]
        kept = [line for line in shown if line not in faded and line not in steps]
        assert {pair for line in faded for pair in zip(*data(line), strict=True)} == beaten
        assert {pair for line in kept for pair in zip(*data(line), strict=True)} == set(points) - beaten
        assert {pair for line in steps for pair in zip(*data(line), strict=True)} == set(points) - beaten
        stars = {
            pair for line in lines(drawing, name, "conventional attention") for pair in zip(*data(line), strict=True)
        }
        assert stars == {point for point, mechanism in points.items() if mechanism == "softmax"}


def test_panels_of_an_input_show_its_histograms_positions_and_distances(
    small: dict[str, Drawing], small_run: Path
) -> None:
    found = {
        int(one.labels["order"]): one
        for one in records(small_run, "taylor", "float32", "scores")
        if one.input == NARROW
    }
    for order, record in found.items():
        key = f"order {order}"
        (steps,) = lines(small["error_histogram"], key)
        x, y = data(steps)
        total = sum(count for _, count in record.histogram)
        heights = dict(zip(np.round(4 * np.log10(x[1:])).astype(int).tolist(), y[1:], strict=True))
        for k, count in record.histogram:
            assert heights[k] == pytest.approx(count / total, rel=1e-12)
        assert sum(y[1:-2]) == pytest.approx(1.0, rel=1e-12)
        assert record.output_rows is not None
        (medians,) = lines(small["error_by_position"], key)
        spans = record.output_rows.by_position
        assert data(medians)[0] == [np.sqrt((first + 1) * (last + 1)) for first, last, *_ in spans]
        wanted = [q50 if q50 > 0 else np.nan for *_, q50, _ in spans]
        np.testing.assert_array_equal(data(medians)[1], wanted)
        assert record.weights is not None
        (moved,) = lines(small["weight_by_distance"], key)
        assert data(moved)[1] == [share for _, _, share, _ in record.weights.by_distance]
        (softmax,) = lines(small["weight_by_distance"], "weight of conventional softmax there")
        assert data(softmax)[1] == [weight for *_, weight in record.weights.by_distance]
    assert found[3].output_rows is not None
    bands = [np.asarray(band.get_paths()[0].vertices) for band in panel(small["error_by_position"]).collections]
    highs = [high for *_, high in found[3].output_rows.by_position if high > 0]
    assert any(set(highs) <= set(band[:, 1].tolist()) for band in bands)  # of the order that is proposed
    assert [panel(small["error_histogram"], place).get_title(loc="left").replace("\n", "") for place in (0, 1)] == [
        NARROW,
        WIDE,
    ]


def test_weights_stand_beside_the_exponential(small: dict[str, Drawing]) -> None:
    drawing = small["weight_by_logit"]
    for order in (0, 1, 3):
        (line,) = lines(drawing, f"order {order}")
        s, weights = data(line)
        wanted = [sum(x**p / factorial(p) for p in range(order + 1)) for x in s]
        np.testing.assert_allclose(weights, wanted, rtol=1e-12, atol=1e-12)
    (exp,) = lines(drawing, "exp(s), the weight of conventional attention")
    np.testing.assert_allclose(data(exp)[1], np.exp(data(exp)[0]), rtol=1e-15)
    (shade,) = panel(drawing).patches
    assert shade.get_label() == "negative weights"
    corners = shade.get_patch_transform().transform(shade.get_path().vertices)
    assert corners[:, 1].max() == 0.0
    assert corners[:, 1].min() == panel(drawing).get_ylim()[0]
    assert drawing.answer == "weights are negative at a logit of -1.25, and not at -1 (order 1)"  # 1 + s < 0


def test_failings_are_shares_of_rows_and_weights(small: dict[str, Drawing], small_run: Path) -> None:
    drawing = small["hazards_by_order"]
    headings = [axes.get_title(loc="left") for axes in drawing.canvas.axes]
    assert headings == ["rows with Z <= 0", "negative weights", "rows that keep their top key"]
    found = [one for one in records(small_run, "taylor", "float32", "scores") if one.input == WIDE]
    for place in range(3):
        (line,) = lines(drawing, WIDE, place=place)
        for (_, share), one in zip(zip(*data(line), strict=True), found, strict=True):
            assert one.weights is not None
            assert one.nonpositive_exact is not None
            wanted = [
                one.nonpositive_exact / one.rows,
                one.weights.negative / one.weights.pairs,
                one.weights.top_key_agreement,
            ]
            assert share == pytest.approx(wanted[place], rel=1e-15)


def test_costs_are_those_of_the_published_formulas(small: dict[str, Drawing]) -> None:
    for size in (4, 8):
        features = comb(size + 3, 3)
        state = features * (size + 1)
        flops: float = (4 * size + 2 * (4 * size + 1) / (size + 1) + 2) * features
        contexts = [10.0**power for power in range(3, 9)]
        key = f"head size {size}"
        (memory,), (operations,) = (lines(small["break_even_taylor"], key, place=place) for place in (0, 1))
        np.testing.assert_allclose(data(memory), [contexts, [state / (n * 2 * size) for n in contexts]], rtol=1e-12)
        wanted = [flops / (n * (4 * size + 3)) for n in contexts]
        np.testing.assert_allclose(data(operations), [contexts, wanted], rtol=1e-12)
        (packing,) = lines(small["packing"], key)
        dense = [sum(size**p for p in range(order + 1)) / comb(size + order, order) for order in (0, 1, 3)]
        np.testing.assert_allclose(data(packing), [[0, 1, 3], dense], rtol=1e-12)
    state_map = panel(small["multihead_costs_taylor"])
    cells = {text.get_position(): text.get_text() for text in state_map.texts}
    places = {(x, y) for x in range(8) for y in range(8) if 1024 * (x + 1) % (8 * (y + 1)) == 0}
    assert set(cells) == places
    for (x, y), text in cells.items():
        size, width = 8 * int(y + 1), 1024 * int(x + 1)
        total = width // size * (size + 1) * comb(size + 3, 3)
        value = float(text[:-1]) * {"k": 1e3, "M": 1e6, "G": 1e9}[text[-1]]
        assert value == pytest.approx(total, rel=0.051)


def test_terms_are_coefficients_times_means_of_powers(small: dict[str, Drawing]) -> None:
    drawing = small["terms"]
    for source in (SyntheticInput("normal", 4, 12), SyntheticInput("normal", 8, 12, logit_std=4.0)):
        size = source.head_size
        (alphas,) = lines(drawing, f"head size {size}")
        np.testing.assert_allclose(
            data(alphas)[1], [1 / (factorial(p) * size ** (p / 2)) for p in (0, 1, 3)], rtol=1e-12
        )
        problem = source.load()
        logits = (problem.q @ problem.k.T / np.sqrt(size))[np.tri(12, dtype=bool)]
        (term,) = lines(drawing, source.name, place=1)
        wanted = [np.mean(np.abs(logits) ** p) / factorial(p) for p in (0, 1, 3)]
        np.testing.assert_allclose(data(term)[1], wanted, rtol=1e-6)
