"""One HTML page that needs no network, and the same in Markdown."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.benchmarks import Benchmarks
from reports.causes import bound_table, distance_table, hazard_table, position_table
from reports.curves import MechanismTable
from reports.described import Described
from reports.figures import Figure
from reports.frame import in_order
from reports.tables import InputSection
from reports.text import Table, escape_markdown, printable
from verify.integers import how_many
from verify.sweep.store import Session


@dataclass(frozen=True)
class Contents:
    """Everything a report shows."""

    glance: Table
    crossing: Sequence[MechanismTable]
    worsening: Sequence[MechanismTable]
    sections: Sequence[InputSection]
    costs: Table
    unmeasured: Table
    figures: Sequence[Figure]
    benchmarks: Benchmarks | None
    mechanisms: Sequence[Described]
    sessions: Sequence[tuple[str, Session]]
    superseded: int
    quantised: int
    cells: int

    @property
    def axes(self) -> Sequence[str]:
        """The parameters along which mechanisms are drawn, each once."""
        return in_order(own.axis for own in self.mechanisms if own.axis is not None)

    @property
    def formula_errors(self) -> Sequence[tuple[str, Sequence[str]]]:
        """What formula errors are called, and of which mechanisms."""
        names = in_order(own.formula_error for own in self.mechanisms if own.formula_error is not None)
        return [(name, [own.name for own in self.mechanisms if own.formula_error == name]) for name in names]


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
    environment.filters["breakable"] = _breakable
    environment.filters |= _SECTION_TABLES
    environment.filters["printable"] = printable
    environment.filters["sentence"] = sentence
    environment.filters["machine"] = _machine
    environment.filters["how_many"] = how_many
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
    environment.filters["sentence"] = sentence
    environment.filters |= _SECTION_TABLES
    environment.filters["machine"] = _machine
    environment.filters["how_many"] = how_many
    return environment.get_template("page.md.j2").render(contents=contents)


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


def _embedded(figure: Figure) -> Markup:
    return Markup("data:image/svg+xml;base64,") + base64.b64encode(figure.svg).decode()


def _breakable(text: str) -> Markup:
    """Return text, escaped, that may be broken behind every comma and colon: names of forms with options are long."""
    return Markup("<wbr>").join(re.split(r"(?<=[,:])", printable(text)))


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
