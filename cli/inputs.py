"""Inputs as the command line names them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.text import LARGEST_SIZE, integer, number, words
from verify.errors import InvalidRequestError, unknown

if TYPE_CHECKING:
    from verify.inputs import FileInput, InputSource

# What commands that read input files ask about them
Keys = Annotated[
    str | None,
    typer.Option(
        help="What is what in an input file: q=Q,k=K,v=V,mask=pad, or the names of q, k, v.  [default: usual names]"
    ),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(help="Entries of an input file to leave out, repeatable or separated by commas.", show_default=False),
]
Layout = Annotated[
    str | None,
    typer.Option(
        help="Axes of an input file: bhsd (batch, heads, tokens, size), bshd or packed.  [default: its own, or bhsd]"
    ),
]
Bits = Annotated[
    str | None,
    typer.Option(
        help="Format of what an input file holds as bit patterns: bfloat16, float16, float8_e4m3fn or float8_e5m2."
    ),
]
Scale = Annotated[
    str | None, typer.Option(help="Scale of the logits of an input file.  [default: the file's, or 1/sqrt(d)]")
]
Causal = Annotated[
    bool | None,
    typer.Option("--causal/--no-causal", help="Whether an input file is causal.  [default: as it says, or no]"),
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
    "ignore": {"file"},
    "layout": {"file"},
    "bits": {"file"},
    "scale": {"file"},
    "alignment": {"file"},
}


def given_options(context: typer.Context) -> set[str]:
    """Return the names of the options that stand on the command line, or in a file that it names."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name in ("COMMANDLINE", "DEFAULT_MAP")}


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


@dataclass(frozen=True)
class FileOptions:
    """What the command line says about input files."""

    keys: str | None
    ignore: list[str] | None
    layout: str | None
    bits: str | None
    scale: str | None
    causal: bool | None
    alignment: str | None

    def source(self, paths: tuple[str, ...]) -> FileInput:
        """Return the input of that file, or of those three."""
        from verify.inputs import FileInput

        return FileInput(
            paths,
            () if self.keys is None else words(self.keys),
            None if self.scale is None else number(self.scale, "scale"),
            self.causal,
            self.alignment,
            self.layout,
            self.bits,
            tuple(name for names in self.ignore or () for name in words(names)),
        )


def fixed_source(name: str, options: FileOptions) -> InputSource | None:
    """Return the sample or the file of that name, or None if it names neither."""
    from verify.inputs import SampleInput

    if name.startswith("sample:"):
        return SampleInput(name.removeprefix("sample:"))
    suffix = Path(name).suffix
    if not suffix or suffix[1:2].isdigit():  # no ending: the fraction of a number, as in nosuch:height=0.5
        return None
    return options.source(_paths(name))


def _paths(name: str) -> tuple[str, ...]:
    """Return the paths of one file, or of several .npy files joined by commas, which their names may have, too."""
    parts = name.split(",")
    if len(parts) == 1 or Path(name).exists():
        return (name,)
    found = next(_split(parts), None)
    if found is not None:
        return found
    return tuple(parts) if all(part.lower().endswith(".npy") for part in parts) else (name,)


def _split(parts: list[str]) -> Iterator[tuple[str, ...]]:
    """Yield how parts can be joined again to the names of .npy files that exist."""
    if not parts:
        yield ()
    for count in range(1, len(parts) + 1):
        first = ",".join(parts[:count])
        if first.lower().endswith(".npy") and Path(first).exists():
            yield from ((first, *rest) for rest in _split(parts[count:]))


def unknown_input(name: str, known: Iterable[str]) -> InvalidRequestError:
    """Return what is to be raised for a name that means nothing."""
    kinds = ["sample:NAME", *known, "FILE.npz", "FILE.safetensors", "Q.npy,K.npy,V.npy"]
    return unknown(f"input {name!r}", name.partition(":")[0], kinds, "see attnproof list")


# What the name of a seeded input says beside the parameters of its scenario, and what it is by default
_SIZES = {"d": 64.0, "n": 256.0, "std": 1.0, "seed": 0.0}


def seeded_input(name: str) -> InputSource | None:
    """Return the seeded input of a name as reports show it, normal:d=8,n=256,std=4,seed=0; None if it is none.

    What is left out has its default; `full` at the end says that it is not causal.
    """
    from verify.inputs import SCENARIOS, SyntheticInput

    scenario, colon, text = name.partition(":")
    if scenario not in SCENARIOS:
        return None
    full = text == "full" or text.endswith(",full")
    shown = text.removesuffix("full").removesuffix(",")
    given = dict(parameters_in(shown)) if colon and shown else {}
    sizes = {size: given.pop(size, default) for size, default in _SIZES.items()}
    whole = {size: integer(f"{sizes[size]:.17g}", size, least=0, most=LARGEST_SIZE) for size in ("d", "n", "seed")}
    parameters = tuple(given.items())
    return SyntheticInput(
        scenario, whole["d"], whole["n"], sizes["std"], whole["seed"], causal=not full, parameters=parameters
    )


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
