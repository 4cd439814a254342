"""What a run file says of a mechanism, checked: all that a report knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Described:
    """A mechanism as the sweep described it; `verify.attention.contract.Mechanism` says what each member means."""

    name: str
    description: str
    source: str
    parameters: tuple[str, ...]
    axis: str | None
    proposed: int | None
    formula_error: str | None
    forms: tuple[str, ...]

    def form_place(self, form: str) -> int:
        """Return where a form stands among those that the mechanism lists; behind them if it is none of these."""
        return self.forms.index(form) if form in self.forms else len(self.forms)


def described(document: Mapping[str, Any], name: str) -> Described:
    """Return the mechanism of that name that a document describes; ValueError if it describes no such mechanism."""
    texts = ("name", "description", "source")
    if not all(isinstance(document[text], str) for text in texts) or document["name"] != name:
        raise ValueError(f"not a description of mechanism {name!r}")
    for several in ("parameters", "forms"):
        if not isinstance(document[several], list) or not all(isinstance(item, str) for item in document[several]):
            raise ValueError(f"{several} of mechanism {name!r} that are no list of names")
    axis, proposed, formula_error = (document[member] for member in ("axis", "proposed", "formula_error"))
    if axis is not None and axis not in document["parameters"]:
        raise ValueError(f"mechanism {name!r} with an axis that is none of its parameters")
    if proposed is not None and type(proposed) is not int:
        raise ValueError(f"mechanism {name!r} with a proposed value that is no integer")
    if formula_error is not None and not (isinstance(formula_error, str) and formula_error):
        raise ValueError(f"mechanism {name!r} with a formula error that has no name")
    members = {field.name: document[field.name] for field in fields(Described)}
    return Described(**members | {"parameters": tuple(document["parameters"]), "forms": tuple(document["forms"])})
