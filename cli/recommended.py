"""What recommend finds, and how it is printed: on inputs, or in runs that have it already."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.echo import echo, loaded
from cli.progress import Update, progress_bar
from cli.text import one_line, print_json, show
from verify.errors import InvalidRequestError, unknown
from verify.integers import how_many

if TYPE_CHECKING:
    from reports.answer import Answer
    from verify.inputs import InputSource
    from verify.recommend import Recommendation


@dataclass(frozen=True)
class Shown:
    """How results are printed."""

    style: str
    width: int
    json: bool


def recommend_on_inputs(
    sources: Sequence[InputSource], tolerance: float, mechanism: str | None, how: Mapping[str, Any], shown: Shown
) -> bool:
    """Print what is enough on each input, and return whether something is on all; how: for `verify.recommend`."""
    from reports.advice import advice_records, advice_table, overall_text, recommended_answer
    from reports.heat import answer_text
    from reports.sentence import answered
    from reports.text import csv_text
    from verify.mechanisms.loading import explained
    from verify.mechanisms.registry import RECOMMENDED, opened
    from verify.recommend import recommend

    varied = RECOMMENDED if mechanism is None else mechanism
    chosen, _ = opened(varied)
    plain = shown.style == "plain" and not shown.json
    found: list[Recommendation] = []
    documents = []
    for source in sources:
        problem, _, facts = loaded(source)
        with progress_bar(f"values of {chosen.axis}") as update, explained(chosen):
            one = recommend(
                problem,
                tolerance,
                mechanism=varied,
                progress=_named(update, source.name),
                **how,
            )
        found.append(one)
        documents.append(_document(source.name, facts, one))
        if plain:
            show(f"{one_line(source.name)}: {_asked_for(one)}", shown.width)
            show(echo(facts, shown.width), shown.width)
            print(advice_table(one).plain(shown.width))
            show(overall_text(one), shown.width)
    if shown.json:
        sentence = answered(recommended_answer(found), tolerance)
        print_json({"sentence": sentence, "inputs": documents})
    elif shown.style == "csv":
        print(csv_text(record for one in found for record in advice_records(one)))
    elif not plain:
        print("\n\n".join(advice_table(one).styled(shown.style, ()) for one in found))
    elif len(found) > 1:
        print(answer_text(recommended_answer(found), shown.width, tolerance))
    else:
        show(answered(recommended_answer(found), tolerance), shown.width)
    return all(one.enough for one in found)


def _named(update: Update, name: str) -> Callable[[int, int], None]:
    """Return what tells a progress bar of steps, with a name."""
    return lambda done, total: update(done, total, name)


def _asked_for(found: Recommendation) -> str:
    how = "exact values" if found.arithmetic is None else f"{found.form} in {found.arithmetic}"
    tried = f"{found.axis} up to {found.largest}"
    return f"{found.metric} error of at most {found.tolerance:g}, {how}, {found.mechanism}, {tried}"


def _document(input_: str, facts: dict[str, Any], found: Recommendation) -> dict[str, Any]:
    from verify.files.documents import plain

    document: dict[str, Any] = plain(
        {
            "input": input_,
            "problem": facts,
            **{name: value for name, value in asdict(found).items() if name not in ("input", "overall", "per_head")},
            **{name: value for name, value in asdict(found.overall).items() if name not in ("head", "cost")},
            "enough": found.enough,
            "per_head": [asdict(advice) for advice in found.per_head],
        }
    )
    return document


def recommend_of_runs(
    paths: Sequence[Path], tolerance: float, arithmetic: str | None, max_state: int | None, shown: Shown
) -> bool:
    """Print what is enough on the inputs of runs, and return whether something is on all of them."""
    from reports.answers import answers
    from reports.frame import load_runs
    from reports.heat import answer_records, answer_table, answer_text, interrupted_text
    from reports.sentence import answered
    from reports.text import csv_text
    from verify.arguments import checked_positive

    checked_positive("tolerance", tolerance)
    runs = load_runs(paths)
    answer = _chosen(answers(runs), arithmetic)
    if max_state is not None:
        answer = answer.holding(max_state)
    prefix = interrupted_text(len(runs.frame), runs.missing)
    if shown.json:
        from verify.files.documents import plain

        records = [plain(record) for record in answer_records([answer], [tolerance])]
        print_json({"sentence": prefix + answered(answer, tolerance), "answers": records})
    elif shown.style == "csv":
        print(csv_text(answer_records([answer], [tolerance])))
    elif shown.style == "plain":
        print(answer_text(answer, shown.width, tolerance, prefix))
        if runs.superseded:
            show(f"left out: {how_many(runs.superseded, 'older cell')} about the same things", shown.width)
    else:
        print(answer_table(answer, tolerance).styled(shown.style, ()))
    return answer.reaches(tolerance)


def _chosen(found: Sequence[Answer], arithmetic: str | None) -> Answer:
    """Return the answer in an arithmetic, by default the coarsest."""
    by_name = {str(answer.arithmetic): answer for answer in found}
    if not by_name:
        raise InvalidRequestError(
            "a run in which nothing was measured", "one with measured cells", "run the sweep again"
        )
    if arithmetic is not None and arithmetic not in by_name:
        raise unknown(f"arithmetic {arithmetic!r}, in which nothing of the run was measured", arithmetic, by_name)
    return found[-1] if arithmetic is None else by_name[arithmetic]
