"""What became of a function that was checked: a table of cases, what fails with its worst elements, and a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from reports.text import Table, error_text, percent_text
from verify.check.checking import CaseResult
from verify.check.judgement import FACTOR, Verdict
from verify.check.run import Checked
from verify.files.documents import plain
from verify.integers import how_many


def checked_table(checked: Checked) -> Table:
    """Return a row for every case that could be put to the function.

    x rounding: the largest error of a row, in what rounding explains.  x usual: all errors, in those of the mechanism's
    usual form in the same arithmetic.  ulps: the median.  off by: relative to the exact output.
    """
    columns = ["case", "verdict", "x rounding", "x usual", "ulps", "off by"]
    rows = [_row(result) for result in checked.results if result.verdict != Verdict.LEFT_OUT]
    return Table(columns, rows)


def _row(result: CaseResult) -> list[str]:
    own = result.judgement
    if own is None:
        return [result.name, str(result.verdict), "", "", "", ""]
    usual = "" if own.conventional is None else f"{own.conventional:.2g}"
    return [
        result.name,
        str(result.verdict),
        f"{own.ratio:.2g}",
        usual,
        f"{own.ulps:.3g}",
        percent_text(own.relative),
    ]


def failure_lines(result: CaseResult) -> Iterator[str]:
    """Yield what is to be said of a case that failed: why, what it may be, and its worst elements."""
    yield f"{result.name} ({result.reason}): {result.text}"
    if result.explanations:
        yield f"  it would be right if this were so: {result.explanations[0].words}"
    for worst in () if result.judgement is None else result.judgement.worst[:3]:
        expected = f"{worst.expected:.9g} within {error_text(worst.radius)}"
        yield f"  element {list(worst.index)}: got {worst.got:.9g}, expected {expected}"


def undecided_lines(checked: Checked) -> Iterator[str]:
    """Yield the cases that cannot tell right from wrong, and those that could not be put to the function."""
    for result in checked.of(Verdict.UNDECIDABLE):
        yield f"undecidable: {result.name}: {result.text}"
    for result in checked.of(Verdict.PASSED):
        if result.text:
            yield f"undecidable in part: {result.name}: {result.text}"
    reasons = Counter(result.text for result in checked.of(Verdict.LEFT_OUT))
    for reason, count in reasons.items():
        yield f"left out: {how_many(count, 'case')}, as {reason}"
    if checked.interface is not None and checked.interface.unsaid:
        yield "it takes **kwargs: what it understands there is tried only if it is named, as in --takes mask=attn_mask"


def agreement_lines(checked: Checked) -> Iterator[str]:
    """Yield where bitwise agreement is a fair demand of outputs, and how many agree."""
    own = [result.judgement for result in checked.results if result.judgement is not None]
    elements, fair, agreeing = (sum(getattr(one, name) for one in own) for name in ("elements", "fair", "agreeing"))
    if not elements:
        return
    if not fair:
        yield "rounding may go either way in every element that was judged: bitwise agreement is no fair demand"
        return
    share = percent_text(fair / elements)
    yield f"bitwise agreement is a fair demand of {share} of the elements: {agreeing:,} of {fair:,} agree"


def gate_lines(checked: Checked, said: Mapping[str, Mapping[str, bool]]) -> Iterator[str]:
    """Yield what public rules would have said, beside our verdicts; said: by case and rule, whether it accepts."""
    verdicts = {result.name: result.verdict for result in checked.results}
    rules = dict.fromkeys(rule for case in said.values() for rule in case)
    for rule in rules:
        for verdict, word in ((Verdict.FAILED, "accepts"), (Verdict.PASSED, "rejects")):
            own = [case for case in said if verdicts[case] == verdict]
            other = [case for case in own if said[case][rule] == (word == "accepts")]
            names = f": {', '.join(other[:4])}{', ...' if len(other) > 4 else ''}" if other else ""
            yield f"gate {rule} {word} {len(other)} of {how_many(len(own), 'case')} that {verdict} here{names}"


def sentence(checked: Checked) -> str:
    """Return what became of it all."""
    asked, failed, passed = checked.asked, checked.of(Verdict.FAILED), checked.of(Verdict.PASSED)
    what = f"{checked.member.name} in {checked.arithmetic.name}"
    name = f"{'the gradient of ' if asked.backward else ''}{asked.target.text}"
    tried = len(checked.results) - len(checked.of(Verdict.LEFT_OUT))
    undecidable = len(checked.of(Verdict.UNDECIDABLE))
    more = f", {undecidable} undecidable" if undecidable else ""
    if failed:
        cause = ""
        if checked.cause is not None:
            words, count = checked.cause
            cause = f" Likely: {words}; that explains {count} of {len(failed)}."
        return f"{name} is not {what}: {how_many(len(failed), 'case')} of {tried} failed{more}.{cause}"
    if not checked.passed:
        return f"{name}: nothing that tells right from wrong was decided in {how_many(tried, 'case')}."
    return f"{name} passes as {what}: {len(passed)} of {how_many(tried, 'case')}{more}."


def checked_record(
    checked: Checked, replays: Mapping[str, str], said: Mapping[str, Mapping[str, bool]]
) -> dict[str, Any]:
    """Return everything as a document.

    replays: the file that each failed case was written to, by its name.  said: by case and rule, what gates accept.
    """
    asked = checked.asked
    return {
        "function": asked.target.text,
        "framework": asked.target.framework,
        "suite": asked.suite,
        "takes": {} if checked.interface is None else dict(checked.interface.names),
        "mechanism": checked.member.of,
        "member": checked.member.name,
        "arithmetic": checked.arithmetic.name,
        "backward": asked.backward,
        "passed": checked.passed,
        "factor_allowed": FACTOR,
        "cause": None if checked.cause is None else checked.cause[0],
        "cases": [
            _record(result, replays.get(result.name)) | {"gates": said.get(result.name, {})}
            for result in checked.results
        ],
    }


def _record(result: CaseResult, replay: str | None) -> dict[str, Any]:
    own = result.judgement
    numbers = {} if own is None else {name: plain(value) for name, value in vars(own).items() if name != "verdict"}
    numbers.pop("reason", None)
    worst = numbers.pop("worst", ())
    return {
        "case": result.name,
        "reason": result.reason,
        "verdict": str(result.verdict),
        "text": result.text,
        "seconds": round(result.seconds, 3),
        **numbers,
        "explanations": [one.words for one in result.explanations],
        "worst": worst,
        "replay": replay,
    }
