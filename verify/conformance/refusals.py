"""Whether what cannot be done is refused, in one line, and never answered otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from verify.arguments import Parameter
from verify.attention.variant import Variant
from verify.conformance.allowance import FLOAT64
from verify.conformance.subject import Subject
from verify.errors import InvalidRequestError


def unrefused_requests(subject: Subject) -> Iterator[str]:
    """Yield requests that cannot be met and are: names that do not exist, values out of bounds, values left out."""
    mechanism, member = subject.mechanism, subject.members[0]
    given = dict(member.parameters)
    yield from _unrefused("a parameter that there is not", partial(mechanism.member, **given, no_such_parameter=1))
    yield from _unrefused("a form that there is not", partial(mechanism.form, "no such form"))
    for name, parameter in mechanism.parameters.items():
        for wrong in _outside(parameter):
            yield from _unrefused(f"{name} = {wrong!r}", partial(mechanism.member, **(given | {name: wrong})))
        if parameter.default is None:
            rest = {other: value for other, value in given.items() if other != name}
            yield from _unrefused(f"no {name}, which has no default,", partial(mechanism.member, **rest))
    for form in mechanism.forms:
        option = ("no_such_option", 1)
        yield from _unrefused(
            f"{form.name} with an option that there is not", partial(Variant, member, form.name, (option,))
        )
        for name, parameter in form.options.items():
            for wrong in _outside(parameter):
                made = partial(Variant, member, form.name, ((name, wrong),))
                yield from _unrefused(f"{form.name} with {name} = {wrong!r}", made)


def unrefused_problems(subject: Subject) -> Iterator[str]:
    """Yield problems that a form says it does not serve, and answers or refuses with anything but one line."""
    member = subject.members[0]
    for form in subject.mechanism.forms:
        for case in subject.all_cases:
            meaningless: Any = subject.mechanism.unservable(case.problem)
            if meaningless is not None and not isinstance(meaningless, InvalidRequestError):
                kind = type(meaningless).__name__
                yield f"unservable() gives {kind} for {case.name!r}; expected InvalidRequestError or None"
                continue
            if meaningless is not None:
                what = f"{case.name!r}, which has no meaning for it, by {form.name}"
                yield from _unrefused(what, partial(Variant(member, form.name).run, case.problem, FLOAT64))
                continue
            refusal: Any = form.serves(case.problem)
            if refusal is None:
                continue
            if not isinstance(refusal, InvalidRequestError):
                kind = type(refusal).__name__
                yield f"serves() of {form.name} gives {kind} for {case.name!r}; expected InvalidRequestError or None"
                continue
            yield from _unrefused(
                f"{case.name!r} by {form.name}", partial(Variant(member, form.name).run, case.problem, FLOAT64)
            )
            asked = partial(form.compute, case.problem, FLOAT64, member)
            yield from _unrefused(f"{case.name!r} by the function of {form.name} itself", asked)


def _outside(parameter: Parameter) -> list[Any]:
    """Return values beyond the bounds of a parameter, and of another kind."""
    least, most = (getattr(parameter, end, None) for end in ("least", "most"))
    wrong: list[Any] = [float("nan")] if least is not None else ["no such value"]
    wrong += [] if least is None else [least - 1]
    wrong += [] if most is None else [most + 1]
    return wrong


def _unrefused(what: str, request: Callable[[], Any]) -> Iterator[str]:
    """Yield what is wrong with the refusal of a request: none, another error, or more than a line."""
    try:
        request()
    except InvalidRequestError as error:
        if "\n" in str(error):
            yield f"{what} is refused in several lines: {str(error)!r}"
    except Exception as error:  # whatever somebody else's mechanism raises
        said = " ".join(str(error).split())
        yield f"{what} raises {type(error).__name__} ({said}); expected InvalidRequestError"
    else:
        yield f"{what} is accepted; expected InvalidRequestError"
