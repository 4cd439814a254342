"""What is asked of a command in a TOML file, under the names of its options; what stands on the command line wins."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verify.errors import InvalidRequestError, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

PRESETS = ("quick", "paper", "real", "precision")

# Options that are no part of what is asked for
_OTHERS = {"spec_file", "preset", "columns", "json_", "help"}


def preset_text(name: str) -> str:
    """Return the file of a preset; InvalidRequestError for one that does not exist."""
    if name not in PRESETS:
        raise unknown(f"preset {name!r}", name, PRESETS)
    return files("cli").joinpath("presets", f"{name}.toml").read_text(encoding="utf-8")


def _of_preset(context: typer.Context, name: str | None) -> str | None:
    if name is not None:
        own = _options(context, tomllib.loads(preset_text(name)), f"preset {name}")
        context.default_map = {**own, **(context.default_map or {})}  # a file wins, wherever it stands
    return name


def _of_file(context: typer.Context, path: Path | None) -> Path | None:
    if path is not None:
        try:
            document = tomllib.loads(path.read_bytes().decode())
        except OSError as error:
            raise InvalidRequestError(
                f"{path} ({error.strerror})", "a TOML file that can be read", "correct --spec"
            ) from None
        except ValueError as error:  # of TOML, or of the encoding
            raise InvalidRequestError(f"{path}, which is no TOML ({error})", "a TOML file", "correct it") from None
        context.default_map = {**(context.default_map or {}), **_options(context, document, str(path))}
    return path


def _options(context: typer.Context, document: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the values of options by parameter; InvalidRequestError for what is none."""
    known = {}
    for parameter in context.command.params:
        if parameter.name not in _OTHERS:
            long = next(name for name in parameter.opts if name.startswith("--"))
            known[long[2:].replace("-", "_")] = parameter
    found: dict[str, Any] = {}
    for key, value in document.items():
        name = key.replace("-", "_")
        if name not in known:
            raise unknown(f"{key} in {where}", name, known, "leave it out")
        items = value if isinstance(value, list) else [value]
        if not items or not all(isinstance(item, str | int | float) for item in items):
            raise InvalidRequestError(
                f"{key} = {value!r} in {where}", "text, a number, true or false, or a list of such", "correct it"
            )
        texts = [str(item).lower() if isinstance(item, bool) else str(item) for item in items]
        multiple = getattr(known[name], "multiple", False)
        assert known[name].name is not None
        found[str(known[name].name)] = texts if multiple else ",".join(texts)
    return found


Spec = Annotated[
    Path | None,
    typer.Option(
        "--spec",
        help="A TOML file with these options by name, as in tokens = [256, 1024]; the command line wins.",
        callback=_of_file,
        is_eager=True,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help=f"One of {', '.join(PRESETS)}: such a file that comes with the package (attnproof list --preset NAME).",
        callback=_of_preset,
        is_eager=True,
    ),
]
