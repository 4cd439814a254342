"""Whether a mechanism declares what it must, and whether what it declares can be written down and read back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from verify.arguments import Parameter, Whole, value_text
from verify.attention.contract import Form, Mechanism
from verify.conformance.subject import Subject, guarded, option_values
from verify.mechanisms.loading import require_mechanism
from verify.mechanisms.registry import Registry

# What stands between the pieces of a name such as "taylor:order=3/packed:side=both".
SEPARATORS = frozenset(":/=,; \t\n")

LIMITS = ("memory_limit", "watch")


def undeclared(mechanism: Mechanism) -> Iterator[str]:
    """Yield what is missing or contradicts itself, before any member is made."""
    require_mechanism(mechanism, "the mechanism")
    for name in ("name", "description", "source"):
        if "\n" in getattr(mechanism, name) or not getattr(mechanism, name).strip():
            yield f"{name} {getattr(mechanism, name)!r}; expected one line of text"
    if mechanism.formula_error is not None and (
        not isinstance(mechanism.formula_error, str) or not mechanism.formula_error
    ):
        yield f"formula_error {mechanism.formula_error!r}; expected a word such as 'deviation', None of softmax itself"
    yield from _values(mechanism.parameters, "parameter")
    yield from _axis(mechanism)
    for form in mechanism.forms:
        yield from guarded(f"form {form.name!r}", _form, form)
    text = json.dumps(mechanism.descriptor(), allow_nan=False)
    if not {"name", "axis", "parameters", "formula_error", "forms"} <= set(json.loads(text)):
        yield f"descriptor() without what reports ask for: {text}"


def _values(declared: Mapping[str, Parameter], kind: str) -> Iterator[str]:
    for name, parameter in declared.items():
        yield from guarded(f"{kind} {name!r}", _value, name, parameter)


def _value(name: str, parameter: Any) -> Iterator[str]:
    if not isinstance(name, str) or not name.isidentifier():
        yield "expected a name of letters, digits and underscores"
    if not isinstance(parameter, get_args(Parameter)):
        yield f"of type {type(parameter).__name__}; expected one of verify.arguments, such as Whole(2, least=1)"
        return
    if parameter.default is not None:
        parameter.checked("default", parameter.default)
    for value in option_values(parameter):
        read = parameter.read(name, value_text(value))
        if read != value:
            yield f"{value!r} is written {value_text(value)!r} and read back as {read!r}"


def _axis(mechanism: Mechanism) -> Iterator[str]:
    axis = mechanism.axis
    if axis is None:
        if mechanism.proposed is not None:
            yield f"proposed {mechanism.proposed} without an axis"
        return
    parameter = mechanism.parameters[axis]
    if not isinstance(parameter, Whole):
        yield f"the axis {axis!r} is a {type(parameter).__name__}; expected whole numbers"
        return
    searched = list(mechanism.searched(None))
    if not searched or sorted(set(searched)) != searched:
        yield f"searched() gives {searched}; expected values of {axis!r}, rising"
    for value in searched:
        parameter.checked(f"searched {axis}", value)
    for largest in searched[:3]:
        upto = list(mechanism.searched(largest))
        if upto != [value for value in searched if value <= largest]:
            yield f"searched({largest}) gives {upto}; expected those of {searched} up to {largest}"


def _form(form: Form) -> Iterator[str]:
    if not form.name or SEPARATORS & set(form.name):
        yield "expected a name without separators and spaces"
    if not form.description.strip() or "\n" in form.description:
        yield f"description {form.description!r}; expected one line of text"
    for name in ("compute", "cost", "serves"):
        if not callable(getattr(form, name)):
            yield f"{name} {getattr(form, name)!r}; expected a function"
    yield from _values(form.options, "option")
    for limit in form.limits:
        if limit not in LIMITS:
            yield f"limit {limit!r}; expected one of {', '.join(LIMITS)}"


def unreadable(subject: Subject) -> Iterator[str]:
    """Yield members and forms whose names do not mean them, and labels that no table can hold."""
    registry = Registry({subject.mechanism.name: subject.mechanism})
    for member in subject.members:
        if registry.member(member.name) != member:
            yield f"{member.name!r} is read as {registry.member(member.name).name!r}"
        json.dumps(subject.mechanism.labels(member), allow_nan=False)
        for case in subject.cases if subject.mechanism.axis else ():
            why: Any = subject.mechanism.hopeless(case.problem, [member])
            if not isinstance(why, str) or "\n" in why:
                yield f"hopeless() of {member.name} on {case.name!r} gives {why!r}; expected one line of text, or none"
        if subject.mechanism.work(member) < 1:
            yield f"work() of {member.name} is {subject.mechanism.work(member)}; expected at least 1"
        for form in subject.mechanism.forms:
            for option, parameter in form.options.items():
                for value in option_values(parameter):
                    text = f"{member.name}/{form.name}:{option}={value_text(value)}"
                    variant = registry.variant(text)
                    if dict(variant.options).get(option, parameter.default) != value:
                        yield f"{text!r} is read as {variant.name!r}"
