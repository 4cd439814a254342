"""Entries of input files: under every usual name, as named, left out on request, or refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from verify.errors import InvalidRequestError
from verify.inputs import FileInput
from verify.inputs.roles import USUAL
from verify.problem import Problem

RNG = np.random.default_rng(85)
Q, K, V = (RNG.standard_normal((2, 4, 6, 8)).astype(np.float32) for _ in range(3))
KEEP = RNG.random((2, 4, 6, 6)) < 0.7
BIAS = RNG.standard_normal((4, 6, 6)).astype(np.float32)
HEADS = np.array([0.5, 0.25, -1.0, 2.0], np.float32)
OF_Q, OF_K = np.repeat([0, 1], 3)[None].repeat(2, 0), np.repeat([1, 0], 3)[None].repeat(2, 0)


def read(tmp_path: Path, entries: dict[str, Any], **options: Any) -> Problem:
    np.savez(tmp_path / "a.npz", **entries)
    return FileInput((str(tmp_path / "a.npz"),), **options).load()


def refused(tmp_path: Path, entries: dict[str, Any], *messages: str, **options: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(tmp_path, entries, **options)
    assert all(message in str(caught.value) for message in messages), str(caught.value)
    assert "\n" not in str(caught.value)


BASE: dict[str, Any] = {"q": Q, "k": K, "v": V}

# By role, what a file holds and the part of the problem that it is.
PARTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "mask": (KEEP, {"mask": KEEP}),
    "bias": (BIAS, {"bias": BIAS}),
    "scale": (0.5, {"scale": 0.5}),
    "causal": (True, {"causal": True}),
    "softcap": (np.float32(5), {"softcap": 5.0}),
    "window": (np.array([2, -1]), {"window": (2, None)}),
    "sinks": (HEADS, {"sinks": HEADS}),
    "alibi_slopes": (HEADS, {"alibi_slopes": HEADS}),
    "lengths": (np.array([6, 4]), {"lengths": [6, 4]}),
    "segments": (OF_Q, {"segments": OF_Q}),
    "q_descale": (HEADS, {"q": Q * HEADS[:, None, None]}),
    "k_descale": (HEADS, {"k": K * HEADS[:, None, None]}),
    "v_descale": (HEADS, {"v": V * HEADS[:, None, None]}),
    "dropout_mask": (KEEP, {"dropout_mask": KEEP}),
    "dropout": (0.0, {}),
    "layout": ("bhsd", {}),
    "alignment": ("top-left", {}),
    "dout": (V, {}),
}


@pytest.mark.parametrize(("role", "name"), [(role, name) for role in PARTS for name in USUAL[role]])
def test_every_usual_name_means_its_part(role: str, name: str, tmp_path: Path) -> None:
    stored, part = PARTS[role]
    expected = Problem(**{**BASE, **part}).digest
    assert read(tmp_path, {**BASE, name: stored}).digest == expected
    assert read(tmp_path, {**BASE, "odd name": stored}, keys=(f"{role}=odd name",)).digest == expected
    assert read(tmp_path, {**BASE, name: stored}, ignore=(name,)).digest == Problem(**BASE).digest
    refused(tmp_path, {**BASE, "odd name": stored}, "odd name", "--ignore odd name")


def test_positions_pairs_of_segments_and_tokens_under_other_names(tmp_path: Path) -> None:
    names = {"query": Q, "key": K, "value": V}
    assert read(tmp_path, names).digest == Problem(**BASE).digest
    at = np.arange(6) + 1
    for name in USUAL["positions"]:
        problem = Problem(**BASE, causal=True, positions=np.tile(at, (2, 1)))
        assert read(tmp_path, {**BASE, name: at, "causal": True}).digest == problem.digest
    for of_q, of_k in zip(USUAL["q_segment_ids"], USUAL["kv_segment_ids"], strict=True):
        problem = Problem(**BASE, segments=(OF_Q, OF_K))
        assert read(tmp_path, {**BASE, of_q: OF_Q, of_k: OF_K}).digest == problem.digest
        refused(tmp_path, {**BASE, of_q: OF_Q}, "segments of queries and keys")
        refused(tmp_path, {**BASE, of_q: OF_Q, of_k: OF_K, "segments": OF_Q}, "segments")


DOUBTS = {
    "sliding_window": ("libraries differ by one", "window_size"),
    "local_window_size": ("libraries differ by one", "window_size"),
    "key_padding_mask": ("True means hidden there", "inverse"),
    "Q": ("Q, not known here",),
    "block_table": ("--ignore block_table",),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_names_that_mean_different_things_are_explained(name: str, tmp_path: Path) -> None:
    refused(tmp_path, {**BASE, name: np.array(3)}, name, *DOUBTS[name])
    assert read(tmp_path, {**BASE, name: np.array(3)}, ignore=(name,)).digest == Problem(**BASE).digest


def test_metadata_is_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    source = FileInput((str(path),))
    texts = {"softmax_scale": "0.5", "is_causal": "True", "window_size": "(2, 0)", "softcap": "30", "format": "pt"}
    save_file(BASE, path, metadata=texts)
    expected = Problem(**BASE, scale=0.5, causal=True, window=(2, 0), softcap=30.0)
    assert source.load().digest == expected.digest
    for texts, message in (
        ({"note": "mine"}, "with note, not known here"),
        ({"mask": "all"}, "mask, which is a text; expected an array"),
        ({"window": "2"}, "window '2'; expected two integers"),
        ({"scale": "1_0"}, "scale '1_0'"),
        ({"format": "odd"}, "format 'odd'"),
        ({"q": "here"}, "with q twice"),
    ):
        save_file(BASE, path, metadata=texts)
        with pytest.raises(InvalidRequestError, match="expected") as caught:
            source.load()
        assert message in str(caught.value)
    save_file(BASE, path, metadata={"note": "mine"})
    assert FileInput((str(path),), ignore=("note",)).load().digest == Problem(**BASE).digest


def test_what_is_said_twice_must_be_the_same(tmp_path: Path) -> None:
    said = {**BASE, "softmax_scale": 0.5, "is_causal": True, "alignment": "top-left", "layout": "bhsd"}
    same = {"scale": 0.5, "causal": True, "alignment": "top-left", "layout": "bhsd"}
    assert read(tmp_path, said, **same).digest == Problem(**BASE, scale=0.5, causal=True).digest
    others = {"scale": 0.25, "causal": False, "alignment": "bottom-right", "layout": "bshd"}
    names = {"scale": "softmax_scale", "causal": "is_causal"}
    for role, other in others.items():
        refused(
            tmp_path, said, f"{role} {other} where the file says", f"--ignore {names.get(role, role)}", **{role: other}
        )
    refused(tmp_path, {**BASE, "scale": 0.5, "sm_scale": 0.5}, "scale and sm_scale, which both mean scale")
    refused(tmp_path, {**BASE, "attn_mask": BIAS, "bias": BIAS}, "both added to logits")
    refused(tmp_path, {**BASE, "Q": Q}, "Q and q, which both mean q", keys=("q=Q",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": ("q=nosuch",)}, "without nosuch: it holds k, q, v"),
        ({"keys": ("queries=q",)}, "the role 'queries'; expected one of q, k, v"),
        ({"keys": ("q=q", "q=k")}, "each role and each name once"),
        ({"keys": ("q=q", "k")}, "ROLE=NAME"),
        ({"keys": ("a", "b")}, "three different names"),
        ({"ignore": ("nosuch",)}, "without nosuch"),
        ({"ignore": ("q",)}, "without q: it holds"),
        ({"layout": "sbhd"}, "layout 'sbhd'; expected one of bhsd, bshd, packed"),
        ({"bits": "float7"}, "bits 'float7'"),
        ({"bits": "bfloat16"}, "bits bfloat16 with q float32"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    refused(tmp_path, BASE, message, **options)


@pytest.mark.parametrize("kind", [np.float32, np.int32, np.uint8, ml_dtypes.bfloat16])
def test_masks_of_zeros_and_ones_have_two_readings(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for mask in (KEEP, np.zeros_like(KEEP), np.ones_like(KEEP)):
        save_file({**BASE, "attn_mask": mask.astype(kind)}, path)
        with pytest.raises(
            InvalidRequestError, match=r"two readings.*attn_mask == 1 as booleans.*--keys bias=attn_mask"
        ):
            FileInput((str(path),)).load()
        added = FileInput((str(path),), keys=("bias=attn_mask",)).load()
        assert added.digest == Problem(**BASE, bias=mask.astype(np.float32)).digest


def test_masks_that_are_added_to_logits(tmp_path: Path) -> None:
    for hidden in (-np.inf, np.finfo(np.float32).min, -1e4):
        mask = np.where(KEEP, 0, hidden).astype(np.float32)
        for name in USUAL["mask"]:
            assert read(tmp_path, {**BASE, name: mask}).digest == Problem(**BASE, bias=mask).digest
    refused(tmp_path, {**BASE, "mask": np.where(KEEP, 0, -1)}, "mask of type int64")
    refused(tmp_path, {**BASE, "mask": np.full((6, 6), np.nan)}, "bias holds nan")
    refused(tmp_path, {**BASE, "attn_bias": KEEP}, "a bias of type bool", "as mask")
    integers = np.array([[1] * 6, [1] * 4 + [0] * 2])
    refused(tmp_path, {**BASE, "attention_mask": integers}, "store attention_mask[:, None, None, :] == 1")


def test_axes_of_masks_that_may_belong_to_the_batch(tmp_path: Path) -> None:
    square: dict[str, Any] = {name: RNG.standard_normal((3, 3, 3, 2)) for name in "qkv"}
    keep = np.tri(3, dtype=bool)
    refused(tmp_path, {**square, "mask": keep}, "may be the batch or queries", "[batch, 1, 1, keys]")
    refused(
        tmp_path, {**square, "mask": np.stack([keep] * 3)}, "may be the batch or heads", "[batch, 1, queries, keys]"
    )
    refused(tmp_path, {**square, "bias": keep / 2}, "bias of shape [3, 3]")
    assert (
        read(tmp_path, {**square, "mask": keep[None, None]}).digest == Problem(**square, mask=keep[None, None]).digest
    )
    one = {name: array[0] for name, array in square.items()}  # without a batch nothing is in doubt
    assert read(tmp_path, {**one, "mask": keep}).digest == Problem(**one, mask=keep).digest
    assert read(tmp_path, {**one, "mask": keep[None, None], "lengths": [2]}).lengths == 2


def test_activations_of_bits(tmp_path: Path) -> None:
    for name, width in {"bfloat16": 16, "float16": 16, "float8_e4m3fn": 8, "float8_e5m2": 8}.items():
        kind = np.dtype(np.float16 if name == "float16" else getattr(ml_dtypes, name))
        narrow = {label: array.astype(kind) for label, array in BASE.items()}
        expected = Problem(**narrow)
        for integer in (f"uint{width}", f"int{width}", f">u{width // 8}"):
            bits = {label: array.view(f"u{width // 8}").astype(integer) for label, array in narrow.items()}
            assert read(tmp_path, bits, bits=name).digest == expected.digest
            assert read(tmp_path, bits, bits=name).formats == dict.fromkeys("qkv", name)
            refused(tmp_path, bits, "which may be bit patterns", f"{name}")
            wrong = "bfloat16" if width == 8 else "float8_e5m2"
            refused(tmp_path, bits, f"as bits of {wrong}", bits=wrong)
        if name in ("bfloat16", "float8_e4m3fn"):  # numpy writes them as bytes without a name
            assert read(tmp_path, narrow, bits=name).digest == expected.digest
            refused(tmp_path, narrow, "which may be bit patterns", "--bits")
        save_file(narrow, tmp_path / "a.safetensors")
        problem = FileInput((str(tmp_path / "a.safetensors"),)).load()
        assert (problem.digest, problem.formats) == (expected.digest, expected.formats)
    whole = {label: np.round(4 * array).astype(np.int32) for label, array in BASE.items()}
    assert read(tmp_path, whole).digest == Problem(**whole).digest
    refused(tmp_path, {**BASE, "v": KEEP}, "v of type bool")


def test_pickles_are_told_how_to_become_tensors(tmp_path: Path) -> None:
    for name in ("a.pt", "a.pth", "a.bin", "a.npz"):
        (tmp_path / name).write_bytes(b"\x80\x02}q\x00.")
        with pytest.raises(InvalidRequestError, match=r"safetensors\.torch\.save_file\(torch\.load\("):
            FileInput((str(tmp_path / name),)).load()
    refused(tmp_path, {**BASE, "frobnicate": np.array([{}], dtype=object)}, "frobnicate, not known here")
    held = {**BASE, "frobnicate": np.array([{}], dtype=object)}
    assert read(tmp_path, held, ignore=("frobnicate",)).digest == Problem(**BASE).digest
    refused(tmp_path, {**BASE, "mask": np.array([{}], dtype=object)}, "pickled objects")


def test_members_that_are_no_arrays_or_stand_twice(tmp_path: Path) -> None:
    for members, message in (
        ({"mask": b"no array"}, "mask in"),
        ({"q": b"no array"}, "with q twice"),
        ({"archive/data.pkl": b""}, "pickled objects"),
    ):
        np.savez(tmp_path / "a.npz", **BASE)
        with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        with pytest.raises(InvalidRequestError, match=message):
            FileInput((str(tmp_path / "a.npz"),)).load()
    buffer = io.BytesIO()
    np.savez(buffer, **BASE)
    (tmp_path / "a.npy").write_bytes(buffer.getvalue())
    with pytest.raises(InvalidRequestError, match="which is an archive"):
        FileInput((str(tmp_path / "a.npy"),) * 3).load()


def test_gradients_of_outputs_are_kept_beside_the_problem(tmp_path: Path) -> None:
    dout = RNG.standard_normal((2, 4, 6, 8))
    np.savez(tmp_path / "a.npz", **BASE, dO=dout)
    found = FileInput((str(tmp_path / "a.npz"),)).load_all()
    np.testing.assert_array_equal(found.others["dout"], dout)
    assert (found.problem.digest, found.layout) == (Problem(**BASE).digest, "bhsd")
    refused(tmp_path, {**BASE, "do": dout[:, :, :5]}, "dout of shape [2, 4, 5, 8]; expected that of the output")
    refused(tmp_path, {**BASE, "do": dout * np.inf}, "dout holds")
    swapped = {name: array.swapaxes(1, 2) for name, array in {**BASE, "dout": dout}.items()}
    np.savez(tmp_path / "a.npz", **swapped)
    found = FileInput((str(tmp_path / "a.npz"),), layout="bshd").load_all()
    np.testing.assert_array_equal(found.others["dout"], dout)
    assert (found.problem.digest, found.layout) == (Problem(**BASE).digest, "bshd")


def test_windows_beyond_every_position(tmp_path: Path) -> None:
    for dtype, end in ((np.uint64, 2**64 - 1), (np.int64, 2**62), (np.int64, -2)):
        refused(
            tmp_path, {**BASE, "window_size": np.array([end, 0], dtype)}, f"a window of {end}; expected whole numbers"
        )


def test_dropout_needs_its_mask(tmp_path: Path) -> None:
    assert read(tmp_path, {**BASE, "dropout_p": 0.0}).digest == Problem(**BASE).digest
    refused(tmp_path, {**BASE, "dropout_p": 0.1}, "dropout 0.1 without what it drops")
    problem = Problem(**BASE, dropout_mask=KEEP, dropout=0.1)
    assert read(tmp_path, {**BASE, "dropout_p": 0.1, "dropout_mask": KEEP}).digest == problem.digest


def test_positions_over_all_segments_are_refused(tmp_path: Path) -> None:
    at, numbers = np.arange(5), np.array([0, 0, 1, 1, 1])
    np.savez(tmp_path / "a.npz", **BASE, cache_position=at, segment_ids=numbers, causal=True)
    with pytest.raises(InvalidRequestError, match="cache_position with segments, which counts over all of them"):
        FileInput((str(tmp_path / "a.npz"),)).load()
