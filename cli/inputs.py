"""Inputs as the command line names them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.text import number, words
from verify.errors import InvalidRequestError

if TYPE_CHECKING:
    from verify.inputs import InputSource

# What commands that read input files ask about them
Keys = Annotated[str, typer.Option(help="Names of q, k and v inside an input file.")]
Scale = Annotated[
    str | None, typer.Option(help="Scale of the logits of an input file.  [default: the file's, or 1/sqrt(d)]")
]
Alignment = Annotated[str | None, typer.Option(help="Of a causal file with n_q != n_k: top-left or bottom-right.")]

Mechanisms = Annotated[
    list[str] | None,
    typer.Option("--mechanism", help="A mechanism of your own, FILE.py:NAME, repeatable.", show_default=False),
]

# Options that say something about inputs of one kind only
_APPLIES = {
    "head_sizes": {"synthetic"},
    "tokens": {"synthetic"},
    "logit_std": {"synthetic"},
    "seeds": {"synthetic"},
    "causal": {"synthetic", "file"},
    "keys": {"file"},
    "scale": {"file"},
    "alignment": {"file"},
}


def given_options(context: typer.Context) -> set[str]:
    """Return the names of the options that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def require_applicable(given: set[str], sources: Iterable[InputSource]) -> None:
    """Raise InvalidRequestError for an option that says nothing about any of the inputs."""
    kinds = {source.kind for source in sources}
    for option in sorted(given & set(_APPLIES)):
        if not kinds & _APPLIES[option]:
            raise InvalidRequestError(
                f"--{option.replace('_', '-')} with inputs it does not apply to",
                f"a {' or '.join(sorted(_APPLIES[option]))} input",
                "leave it out or add such an input",
            )


def fixed_source(
    name: str, *, keys: str, scale: str | None, causal: bool | None, alignment: str | None
) -> InputSource | None:
    """Return the sample or the file of that name, or None if it names neither."""
    from verify.inputs import FileInput, SampleInput

    q, k, v = _names(keys)
    factor = None if scale is None else number(scale, "scale")
    if name.startswith("sample:"):
        return SampleInput(name.removeprefix("sample:"))
    suffix = Path(name).suffix
    if not suffix or suffix[1:2].isdigit():  # no ending: the fraction of a number, as in nosuch:height=0.5
        return None
    parts = name.split(",")
    triple = len(parts) > 1 and all(part.lower().endswith(".npy") for part in parts)
    return FileInput(tuple(parts) if triple else (name,), (q, k, v), factor, causal, alignment)


def unknown_input(name: str, known: Iterable[str]) -> InvalidRequestError:
    """Return what is to be raised for a name that means nothing."""
    kinds = ["sample:NAME", *known, "FILE.npz", "FILE.safetensors", "Q.npy,K.npy,V.npy"]
    return InvalidRequestError(f"input {name!r}", "one of " + ", ".join(kinds), "see attnproof list")


def parameters_in(text: str) -> tuple[tuple[str, float], ...]:
    """Return the parameters of a scenario written as matches=2,height=12; the scenario itself checks what they are."""
    parameters = []
    for part in words(text):
        name, equals, value = part.partition("=")
        if not name or not equals:
            raise InvalidRequestError(
                f"parameter {part!r}", "NAME=NUMBER, as in needle:matches=2,height=12", "see attnproof list"
            )
        parameters.append((name, number(value, name)))
    return tuple(parameters)


def _names(keys: str) -> tuple[str, str, str]:
    names = words(keys)
    if len(set(names)) != 3 or len(names) != 3:
        raise InvalidRequestError(f"keys {','.join(names)!r}", "three different names, of q, k and v", "name all three")
    return names[0], names[1], names[2]
