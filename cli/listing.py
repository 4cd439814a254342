"""attnproof list: what there is to choose from."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.text import print_json


def listing(json_: Annotated[bool, typer.Option("--json", help="Print the lists as JSON.")] = False) -> None:
    """List what there is to choose from.

    Mechanisms and their forms, arithmetics, number formats, samples, scenarios and metrics.
    """
    from reports.text import Table
    from verify.attention import FORMS
    from verify.inputs import SAMPLES, SCENARIOS
    from verify.numbers.arithmetic import ARITHMETICS
    from verify.numbers.formats import FORMATS
    from verify.recommend import METRICS

    lists = {
        "forms": {f"{form.mechanism}/{form.name}": form.description for form in FORMS.values()},
        "arithmetics": {name: arithmetic.description for name, arithmetic in ARITHMETICS.items()},
        "formats": {
            name: f"{format_.width} bits, {format_.precision} significant ones, up to {format_.largest:.3g}"
            for name, format_ in FORMATS.items()
        },
        "samples": {f"sample:{name}": description for name, description in SAMPLES.items()},
        "scenarios": {name: scenario.description for name, scenario in SCENARIOS.items()},
        "metrics": {name: metric.description for name, metric in METRICS.items()},
    }
    if json_:
        print_json(lists)
        return
    rows = [[kind[:-1], name, description] for kind, named in lists.items() for name, description in named.items()]
    print(Table(["kind", "name", "what it is"], rows).plain())
