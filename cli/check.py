"""attnproof check: somebody's own attention function against exact values."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.again import replay_command
from cli.progress import progress_bar
from cli.text import (
    Columns,
    asked,
    choice,
    gibibytes,
    number,
    one_line,
    print_json,
    printable,
    seconds_of,
    show,
    width_of,
    words,
)
from verify.errors import InvalidRequestError
from verify.integers import how_many

if TYPE_CHECKING:
    from verify.check.run import Asked, Checked
    from verify.isolated.isolation import Target

FRAMEWORKS = ("numpy", "torch", "jax")

# Failed cases that are described on the terminal; all are in the files and in --json.
DESCRIBED = 4


def check(
    function: Annotated[
        str | None,
        typer.Argument(help="package.module:function or FILE.py:NAME.", metavar="FUNCTION", show_default=False),
    ] = None,
    suite: Annotated[str, typer.Option(help="quick, full, real, sharp or long.")] = "quick",
    mechanism: Annotated[
        str | None,
        typer.Option(help="What it claims to compute, as in NAME:order=3.  [default: softmax]", show_default=False),
    ] = None,
    arithmetic: Annotated[
        str | None, typer.Option(help="Formats of arrays and sums.  [default: float32]", show_default=False)
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="Axes: bhsd, bshd, hsd or sd.  [default: bhsd]", show_default=False)
    ] = None,
    causal: Annotated[bool, typer.Option("--causal", help="It is always causal.")] = False,
    grouped: Annotated[bool, typer.Option("--grouped", help="Keys may have fewer heads than queries.")] = False,
    backward: Annotated[
        bool,
        typer.Option("--backward", help="Check gradients: of torch or jax, or as it returns them of q, k, v, dout."),
    ] = False,
    scale: Annotated[
        str | None, typer.Option(help="The scale it always has.  [default: 1/sqrt(d)]", show_default=False)
    ] = None,
    takes: Annotated[
        str | None,
        typer.Option(help="Its parameters, as in mask=attn_mask,causal=is_causal.", show_default=False),
    ] = None,
    framework: Annotated[str, typer.Option(help="Whose arrays it takes: numpy, torch or jax.")] = "numpy",
    device: Annotated[str, typer.Option(help="Where torch puts them.")] = "cpu",
    python: Annotated[
        str | None,
        typer.Option(help="Interpreter it runs in; needs numpy alone.  [default: this one]", show_default=False),
    ] = None,
    timeout: Annotated[str, typer.Option(help="Seconds a call may take.")] = "60",
    memory: Annotated[str, typer.Option(help="GiB a call may take beyond what is loaded.")] = "4",
    leave_out: Annotated[str | None, typer.Option(help="Cases to leave out.", show_default=False)] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Run one case again, from the file it was written to.", show_default=False)
    ] = None,
    cases: Annotated[
        str | None,
        typer.Option(
            help="Cases of another suite instead: DEFINITION.json,WORKLOADS.jsonl of FlashInfer-Bench, or a folder of"
            " ONNX node tests.",
            metavar="PATH",
            show_default=False,
        ),
    ] = None,
    only: Annotated[str | None, typer.Option(help="Names of those cases, by default all.", show_default=False)] = None,
    gate: Annotated[
        str | None,
        typer.Option(help="Public rules to say what they would (see attnproof gates --sources).", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for cases that fail.")] = Path("failed"),
    exp: Annotated[
        str | None,
        typer.Option(
            help="Judge what stands in for exp instead: a polynomial as 1+0.7*x or c0,c1,..., fa4:3, a table, or a"
            " function as FUNCTION.",
            metavar="POLY",
            show_default=False,
        ),
    ] = None,
    range_: Annotated[str, typer.Option("--range", help="Of --exp, as in 0:1.")] = "0:1",
    base: Annotated[str, typer.Option(help="Of --exp: 2, e or another number.")] = "2",
    columns: Columns = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check an attention function.

    Runs it in a process of its own on a table of cases, and compares every row with exact values. Called with the names
    of scaled_dot_product_attention; what it does not take is left out, and said. Exit code 1 if a case failed.
    """
    from verify.check.run import Asked, check_function
    from verify.check.takes import read_takes
    from verify.gates.own import said_by
    from verify.gates.rules import RULES
    from verify.isolated.isolation import Target

    width = width_of(columns)
    asked("--framework", choice, framework, "framework", FRAMEWORKS)
    target = Target(
        "" if function is None else _placed(function),
        framework,
        device,
        sys.executable if python is None else python,
        seconds_of(timeout),
        asked("--memory", gibibytes, memory, "memory"),
    )
    suites = {"--suite": suite != "quick", "--leave-out": leave_out is not None}
    others = {"--gate": gate is not None, "--cases": cases is not None, "--backward": backward}
    if exp is not None:
        calls = {"--mechanism": mechanism, "--layout": layout, "--scale": scale, "--takes": takes, "--replay": replay}
        said_of_calls = {name: given is not None for name, given in calls.items()}
        _require_none("--exp", {**suites, **others, **said_of_calls, "--causal": causal, "--grouped": grouped})
        _judge_exponential(exp, range_, base, target, arithmetic, width, json_)
        return
    _require_none("no --exp", {"--range": range_ != "0:1", "--base": base != "2"})
    _require_none("--replay", suites if replay is not None else {})
    _require_none(f"--framework {framework}", {"--device": device != "cpu" and framework != "torch"})
    if function is None:
        raise InvalidRequestError("nothing to check", "a FUNCTION, or --exp", "name one; see attnproof check --help")
    rules = [RULES[asked("--gate", choice, name, "rule", RULES)] for name in words(gate)] if gate is not None else []
    fixed = None if scale is None else asked("--scale", number, scale, "scale")
    said = None if takes is None else asked("--takes", read_takes, words(takes))
    settings = {"mechanism": mechanism, "arithmetic": arithmetic, "layout": layout, "scale": fixed, "takes": said}
    given: dict[str, Any] = {name: setting for name, setting in settings.items() if setting is not None}
    given |= {name: True for name, flag in (("causal", causal), ("grouped", grouped), ("backward", backward)) if flag}
    own = Asked(target, suite, left_out=() if leave_out is None else words(leave_out), **given)
    _require_outputs(own, rules)
    files: dict[str, str] = {}
    if cases is not None or only is not None:
        from cli.cases import checked_on

        checked = checked_on(own, cases, only, arithmetic, replay)
    elif replay is not None:
        checked = _again(own, replay, given, rules)
    else:
        with progress_bar("cases") as update:
            checked = check_function(own, update)
        files = _written(checked, out)
    by_gates = said_by(rules, checked) if rules else {}
    if json_:
        from reports.checked import checked_record

        print_json(checked_record(checked, files, by_gates))
    else:
        _show(checked, files, by_gates, width)
        if cases is not None:
            from cli.cases import show_again

            show_again(checked, width)
    if not checked.passed:
        raise typer.Exit(1)


