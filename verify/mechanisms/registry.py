"""Which mechanisms there are: shipped, installed by others, or in a file that is named.

A name such as "taylor:order=3/packed:side=both" says mechanism, parameters, form and options.  In place of the
mechanism's own name FILE.py:NAME may stand, of a file that was handed to `known`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from itertools import product
from typing import Any

from verify.arguments import Whole
from verify.attention.contract import Mechanism, Member
from verify.attention.variant import Variant
from verify.errors import InvalidRequestError, unknown
from verify.mechanisms.loading import GROUP, SWITCH, found_at, in_file, installed

# Found when first used: "module:NAME".
SHIPPED = {
    "softmax": "verify.mechanisms.softmax.mechanism:SOFTMAX",
    "logexp": "verify.mechanisms.logexp.mechanism:LOGEXP",
    "taylor": "verify.mechanisms.taylor.mechanism:TAYLOR",
    "power": "verify.mechanisms.power:POWER",
    "elu": "verify.mechanisms.elu:ELU",
    "favor": "verify.mechanisms.favor:FAVOR",
    "mean": "verify.mechanisms.mean:MEAN",
}

# What a sweep measures unless it is told otherwise.
SWEPT = ("softmax/softmax", "logexp/quadratic", "taylor/scores", "taylor/packed")

# The mechanism whose order `recommend` looks for, and whose features are counted, unless they are told otherwise.
RECOMMENDED = "taylor"

# What everything is compared with, and in which form; and the prediction that knows nothing.
CONVENTIONAL = "softmax"
BASELINE = f"{CONVENTIONAL}/softmax"
NULL = "mean"

# MECHANISM, perhaps :PARAMETERS, perhaps /FORM.
_NAME = re.compile(r"(?P<mechanism>.+?\.py:[^\W\d]\w*|[^:/]*)(:(?P<parameters>[^/]*))?(/(?P<form>.*))?", re.DOTALL)


@dataclass(frozen=True)
class Registry:
    """The mechanisms that names can mean.

    targets: by name, where each is found: "module:NAME" of what is shipped, an entry point, or what a file defines.
    files: the names of mechanisms by the texts FILE.py:NAME that they were named by.

        registry = known(("mine.py:MINE",))
        registry.member("mine.py:MINE") == registry.member("mine")     # True, if MINE is called "mine"
    """

    targets: Mapping[str, str | EntryPoint | Mechanism]
    files: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self.targets)

    def mechanism(self, name: str) -> Mechanism:
        """Return a mechanism; InvalidRequestError suggests names that are near."""
        if name == "":
            raise InvalidRequestError("a mechanism without a name", "one of " + ", ".join(self.targets), "name one")
        target = self.targets.get(self.files.get(name, name)) if isinstance(name, str) else None
        if target is None:
            remedy = "see attnproof list, or name a file as FILE.py:NAME"
            raise unknown(f"unknown mechanism {name!r}", name, self.targets, remedy)
        if isinstance(target, Mechanism):
            return target
        return installed(target.name, target.value) if isinstance(target, EntryPoint) else found_at(target)

    def member(self, text: str | Member) -> Member:
        """Return the member of a name such as "taylor:order=3", parameters left out at their defaults."""
        if isinstance(text, Member):
            return text
        mechanism, given = self.opened(text)
        return mechanism.member(**given)

    def opened(self, text: str) -> tuple[Mechanism, dict[str, Any]]:
        """Return mechanism and parameters that are given by a name such as "favor:seed=1"; others may be left open."""
        mechanism, given, form = self._parsed(text)
        if form is not None:
            raise InvalidRequestError(f"{text!r} with a form", "MECHANISM:NAME=VALUE", f"leave /{form} out")
        return mechanism, given

    def variant(self, text: str | Variant) -> Variant:
        """Return member, form and options of a name such as "taylor:order=3/packed:side=both"."""
        if isinstance(text, Variant):
            return text
        mechanism, given, form = self._parsed(text)
        if form is None:
            raise InvalidRequestError(f"{text!r} without a form", "MECHANISM/FORM", "see attnproof list")
        return Variant(mechanism.member(**given), *form_and_options(mechanism, form))

    def plans(self, texts: Iterable[str]) -> list[Plan]:
        """Return what a sweep is asked for: by "taylor" all forms, by "power:degree=2:6/scores" several members."""
        plans: dict[Plan, None] = {}
        for text in texts:
            mechanism, given, chosen = self._read(text, ranges=True)
            forms = [(form.name, ()) for form in mechanism.forms]
            for form, options in forms if chosen is None else [form_and_options(mechanism, chosen)]:
                for values in product(*given.values()):
                    plans[Plan(mechanism, tuple(zip(given, values, strict=True)), form, options)] = None
        return list(plans)

    def _parsed(self, text: str) -> tuple[Mechanism, dict[str, Any], str | None]:
        """Return mechanism, parameters that are given, and the text of form and options, if there is one."""
        mechanism, given, form = self._read(text, ranges=False)
        return mechanism, {name: value for name, (value,) in given.items()}, form

    def _read(self, text: str, *, ranges: bool) -> tuple[Mechanism, dict[str, tuple[Any, ...]], str | None]:
        """Return the same with the values of every parameter: one, or those of a range where that is allowed."""
        parts = _NAME.fullmatch(str(text))
        assert parts is not None, "anything is a name, perhaps of nothing"
        if ".py" in str(text) and ":" not in parts["mechanism"]:
            raise InvalidRequestError(f"mechanism {text!r}", "FILE.py:NAME", "name the file and what it defines")
        mechanism = self.mechanism(parts["mechanism"])
        given: dict[str, tuple[Any, ...]] = {}
        for parameter, value in () if parts["parameters"] is None else _pairs(parts["parameters"], text):
            if parameter in given:
                raise InvalidRequestError(f"{parameter!r} given twice in {text!r}", "each once", "leave one out")
            declared = mechanism.parameters.get(parameter)
            if ranges and isinstance(declared, Whole) and ":" in value:
                given[parameter] = declared.read_range(parameter, value)
            else:  # an unknown one is named by the check of all
                given[parameter] = (value if declared is None else declared.read(parameter, value),)
        return mechanism, given, parts["form"]


@dataclass(frozen=True)
class Plan:
    """A form of a mechanism with some of its parameters: what is left open is swept, or has its default."""

    mechanism: Mechanism
    parameters: tuple[tuple[str, Any], ...]
    form: str
    options: tuple[tuple[str, Any], ...]

    def variants(self, along: Mapping[str, Iterable[Any]]) -> Iterator[Variant]:
        """Yield the variants, the axis taking all its values unless it is given.

        Values that the mechanism does not take are left out; InvalidRequestError if there are no others.
        """
        given, axis = dict(self.parameters), self.mechanism.axis
        swept = axis if axis is not None and axis not in given and axis in along else None
        for value in (None,) if swept is None else self._taken(swept, along[swept]):
            chosen = given if swept is None else given | {swept: value}
            yield Variant(self.mechanism.member(**chosen), self.form, self.options)

    def _taken(self, name: str, values: Iterable[Any]) -> list[Any]:
        taken, refusals = [], []
        for value in values:
            try:
                taken.append(self.mechanism.parameters[name].checked(name, value))
            except InvalidRequestError as error:
                refusals.append(error)
        if refusals and not taken:
            raise refusals[0]
        return taken


def form_and_options(mechanism: Mechanism, text: str) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """Return the form and the options of a text such as "packed:side=both,degrees=apart"."""
    name, colon, rest = text.partition(":")
    declared = mechanism.form(name).options
    pairs = _pairs(rest, text) if colon else []
    return name, tuple((o, declared[o].read(o, v) if o in declared else v) for o, v in pairs)


def _pairs(text: str, whole: str) -> list[tuple[str, str]]:
    pairs = []
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not name or not equals or not value:
            raise InvalidRequestError(f"{part!r} in {whole!r}", "NAME=VALUE", "write it so, as in taylor:order=3")
        pairs.append((name, value))
    return pairs


def files_in(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the FILE.py:NAME that names begin with, to be handed to `known`.

    files_in(["taylor:order=3", "mine.py:MINE:order=3/pairs"])     # ("mine.py:MINE",)
    """
    heads = (_NAME.fullmatch(text) for text in texts)
    return tuple(head["mechanism"] for head in heads if head is not None and ":" in head["mechanism"])


