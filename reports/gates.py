"""What public rules let through: tables for a terminal, and records."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

from reports.terminal import wrapped
from reports.text import Table, count_text, percent_text
from verify.arguments import shortest
from verify.integers import how_many

if TYPE_CHECKING:
    from verify.gates.impostors import Impostor
    from verify.gates.judged import Answer, Judged, Trial
    from verify.gates.rules import Judge


def gate_text(found: Sequence[Judged], rules: Sequence[Judge], width: int) -> str:
    """Return, for each head size, logit standard deviation and arithmetic, a heading, a table and notes."""
    parts = []
    for shape, group in groupby(found, lambda one: _shape(one.trial)):
        trials = list(group)
        heading = f"{shape}: {_of_seeds(trials)}"
        lines = [wrapped(line, width, later="  ") for line in (heading, *_notes(trials, rules))]
        parts.append(
            "\n".join([lines[0], gate_table(trials, rules).plain(width), *lines[1:], *_again(trials, rules, width)])
        )
    return "\n\n".join(parts)


def gate_table(found: Sequence[Judged], rules: Sequence[Judge]) -> Table:
    """Return by rule and tokens the wrongest function that is accepted with any of the seeds, and its true error."""
    tokens = list(dict.fromkeys(one.trial.source.tokens for one in found))
    rows = [[rule.name, *(_cell(_wrongest(found, rule.name, n)) for n in tokens)] for rule in rules]
    return Table(["rule", *(f"n = {count_text(n)}" for n in tokens)], rows, keys=1)


def rule_table(rules: Sequence[Judge]) -> Table:
    """Return what each rule asks, and where it stands."""
    return Table(
        ["rule", "what it asks, and where it stands"], [[r.name, f"{r.words} ({r.source.text})"] for r in rules]
    )


def impostor_table(impostors: Sequence[Impostor]) -> Table:
    """Return what each impostor is."""
    return Table(["function", "what it is"], [[impostor.name, impostor.words] for impostor in impostors])


def gate_document(found: Sequence[Judged], rules: Sequence[Judge], impostors: Sequence[Impostor]) -> dict[str, Any]:
    """Return everything, with the command that shows each acceptance again; an error that is not finite is null."""
    return {
        "rules": [_rule_record(rule) for rule in rules],
        "functions": {impostor.name: impostor.words for impostor in impostors},
        "trials": [_trial_record(one, rules) for one in found],
    }


def replay(trial: Trial, rule: str, impostor: str) -> str:
    """Return the command that shows again what a rule says of one function."""
    given = {
        "--tokens": trial.source.tokens,
        "--head-sizes": trial.source.head_size,
        "--logit-stds": shortest(trial.source.logit_std),
        "--arithmetic": trial.arithmetic,
        "--queries": trial.queries,
        "--seeds": trial.source.seed,
        "--rules": rule,
        "--functions": impostor,
    }
    return shlex.join(["attnproof", "gates", *(str(word) for pair in given.items() for word in pair)])


def _shape(trial: Trial) -> str:
    source = trial.source
    return f"d = {source.head_size}, logits of standard deviation {shortest(source.logit_std)}, {trial.arithmetic}"


def _of_seeds(found: Sequence[Judged]) -> str:
    seeds = list(dict.fromkeys(one.trial.source.seed for one in found))
    queries = how_many(max(one.trial.rows for one in found), "query", "queries")
    return f"{queries}, {'seed' if len(seeds) == 1 else 'any of the seeds'} {', '.join(map(str, seeds))}"


def _wrongest(found: Sequence[Judged], rule: str, tokens: int) -> Answer | None:
    accepted = [answer for one in found if one.trial.source.tokens == tokens for answer in one.accepted(rule)]
    return max(accepted, key=lambda answer: answer.error, default=None)


def _cell(answer: Answer | None) -> str:
    return "rejects all" if answer is None else f"{answer.impostor}, {percent_text(answer.error)}"


def _notes(found: Sequence[Judged], rules: Sequence[Judge]) -> Iterator[str]:
    plain, limit = max(one.plain_error for one in found), found[0].trial.limit
    yield f"a plain run is up to {percent_text(plain)} off; more than {percent_text(limit)} counts as wrong"
    for rule in rules:
        refused = list(dict.fromkeys(one.trial.source.tokens for one in found if one.correct[rule.name] is False))
        if refused:
            yield f"{rule.name} rejects a correct run too, at n = {', '.join(map(count_text, refused))}"


def _again(found: Sequence[Judged], rules: Sequence[Judge], width: int) -> Iterator[str]:
    """Yield the command that shows one acceptance again, the one of the first rule that accepts any."""
    accepted = ((one, rule.name) for rule in rules for one in reversed(found) if one.accepted(rule.name))
    for one, rule in islice(accepted, 1):
        command = replay(one.trial, rule, one.accepted(rule)[0].impostor)
        yield "one of them again:"
        yield wrapped(command, width - len(" \\"), "  ", "    ").replace("\n", " \\\n")


def _rule_record(rule: Judge) -> dict[str, Any]:
    source = rule.source
    return {
        "name": rule.name,
        "words": rule.words,
        "project": source.project,
        "place": source.place,
        "version": source.version,
        "confirmed": source.confirmed,
    }


def _trial_record(one: Judged, rules: Sequence[Judge]) -> dict[str, Any]:
    trial = one.trial
    return {
        "input": trial.source.name,
        "rows": f"0:{trial.rows}",
        "head_size": trial.source.head_size,
        "tokens": trial.source.tokens,
        "logit_std": trial.source.logit_std,
        "arithmetic": trial.arithmetic,
        "seed": trial.source.seed,
        "plain_error": _finite(one.plain_error),
        "doubt": _finite(one.doubt),
        "wrong_beyond": trial.limit,
        "correct_runs_accepted": dict(one.correct),
        "errors": {answer.impostor: _finite(answer.error) for answer in one.answers},
        "accepted": {rule.name: _accepted(one, rule.name) for rule in rules},
    }


def _accepted(one: Judged, rule: str) -> list[Mapping[str, Any]]:
    return [
        {"function": a.impostor, "error": _finite(a.error), "replay": replay(one.trial, rule, a.impostor)}
        for a in one.accepted(rule)
    ]


def _finite(error: float) -> float | None:
    return error if math.isfinite(error) else None