def _require_none(beside: str, given: Mapping[str, bool]) -> None:
    """Raise InvalidRequestError for an option that was given and says nothing here."""
    for option, said in given.items():
        if said:
            raise InvalidRequestError(f"{option} with {beside}", "options that apply", "leave it out")


def _judge_exponential(
    exp: str, range_: str, base: str, how: Target, arithmetic: str | None, width: int, json_: bool
) -> None:
    from cli.exponential import judged_exponential
    from verify.numbers.arithmetic import named_arithmetic

    if how.text:
        raise InvalidRequestError(f"{how.text} and --exp", "one of the two", "leave one out")
    format_ = named_arithmetic("float32" if arithmetic is None else arithmetic).inputs.name
    judged_exponential(exp, range_, base, width, json_, format_, how)


def _placed(function: str) -> str:
    """Return the text of a function; InvalidRequestError if it names none."""
    where, colon, name = function.rpartition(":")
    if not colon or not where or not all(part.isidentifier() for part in name.split(".")):
        raise InvalidRequestError(
            f"function {function!r}", "package.module:function or FILE.py:NAME", "name module and function"
        )
    if not where.endswith(".py"):
        return function
    if not Path(where).is_file():
        raise InvalidRequestError(f"{where}, which is no file", "a Python file", "check the path")
    return function


def _require_outputs(own: Asked, rules: Sequence[Any]) -> None:
    if rules and own.backward:
        raise InvalidRequestError("--gate with gradients", "outputs, which rules are about", "leave --gate out")


def _again(own: Asked, path: Path, given: dict[str, Any], rules: Sequence[Any]) -> Checked:
    """Return what becomes of the case in a file; what the command line does not say is as it was then."""
    from dataclasses import replace

    from verify.check.replay import read_replay
    from verify.check.run import check_problem
    from verify.mechanisms.registry import files_in

    kept = read_replay(path)
    settings = {name: value for name, value in kept.settings.items() if name not in given}
    programs = files_in([settings.get("mechanism", "")])
    if programs:  # a file of numbers starts no program that nobody has named
        raise InvalidRequestError(
            f"{path} of the mechanism {programs[0]}, a program", "one that you name too", "say it with --mechanism"
        )
    again = replace(own, **settings)
    _require_outputs(again, rules)
    return check_problem(again, kept.case, kept.problem, kept.dout)


def _written(checked: Checked, out: Path) -> dict[str, str]:
    """Write the cases that failed, and return the file of each by its name."""
    from verify.check.judgement import Verdict
    from verify.check.replay import replay_name, write_replay

    failed = [result for result in checked.of(Verdict.FAILED) if result.problem is not None]
    if failed:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidRequestError(
                f"folder {out} cannot be written ({error.strerror or error})",
                "one that can be",
                "choose another (--out)",
            ) from error
    files = {}
    for result in failed:
        path = out / replay_name(result)
        write_replay(result, checked.asked, path, overwrite=True)
        files[result.name] = str(path)
    return files


def _show(checked: Checked, files: dict[str, str], said: dict[str, dict[str, bool]], width: int) -> None:
    from reports.checked import agreement_lines, checked_table, failure_lines, gate_lines, sentence, undecided_lines
    from verify.check.judgement import Verdict

    print(checked_table(checked).plain(width))
    print()
    failed = checked.of(Verdict.FAILED)
    for result in failed[:DESCRIBED]:
        for line in failure_lines(result):
            show(one_line(line) if not line.startswith("  ") else f"  {one_line(line)}", width, "    ")
    if len(failed) > DESCRIBED:
        show(f"and {how_many(len(failed) - DESCRIBED, 'more case')} that failed", width)
    for line in (*undecided_lines(checked), *agreement_lines(checked), *gate_lines(checked, said)):
        show(one_line(line), width)
    show(one_line(sentence(checked)), width)
    if files:
        name, path = next(iter(files.items()))
        show(f"{how_many(len(files), 'case')} in {one_line(str(Path(path).parent))}; to run {name} again:", width)
        print(f"  {printable(replay_command(checked.asked, path))}")