def known(named: Iterable[str] = ()) -> Registry:
    """Return the mechanisms that are shipped, installed and named as FILE.py:NAME.

    Raises InvalidRequestError for a file that cannot be used, or two mechanisms of one name.
    """
    own = tuple((text, in_file(text)) for text in dict.fromkeys(named))
    return _known(os.environ.get(SWITCH, "").lower() != "off", own)


@lru_cache(maxsize=64)
def _known(plugins: bool, own: tuple[tuple[str, Mechanism], ...]) -> Registry:
    targets: dict[str, str | EntryPoint | Mechanism] = dict(SHIPPED)
    files: dict[str, str] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name) if plugins else ():
        if point.name in targets:
            raise InvalidRequestError(
                f"the mechanism {point.name!r} installed by {_distribution(point)}, beside another one of that name",
                "each name once",
                f"uninstall one, or set {SWITCH}=off",
            )
        targets[point.name] = point
    for text, mechanism in own:
        if targets.setdefault(mechanism.name, mechanism) is not mechanism:
            raise InvalidRequestError(
                f"{text} with a mechanism called {mechanism.name!r}", "a name that is not taken", "call it otherwise"
            )
        files[text] = mechanism.name
    return Registry(targets, files)


def _distribution(point: EntryPoint) -> str:
    return "an unknown distribution" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def named_member(text: str | Member) -> Member:
    """Return the member of a name such as "taylor:order=3"; a member is returned as it is.

    named_member("mine.py:MINE:order=3")
    """
    return text if isinstance(text, Member) else known(files_in([_name(text)])).member(text)


def named_variant(text: str | Variant) -> Variant:
    """Return member, form and options of a name such as "taylor:order=3/packed:side=both".

    named_variant("taylor:order=3/scores").run(problem, arithmetic).value
    """
    return text if isinstance(text, Variant) else known(files_in([_name(text)])).variant(text)


def _name(text: Any) -> str:
    """Return a name; InvalidRequestError for anything else."""
    if not isinstance(text, str):
        raise InvalidRequestError(f"{text!r} as a mechanism", 'a name such as "taylor:order=3"', "see attnproof list")
    return text


def opened(text: str) -> tuple[Mechanism, dict[str, Any]]:
    """Return mechanism and parameters that are given by a name such as "favor:seed=1"; others may be left open."""
    return known(files_in([_name(text)])).opened(text)


def baseline() -> Variant:
    """Return conventional attention, in the form that arithmetics are compared in."""
    return named_variant(BASELINE)


def null_prediction() -> Member:
    """Return the mean of the attended values: what is predicted without looking at keys."""
    return named_member(NULL)
