"""Functions whose parameters have names of their own, or stand behind **kwargs: --takes says which is which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.running import run
from verify.check.interface import interface
from verify.check.judgement import Verdict
from verify.check.replay import read_replay
from verify.check.suite import CASES
from verify.errors import InvalidRequestError
from verify.numbers.formats import FORMATS
from verify.problem import Problem
from verify.testing import assert_attention_close, cases

Array = np.ndarray[Any, np.dtype[Any]]

# A right function behind **kwargs, and the same with its mask the wrong way round.
PROGRAM = """
import numpy as np

def attention(q, k, v, **more):
    shown, after, factor = more.get("shown"), more.get("no_future", False), more.get("factor")
    groups = q.shape[-3] // k.shape[-3]
    k, v = np.repeat(k, groups, -3), np.repeat(v, groups, -3)
    s = q @ np.swapaxes(k, -1, -2) * q.dtype.type(q.shape[-1] ** -0.5 if factor is None else factor)
    if shown is not None:
        s = np.where(shown, s, -np.inf) if shown.dtype == bool else s + shown
    if after:
        s = np.where(np.tri(*s.shape[-2:], dtype=bool), s, -np.inf)
    top = s.max(-1, keepdims=True)
    w = np.exp(s - np.where(np.isfinite(top), top, 0))
    with np.errstate(all="ignore"):
        return (w @ v) / w.sum(-1, keepdims=True)

def inverted(q, k, v, **more):
    shown = more.get("shown")
    if shown is not None and shown.dtype == bool:
        more["shown"] = ~shown
    return attention(q, k, v, **more)

def needs(one, two, three, shown, no_future, factor, wide, ends):
    assert shown.shape == (*one.shape[:-1], two.shape[-2])
    assert wide[0] + wide[1] >= -2 and no_future in (False, True) and (ends <= two.shape[-2]).all()
    at = np.arange(two.shape[-2]) - np.arange(one.shape[-2])[:, None]
    near = ((at >= -wide[0]) | (wide[0] < 0)) & ((at <= wide[1]) | (wide[1] < 0))
    there = np.arange(two.shape[-2]) < ends.reshape(ends.shape + (1, 1, 1))
    shown = np.where(near & there, shown, False if shown.dtype == bool else -np.inf)
    return attention(one, two, three, shown=shown, no_future=no_future, factor=factor)

def named(*, keys, values, queries, hide=None, **more):
    return attention(queries, keys, values, shown=hide)
