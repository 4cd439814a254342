"""The page of a report in headless Chromium: read, unfolded, sorted, switched; on a desk, a phone, at night, printed.

Not among the tests of `make test`: a browser is large.  `make browser` runs these.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.write import write_report
from tests.reports.running import swept
from verify.inputs import InputSource, SampleInput, SyntheticInput

sync_api = pytest.importorskip("playwright.sync_api")

DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
SHARP = "sample:smollm2-layer18"

# The main job's page, if it has been made; otherwise one of a smaller job on the same samples.
MADE = Path(__file__).parents[2] / "build" / "report" / "report.html"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if MADE.is_file():
        return MADE
    folder = tmp_path_factory.mktemp("page")
    names = ("minilm-layer05", "smollm2-layer18")
    drawn: list[InputSource] = [SyntheticInput("normal", 8, 64), SyntheticInput("normal", 16, 64, 4.0)]
    inputs = [*map(SampleInput, names), *drawn]
    plans = ["softmax/softmax", "logexp/quadratic", "taylor/scores"]
    return write_report([swept(folder / "run.sqlite", plans, inputs=inputs, orders=range(6))], folder).page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    names = ("chromium", "chromium-browser", "google-chrome")
    own = next((path for path in map(shutil.which, names) if path), None)
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=own, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield found
        found.close()


@pytest.fixture(params=["desk", "phone", "dark"])
def page(request: pytest.FixtureRequest, browser: Any, page_file: Path) -> Iterator[Any]:
    scheme = "dark" if request.param == "dark" else "light"
    viewport = PHONE if request.param == "phone" else DESK
    context = browser.new_context(viewport=viewport, color_scheme=scheme, offline=True)
    found = context.new_page()
    said: list[str] = []
    found.on("console", lambda message: said.append(message.text))
    found.on("pageerror", lambda error: said.append(str(error)))
    found.goto(page_file.as_uri())
    yield found
    assert said == []  # nothing on the console
    context.close()


def row_of(page: Any, name: str) -> Any:
    return page.locator(".heat:not([hidden]) tbody tr:not(.head)").filter(has=page.locator("th .name", has_text=name))


def test_the_verdict_is_read_above_the_fold(page: Any) -> None:
    height = page.viewport_size["height"]
    assert page.locator("h1").bounding_box()["y"] < height / 2
    verdict = row_of(page, SHARP).locator("td.v")
    box = verdict.bounding_box()
    assert box["y"] + box["height"] <= height
    assert box["x"] + box["width"] <= page.viewport_size["width"]  # a phone shows it without scrolling
    assert verdict.inner_text().split("\n")[0].strip() == "none"
    assert page.title() == page.locator("h1").inner_text()


def test_the_page_is_short_and_never_wider_than_the_screen(page: Any) -> None:
    screens = page.evaluate("document.documentElement.scrollHeight") / page.viewport_size["height"]
    if page.viewport_size == DESK:
        assert screens <= 2.0
    wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert page.evaluate(wide)
    page.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    assert page.evaluate(wide)


def test_heads_unfold_and_fold(page: Any) -> None:
    row = row_of(page, SHARP)
    heads = page.locator(f'tr.head[data-of="{row.get_attribute("id")}"]')
    assert heads.count() == 9
    assert not heads.first.is_visible()
    button = row.locator("button.unfold")
    button.click()
    assert (button.get_attribute("aria-expanded"), heads.nth(8).is_visible()) == ("true", True)
    assert heads.first.locator("td.v").inner_text().strip()
    button.click()
    assert (button.get_attribute("aria-expanded"), heads.first.is_visible()) == ("false", False)


def test_columns_sort_with_their_heads(page: Any) -> None:
    table = page.locator(".heat:not([hidden]) table")
    header = table.locator("thead tr").last.locator("th").nth(2)

    def errors() -> list[float]:
        cells = table.locator("tbody tr:not(.head) td:nth-child(3)")
        return [float(value) for value in cells.evaluate_all("(all) => all.map((cell) => cell.dataset.v)")]

    before = errors()
    row_of(page, SHARP).locator("button.unfold").click()
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert errors() == sorted(before, reverse=True) != before
    following = row_of(page, SHARP).evaluate("(row) => row.nextElementSibling.dataset.of === row.id")
    assert following  # heads stay with their input
    header.locator("button").click()
    assert errors() == sorted(before)
    header.locator("button").click()
    assert errors() == before


def test_switches_change_table_and_sentence(page: Any) -> None:
    title = page.locator("h1").inner_text()
    assert title.endswith((".", "none."))
    page.locator("button[data-set=a]").first.click()
    assert "float64" in page.locator("h1").inner_text()
    assert page.locator(".heat:not([hidden])").get_attribute("aria-label") == "relative errors in float64"
    page.locator("button[data-set=t]").last.click()
    loose = page.locator("h1").inner_text()
    assert "10 %" in loose
    assert page.locator("button[data-set=t][aria-pressed=true]").inner_text() == "10 %"
    assert page.locator(".heat:not([hidden]) thead th").get_by_text("10 % at").is_visible()
    page.locator("button[data-set=a]").last.click()
    page.locator("button[data-set=t]").nth(1).click()
    assert page.locator("h1").inner_text() == title


def test_every_link_leads_somewhere_and_unfolds_it(page: Any) -> None:
    links = page.eval_on_selector_all("a[href]", "(all) => all.map((a) => a.getAttribute('href'))")
    assert links
    for link in links:
        assert link.startswith("#"), "the page needs no network"
        page.evaluate("(link) => { location.hash = link; }", link)
        page.wait_for_function("(id) => document.getElementById(id).checkVisibility()", arg=link[1:])
    page.evaluate("location.hash = ''")


def test_landmarks_captions_and_scopes(page: Any) -> None:
    assert page.locator("main").count() == 1
    assert page.locator("h1").count() == 1
    for part in page.locator("table").all():
        assert part.locator("caption").count() == 1
        assert part.locator("thead th[scope=col]").count() >= 1
        assert part.locator("tbody th:not([scope=row])").count() == 0
    ids = page.eval_on_selector_all("[id]", "(all) => all.map((e) => e.id)")
    assert len(ids) == len(set(ids))
    assert page.locator("img:not([alt]), img[alt='']").count() == 0


# Relative luminance and contrast as WCAG 2 defines them, of what is really painted.
CONTRASTS = """() => {
  const parts = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const found = parts(getComputedStyle(e).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found.slice(0, 3);
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('.heat td, .heat th, .key span, h1, p, summary, button, dt, dd')]
    .filter((e) => e.innerText && e.checkVisibility()).map((e) => {
      const pair = [light(parts(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
      return [(pair[0] + 0.05) / (pair[1] + 0.05), e.tagName + '.' + e.className + ': ' + e.innerText.slice(0, 20)];
    });
}"""


def test_everything_can_be_read(page: Any) -> None:
    found = page.evaluate(CONTRASTS)
    assert len(found) > 50
    assert [what for contrast, what in found if contrast < 4.5] == []


def test_it_can_be_read_without_a_script(browser: Any, page_file: Path) -> None:
    context = browser.new_context(viewport=DESK, java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert row_of(page, SHARP).locator("td.v").inner_text().split("\n")[0].strip() == "none"
    assert page.locator("button:visible").count() == 0  # none that does nothing
    assert "float64" in page.locator("noscript").inner_text()  # what is not shown is named
    context.close()


def test_print_shows_the_answer_and_the_whole_table(browser: Any, page_file: Path) -> None:
    context = browser.new_context(viewport={"width": 1040, "height": 700})
    page = context.new_page()
    page.goto(page_file.as_uri())
    page.emulate_media(media="print")
    assert page.locator("h1").is_visible()
    assert page.locator("button:visible").count() == 0
    table = page.locator(".heat:not([hidden]) table").bounding_box()
    assert table["x"] + table["width"] <= 1040  # an A4 page across, at 96 dots an inch and small margins
    context.close()
