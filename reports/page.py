"""One HTML page that needs no network, and the same in Markdown."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.benchmarks import Benchmarks
from reports.causes import bound_table, distance_table, hazard_table, position_table
from reports.figures import Figure
from reports.tables import InputSection
from reports.text import Table, escape_markdown, printable
from verify.sweep.store import Session


@dataclass(frozen=True)
class Contents:
    """Everything a report shows."""

    glance: Table
    crossing: Table
    worsening: Table
    sections: Sequence[InputSection]
    costs: Table
    unmeasured: Table
    figures: Sequence[Figure]
    benchmarks: Benchmarks | None
    sessions: Sequence[tuple[str, Session]]
    superseded: int
    quantised: int
    cells: int


def html_page(contents: Contents) -> str:
    """Return the page; every text from outside is escaped by the template."""
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embedded"] = _embedded
    environment.filters |= _SECTION_TABLES
    environment.filters["printable"] = printable
    environment.filters["machine"] = _machine
    return environment.get_template("page.html.j2").render(contents=contents)


def markdown_page(contents: Contents) -> str:
    """Return the report in Markdown, with links to the figures beside it."""
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=False,  # Markdown: everything from outside goes through the filter `text` or through a Table
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["text"] = escape_markdown
    environment.filters |= _SECTION_TABLES
    environment.filters["machine"] = _machine
    return environment.get_template("page.md.j2").render(contents=contents)


# What a section shows beside its own tables
_SECTION_TABLES = {
    "hazards": lambda section: hazard_table(section.cells),
    "bounds": lambda section: bound_table(section.cells),
    "positions": lambda section: position_table(section.cells),
    "distances": lambda section: distance_table(section.cells),
}


def _embedded(figure: Figure) -> Markup:
    return Markup("data:image/svg+xml;base64,") + base64.b64encode(figure.svg).decode()


def _machine(session: Session) -> list[tuple[str, str]]:
    provenance = session.provenance
    machine = provenance["machine"]
    return [
        ("started", session.started),
        ("command", provenance["command"]),
        ("code", f"attnproof {machine['versions']['attnproof']}, verify sources {machine['code'][:16]}"),
        ("versions", ", ".join(f"{name} {number}" for name, number in sorted(machine["versions"].items()))),
        ("processor", f"{machine['processor']} ({machine['machine']}, {machine['system']})"),
        ("linear algebra", json.dumps(machine["linear_algebra"]) + f", {machine['linear_algebra_threads']} thread"),
    ]
