"""What was read, said back in a few lines: whoever meant another problem sees it here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cli.text import one_line
from verify.integers import how_many

if TYPE_CHECKING:
    from verify.attention.contract import Member
    from verify.inputs import FileContents, InputSource
    from verify.problem import Problem


# Seconds from which it is said beforehand how long something takes.
WORTH_SAYING = 10


def loaded(source: InputSource) -> tuple[Problem, dict[str, Any], dict[str, Any]]:
    """Return a problem, arrays of its file that are no part of it, and what it is in plain values."""
    from verify.inputs import FileInput

    contents = source.load_all() if isinstance(source, FileInput) else None
    problem = source.load() if contents is None else contents.problem
    others = {} if contents is None else dict(contents.others)
    return problem, others, facts_of(source, problem, contents)


def tell_time(problem: Problem, member: Member) -> None:
    """Say on stderr how long exact values will take about, if that is worth saying."""
    from verify.truth.in_blocks import seconds_estimate

    seconds = seconds_estimate(problem, [member])
    if seconds > WORTH_SAYING:
        pairs = problem.heads * problem.queries * problem.keys
        print(f"{how_many(pairs, 'pair')} of a query and a key: about {seconds:,.0f} s", file=sys.stderr)


def facts_of(source: InputSource, problem: Problem, contents: FileContents | None = None) -> dict[str, Any]:
    """Return what a problem is in plain values; from a file, also its layout and what else is in it.

    contents: of the file, if it has been read.
    """
    from verify.inputs import FileInput
    from verify.problem import described

    if not isinstance(source, FileInput):
        return described(problem)
    found = source.load_all() if contents is None else contents
    return {**described(problem), "layout": found.layout, "unused": list(found.others), "ignored": list(source.ignore)}


def echo(facts: dict[str, Any], width: int) -> str:
    """Return what a problem is, phrases beside each other where they fit."""
    lines: list[str] = []
    for phrase in _phrases(facts):
        if lines and len(lines[-1]) + len(phrase) + 2 <= width:
            lines[-1] += f"; {phrase}"
        else:
            lines.append(phrase)
    return "\n".join(lines)


def _phrases(facts: dict[str, Any]) -> Iterator[str]:
    yield _sizes(facts)
    kinds = facts["formats"]
    yield kinds["q"] if len(set(kinds.values())) == 1 else ", ".join(f"{name} {kind}" for name, kind in kinds.items())
    if facts.get("layout", "bhsd") != "bhsd":
        yield f"read as {facts['layout']}, outputs [..., heads, queries, size]"
    yield f"scale {facts['scale']}"
    if facts["causal"]:
        yield "causal"
    if facts["window"] is not None:
        before, after = ("any number" if end is None else end for end in facts["window"])
        yield f"window of {before} before and {after} after"
    if facts["alignment"] is not None:
        yield facts["alignment"]
    for name in ("lengths", "positions"):
        if facts[name] is not None:
            counted = " in their segments" if name == "positions" and facts["segments"] is not None else ""
            yield f"{name} {_range(facts[name])}{counted}"
    if facts["segments"] is not None:
        yield how_many(facts["segments"], "segment")
    if facts["mask"] is not None:
        yield "a mask"
    pairs = facts["pairs"]
    yield "all pairs seen" if pairs["seen"] == pairs["all"] else f"{pairs['seen']:,} of {pairs['all']:,} pairs seen"
    if facts["blind_rows"]:
        yield how_many(facts["blind_rows"], "row sees nothing", "rows see nothing")
    if facts["softcap"] is not None:
        yield f"soft cap {facts['softcap']:g}"
    for name in ("bias", "alibi_slopes", "sinks", "q_descale", "k_descale", "v_descale"):
        if facts[name] is not None:
            yield f"{name} {_range(facts[name])}"
    if facts["dropout"] is not None:
        yield f"dropout {facts['dropout']['probability']:g} with {facts['dropout']['kept']:.3g} kept"
    for name, count in facts["not_finite"].items():
        yield f"{how_many(count, 'number')} of {name} not finite, where nothing attends"
    for name in facts.get("unused", ()):
        yield f"{name} is there and not used"
    if facts.get("ignored"):
        yield f"left out: {one_line(', '.join(facts['ignored']))}"


def _sizes(facts: dict[str, Any]) -> str:
    batch = "".join(f"{size} x " for size in facts["batch"])
    heads = how_many(facts["heads"], "head")
    shared = "" if facts["key_heads"] == facts["heads"] else f" ({facts['key_heads']} of keys)"
    queries, keys = how_many(facts["queries"], "query", "queries"), how_many(facts["keys"], "key")
    values = "" if facts["value_size"] == facts["head_size"] else f", values of {facts['value_size']}"
    return f"{batch}{heads}{shared} x {queries} x {keys} of size {facts['head_size']}{values}"


def _range(ends: dict[str, Any]) -> str:
    least, most = (f"{end:g}" if isinstance(end, float) else f"{end}" for end in (ends["least"], ends["most"]))
    return least if least == most else f"{least} to {most}"
