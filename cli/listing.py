"""attnproof list: what there is to choose from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from cli.inputs import Mechanisms
from cli.spec import PRESETS, preset_text
from cli.text import Columns, print_json, width_of

if TYPE_CHECKING:
    from verify.arguments import Parameter


def listing(
    own: Mechanisms = None,
    preset: Annotated[
        str | None, typer.Option(help="Print this preset of sweeps, a TOML file to copy, and nothing else.")
    ] = None,
    columns: Columns = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the lists as JSON.")] = False,
) -> None:
    """List what there is to choose from.

    Mechanisms with their parameters, their forms with their options, arithmetics, number formats, samples, scenarios,
    metrics and presets.
    """
    from reports.text import Table
    from verify.inputs import SAMPLES, SCENARIOS
    from verify.measure.metrics import METRICS
    from verify.numbers.arithmetic import ARITHMETICS
    from verify.numbers.formats import FORMATS

    if preset is not None:
        print(preset_text(preset), end="")
        return
    width = width_of(columns)
    mechanisms, forms = _mechanisms(own or [])
    lists = {
        "mechanisms": mechanisms,
        "forms": forms,
        "arithmetics": {name: arithmetic.description for name, arithmetic in ARITHMETICS.items()},
        "formats": {
            name: f"bits: {format_.width}, {format_.precision} of them significant; up to {format_.largest:.3g}"
            for name, format_ in FORMATS.items()
        },
        "samples": {f"sample:{name}": description for name, description in SAMPLES.items()},
        "scenarios": {name: scenario.description for name, scenario in SCENARIOS.items()},
        "metrics": {name: metric.description for name, metric in METRICS.items()},
        "presets": {name: preset_text(name).splitlines()[0].removeprefix("# ") for name in PRESETS},
    }
    if json_:
        print_json(lists)
        return
    tables = (Table([kind[:-1], "what it is"], [*map(list, named.items())]) for kind, named in lists.items())
    print("\n\n".join(table.plain(width) for table in tables))


def _mechanisms(own: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return mechanisms and forms with what they are; one that cannot be loaded says so and has no forms."""
    from verify.errors import InvalidRequestError
    from verify.mechanisms.registry import known

    registry = known(tuple(own))
    mechanisms: dict[str, str] = {}
    forms: dict[str, str] = {}
    for name in registry:
        try:
            mechanism = registry.mechanism(name)
        except InvalidRequestError as error:
            mechanisms[name] = str(error)
            continue
        mechanisms[name] = _described(mechanism.description, mechanism.parameters, "parameters")
        if mechanism.axis is not None:
            mechanisms[name] += f"; varied along {mechanism.axis}"
        forms |= {
            f"{name}/{form.name}": _described(form.description, form.options, "options") for form in mechanism.forms
        }
    return mechanisms, forms


def _described(description: str, declared: Mapping[str, Parameter], what: str) -> str:
    """Return a description with the names of what can be chosen, and their defaults where there are any."""
    from verify.arguments import value_text

    shown = [
        name if parameter.default is None else f"{name}={value_text(parameter.default)}"
        for name, parameter in declared.items()
    ]
    return f"{description}; {what} {', '.join(shown)}" if shown else description
