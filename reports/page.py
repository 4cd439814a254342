"""One HTML page that needs no network, and the same in Markdown: the answer first, all else folded."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.answer import TOLERANCE, TOLERANCES
from reports.benchmarks import Benchmarks
from reports.described import Described
from reports.equal_state import EqualState
from reports.figures import Figure
from reports.frame import in_order
from reports.hazards import bound_table, distance_table, hazard_table, position_table
from reports.heat import HeatTable, interrupted_text
from reports.html import breakable, html_table
from reports.tables import InputSection
from reports.text import BANDS, Table, escape_markdown, percent_text, printable
from verify.integers import how_many
from verify.sweep.store import Session


@dataclass(frozen=True)
class Fold:
    """A table behind a line that says what is in it."""

    text: str
    table: Table


@dataclass(frozen=True)
class Contents:
    """Everything a report shows.

    heats: the answer in every arithmetic, the one shown first at the end.  missing: cells asked for and not there.
    inputs: how many there are; sections: of the first of them.
    """

    heats: Sequence[HeatTable]
    equal: EqualState | None
    worsening: Fold
    crossing: Fold
    hazards: Fold
    unmeasured: Fold
    costs: Fold
    sections: Sequence[InputSection]
    inputs: int
    figures: Sequence[Figure]
    benchmarks: Benchmarks | None
    mechanisms: Sequence[Described]
    sessions: Sequence[tuple[str, Session]]
    superseded: int
    missing: int
    quantised: int
    cells: int

    @property
    def title(self) -> str:
        """The answer in a sentence, of the arithmetic and tolerance shown first; of an interrupted run it says so."""
        sentence = self.heats[-1].sentences[TOLERANCES.index(TOLERANCE)] if self.heats else "Nothing was measured."
        return f"{self.interrupted}{sentence}"

    @property
    def interrupted(self) -> str:
        """How much of the run is there, if not all of it."""
        return interrupted_text(self.cells, self.missing)

    @property
    def formula_errors(self) -> Sequence[tuple[str, Sequence[str]]]:
        """What formula errors are called, and of which mechanisms."""
        names = in_order(own.formula_error for own in self.mechanisms if own.formula_error is not None)
        return [(name, [own.name for own in self.mechanisms if own.formula_error == name]) for name in names]


def html_page(contents: Contents) -> str:
    """Return the page; every text from outside is escaped by the template."""
    environment = _environment(autoescape=True)
    environment.filters["embedded"] = _embedded
    environment.filters["breakable"] = breakable
    environment.filters["printable"] = printable
    environment.globals |= {
        "legend": _legend(),
        "tolerances": [percent_text(x) for x in TOLERANCES],
        "table": html_table,
    }
    environment.globals["chosen"] = TOLERANCES.index(TOLERANCE)
    return environment.get_template("page.html.j2").render(contents=contents)


def markdown_page(contents: Contents) -> str:
    """Return the report in Markdown, with links to the figures beside it."""
    # everything from outside goes through the filter `text` or through a Table
    environment = _environment(autoescape=False)
    environment.filters["text"] = escape_markdown
    environment.filters["heat"] = _heat_as_table
    return environment.get_template("page.md.j2").render(contents=contents)


def _environment(*, autoescape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= _SECTION_TABLES | {"sentence": sentence, "machine": _machine, "how_many": how_many}
    return environment


def sentence(text: str) -> str:
    """Return a text as the start of a sentence, without control characters."""
    return printable(text[:1].upper() + text[1:])


# What a section shows beside its own tables
_SECTION_TABLES = {
    "hazards": lambda section: hazard_table(section.cells),
    "bounds": lambda section: bound_table(section.cells),
    "positions": lambda section: position_table(section.cells),
    "distances": lambda section: distance_table(section.cells),
}


def _legend() -> list[str]:
    """Return what each band of colour stands for, best first."""
    limits = [percent_text(limit).removesuffix(" %") for limit in BANDS]
    between = [f"{low} to {high} %" for low, high in pairwise(limits)]
    return [f"{limits[0]} % or less", *between, f"over {limits[-1]} %"]


def _heat_as_table(heat: HeatTable) -> Table:
    """Return the answer as a plain table, heads below their input."""
    chosen = TOLERANCES.index(TOLERANCE)
    columns = ["input", f"{percent_text(TOLERANCE)} at", "heads", "best"]
    columns += [
        f"{series} {axis} {heading}" if axis else heading for series, axis, own in heat.groups for heading in own
    ]
    rows = []
    for row in heat.rows:
        for each in (row, *row.heads):
            verdict = each.verdicts[chosen]
            cells = [f"{cell.text} (Z <= 0)" if cell.lost else cell.text for cell in each.cells]
            name = each.name if each is row else f"{row.name}, {each.name}"
            rows.append([name, verdict.text, verdict.heads, each.best, *cells, verdict.pays, each.softmax])
    return Table([*columns, "pays from", "softmax's own"], rows)


def _embedded(figure: Figure) -> Markup:
    return Markup("data:image/svg+xml;base64,") + base64.b64encode(figure.images["svg"]).decode()


def _machine(session: Session) -> list[tuple[str, str]]:
    provenance = session.provenance
    machine = provenance["machine"]
    return [
        ("started", session.started),
        ("command", provenance["command"]),
        ("version", f"attnproof {machine['versions']['attnproof']}"),
        ("code, libraries and processor", f"{machine['code'][:16]}, of all that measures the baseline"),
        ("versions", ", ".join(f"{name} {number}" for name, number in sorted(machine["versions"].items()))),
        ("processor", f"{machine['processor']} ({machine['machine']}, {machine['system']})"),
        ("linear algebra", json.dumps(machine["linear_algebra"]) + f", {machine['linear_algebra_threads']} thread"),
    ]