"""
KNOWN = {case.name for case in CASES}
SAID = "mask=shown,causal=no_future,scale=factor"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "behind.py"
    path.write_text(PROGRAM)
    return path


def verdicts(printed: str) -> dict[str, str]:
    return {case["case"]: case["verdict"] for case in json.loads(printed)["cases"]}


def test_what_stands_behind_kwargs_is_tried_once_it_is_named(
    program: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told = ("mask", "empty rows", "added mask", "bias", "given scale", "causal, few queries", "grouped heads, causal")
    others = ",".join(name for name in map(str, cases()) if name not in told and "," not in name and name in KNOWN)
    out = ("--leave-out", others, "--out", str(tmp_path / "failed"))
    # nothing is known of it: the mask that is the wrong way round is not seen, and that is said
    code, printed, _ = run(capsys, "check", f"{program}:inverted", "--suite", "sharp", *out[2:])
    assert code == 0
    assert "it takes **kwargs: what it understands there is tried only if it is named" in " ".join(printed.split())
    code, printed, _ = run(capsys, "check", f"{program}:attention", "--takes", SAID, "--grouped", "--json", *out)
    assert code == 0
    found = verdicts(printed)
    assert {found[name] for name in told} == {"passed"}
    code, printed, _ = run(capsys, "check", f"{program}:inverted", "--takes", SAID, *out)
    assert code == 1
    assert "Likely: the mask is inverted" in " ".join(printed.split())
    assert "**kwargs" not in printed
    # the file knows what was said
    assert read_replay(tmp_path / "failed" / "mask.npz").settings["takes"] == dict(
        part.split("=") for part in SAID.split(",")
    )
    code, printed, _ = run(capsys, "check", f"{program}:inverted", "--replay", str(tmp_path / "failed" / "mask.npz"))
    assert code == 1
    assert "the mask is inverted" in " ".join(printed.split())


def test_what_a_function_cannot_do_without_is_given_always(
    program: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = "q=one,k=two,v=three,mask=shown,causal=no_future,scale=factor,window=wide,lengths=ends"
    code, printed, _ = run(
        capsys, "check", f"{program}:needs", "--takes", said, "--json", "--out", str(tmp_path / "failed")
    )
    found = verdicts(printed)
    assert code == 0
    for name in ("random", "mask", "causal", "given scale", "window", "lengths", "NaN in a key"):
        assert found[name] == "passed"


def test_what_changes_nothing_is_what_is_given_instead() -> None:
    needed = [(name, "KEYWORD_ONLY", False) for name in ("a", "b", "c", "d", "e", "f", "g", "h", "i")]
    roles = ("mask", "bias", "scale", "causal", "softcap", "window", "sinks", "lengths", "grouped")
    said = dict(zip(roles, "abcdefghi", strict=True))
    parameters = [(name, "POSITIONAL_ONLY", False) for name in ("x", "y", "z")] + needed
    own = interface(parameters, "bhsd", takes=said)
    q = np.ones((2, 3, 5, 16))
    call = own.call(Problem(q, q, q), FORMATS["float32"])
    assert call.named["a"].all()
    assert call.named["a"].shape == (2, 3, 5, 5)
    assert not call.named["b"].any()
    assert call.named["g"].tolist() == [-np.inf] * 3
    assert call.named["h"].tolist() == [5, 5]
    assert call.keywords == {"c": 0.25, "d": False, "e": None, "f": [-1, -1], "i": False}
    told = own.call(Problem(q, q, q, scale=0.5, window=(2, 0)), FORMATS["float32"])
    assert (told.keywords["c"], told.keywords["f"]) == (0.5, [2, 0])
    assert own.call(Problem(q, q, q, lengths=[3, 4]), FORMATS["float32"]).named["h"].tolist() == [3, 4]


def test_arrays_by_name(program: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ("check", f"{program}:named", "--suite", "sharp", "--out", str(tmp_path / "failed"), "--takes")
    assert run(capsys, *arguments, "q=queries,v=values,k=keys,mask=hide")[0] == 0
    assert run(capsys, *arguments, "q=values,k=keys,v=queries")[0] == 1


def test_a_usual_name_may_mean_something_else() -> None:
    parameters = [(name, "POSITIONAL_OR_KEYWORD", name in "qkv") for name in ("q", "k", "v")]
    parameters.append(("mask", "KEYWORD_ONLY", True))
    assert interface(parameters, "bhsd").names == {"mask": "mask"}
    assert interface(parameters, "bhsd", takes={"bias": "mask"}).names == {"bias": "mask"}


def test_of_an_unknown_signature_only_what_is_said_is_known() -> None:
    assert set(interface(None, "bhsd").names) == {"mask", "scale", "causal"}
    own = interface(None, "bhsd", takes={"mask": "m", "q": "a", "k": "b", "v": "c"})
    assert (own.names, own.arrays, own.grouped) == ({"mask": "m"}, ("a", "b", "c"), False)
    assert interface(None, "bhsd", takes={"grouped": "gqa"}).flag == "gqa"


def test_in_tests_of_ones_own() -> None:
    def attention(a: Array, b: Array, c: Array, /, *, flip: Array | None = None, **more: Any) -> Array:
        logits = a @ b.swapaxes(-1, -2) * a.dtype.type(a.shape[-1] ** -0.5)
        if flip is not None:
            logits = np.where(~flip, logits, -np.inf) if flip.dtype == bool else logits + flip
        top = logits.max(axis=-1, keepdims=True)
        weights = np.exp(logits - np.where(np.isfinite(top), top, 0))
        return np.asarray(weights @ c / weights.sum(axis=-1, keepdims=True))

    (mask,) = (case for case in cases() if str(case) == "mask")
    assert mask.verdict(attention) == Verdict.LEFT_OUT
    with pytest.raises(AssertionError, match="rows are off"):
        mask.verdict(attention, takes={"mask": "flip"})
    assert_attention_close(attention, suite="sharp", takes={"mask": "flip"})
    with pytest.raises(InvalidRequestError, match="takes of type list"):
        assert_attention_close(attention, suite="sharp", takes=["mask"])


@pytest.mark.parametrize(
    ("name", "said", "given"),
    [
        ("attention", "mask", "takes 'mask'; expected ROLE=PARAMETER"),
        ("attention", "maks=shown", "did you mean mask?"),
        ("attention", "mask=", "takes mask=''"),
        ("attention", "mask=shown here", "takes mask='shown here'"),
        ("attention", "mask=shown,mask=other", "takes with mask twice"),
        ("attention", "mask=shown,bias=shown", "takes with shown twice"),
        ("attention", "mask=q", "takes mask=q"),
        ("needs", "mask=shwn", "did you mean shown?"),
        ("needs", "mask=shown", "a function that needs no_future, factor, wide, ends"),
        ("needs", "mask=two", "takes mask=two, a parameter that goes by place"),
        ("needs", "q=one,mask=shown", "takes with q and without k and v"),
        ("named", "mask=hide", "a function of (keys, values, queries, hide, more)"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    name: str, said: str, given: str, program: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, printed, message = run(
        capsys, "check", f"{program}:{name}", "--takes", said, "--out", str(tmp_path / "failed")
    )
    assert (code, printed) == (2, "")
    assert given in message
    assert message.count("\n") == 1


def test_a_file_that_says_nonsense_is_refused(
    program: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path, q = tmp_path / "wrong.npz", np.ones((1, 1, 2, 2))
    for takes in (3, {"maks": "shown"}, {"mask": ["shown"]}):
        np.savez(path, q=q, k=q, v=q, attnproof_check=np.array(json.dumps({"case": "random", "takes": takes})))
        code, _, message = run(capsys, "check", f"{program}:attention", "--replay", str(path))
        assert (code, message.count("\n")) == (2, 1)
        assert "takes" in message
