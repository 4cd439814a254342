"""attnproof gates as a user meets it."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest

from tests.cli.running import run
from verify.gates.impostors import impostors
from verify.gates.rules import RULES

FAST = ("--tokens", "128,2048", "--head-sizes", "8", "--queries", "16")


def test_a_table_names_the_wrongest_function_that_each_rule_accepts(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, said = run(capsys, "gates", *FAST)
    assert (code, said) == (0, "")
    lines = printed.splitlines()
    assert lines[0] == "d = 8, logits of standard deviation 1, bfloat16+float32: 16 queries, seed 0"
    assert max(map(len, lines)) <= 80
    rows = {line.split()[0]: re.split(r"\s{2,}", line)[1:] for line in lines if line.split()[0] in RULES}
    assert list(rows) == list(RULES)
    assert rows["fla-ci"][1] == "zeros, 100 %"
    assert rows["flash-attention"] == ["rejects all", "rejects all"]
    assert "assert-close rejects a correct run too, at n = 128, 2,048" in lines


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code, printed, said = run(capsys, "gates", *arguments, "--json")
    assert (code, said) == (0, "")
    return json.loads(printed)


def test_every_acceptance_is_seen_again_by_its_own_command(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, *FAST, "--logit-stds", "0.3", "--seeds", "1", "--arithmetic", "float16+float32")
    assert [trial["input"] for trial in found["trials"]] == [
        "normal:d=8,n=128,std=0.3,seed=1,full",
        "normal:d=8,n=2048,std=0.3,seed=1,full",
    ]
    accepted = [
        (rule, entry) for trial in found["trials"] for rule, entries in trial["accepted"].items() for entry in entries
    ]
    assert len(accepted) > 5
    for rule, entry in accepted[:: len(accepted) // 3]:
        program, command, *arguments = shlex.split(entry["replay"])
        assert (program, command) == ("attnproof", "gates")
        (trial,) = document(capsys, *arguments)["trials"]
        assert trial["accepted"] == {rule: [entry]}


def test_a_printed_command_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    _, printed, _ = run(capsys, "gates", *FAST, "--rules", "fla-ci", "--columns", "40")
    assert max(map(len, printed.splitlines())) <= 40
    command = printed.partition("one of them again:\n")[2].replace("\\\n", " ")
    assert "--functions zeros" in " ".join(command.split())
    code, again, _ = run(capsys, *shlex.split(command)[1:])
    assert code == 0
    assert "zeros, 100 %" in again


def test_seeds_are_taken_together_and_shapes_apart(capsys: pytest.CaptureFixture[str]) -> None:
    few = ("--functions", "zeros,top-key", "--rules", "fla-ci,kernelbench", "--queries", "4")
    _, printed, _ = run(
        capsys, "gates", "--tokens", "300", "--head-sizes", "2,4", "--seeds", "0:2", *few, "--columns", "99"
    )
    headings = [line for line in printed.splitlines() if line.startswith("d = ")]
    assert headings == [
        f"d = {d}, logits of standard deviation 1, bfloat16+float32: 4 queries, any of the seeds 0, 1, 2"
        for d in (2, 4)
    ]
    found = document(capsys, "--tokens", "300", "--head-sizes", "2,4", "--seeds", "0:2", *few)
    assert [(trial["head_size"], trial["seed"]) for trial in found["trials"]] == [
        (d, seed) for d in (2, 4) for seed in (0, 1, 2)
    ]
    assert set(found["trials"][0]["errors"]) == {"zeros", "top-key"}
    assert list(found["trials"][0]["accepted"]) == ["fla-ci", "kernelbench"]


def test_sources_are_told_without_judging(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = run(capsys, "gates", "--sources")
    assert code == 0
    assert max(map(len, printed.splitlines())) <= 80
    for name in (*RULES, *impostors()):
        assert re.search(rf"^{re.escape(name)} ", printed, re.MULTILINE)
    found = document(capsys, "--sources", "--rules", "fla-ci")
    assert found["trials"] == []
    (rule,) = found["rules"]
    assert rule["project"] == "flash-linear-attention"
    assert rule["confirmed"] is True


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rules", "kernelbenc"], "did you mean kernelbench? (--rules)"),
        (["--functions", "zero"], "did you mean zeros? (--functions)"),
        (["--tokens", "0"], "tokens 0; expected integers from 1 to"),
        (["--tokens", "4194304"], "expected at most 33,554,432 numbers in q"),
        (["--queries", "0"], "queries '0'; expected an integer from 1 to 4096"),
        (["--logit-stds", "-1"], "logit standard deviation -1"),
        (["--logit-stds", "x"], "(--logit-stds)"),
        (["--arithmetic", "float64"], "with outputs in float64"),
        (["--arithmetic", "float8"], "unknown arithmetic 'float8'"),
        (["--logit-stds", "1e6", "--arithmetic", "float16+float32", "--tokens", "8"], "float16"),
        (["--sources", "--tokens", "8"], "--tokens with --sources, which judges nothing"),
    ],
)
def test_a_bad_request_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, told = run(capsys, "gates", *arguments)
    assert (code, printed, told.count("\n")) == (2, "", 1)
    assert said in told
