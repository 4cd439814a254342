from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from verify.errors import InvalidRequestError
from verify.inputs import SAMPLES, FileInput, SampleInput, SyntheticInput, sample
from verify.measure.logits import logit_statistics

RNG = np.random.default_rng(14)
Q, K, V = (RNG.standard_normal((2, 5, 3)).astype(np.float32) for _ in range(3))

# From the notice beside the files: heads, key heads, head size, scale, causal, largest attended |logit|
PUBLISHED = {
    "smollm2-layer00": (9, 3, 64, 0.125, True, 11.0),
    "smollm2-layer18": (9, 3, 64, 0.125, True, 50.0),
    "minilm-layer00": (4, 4, 32, 0.1767766952966369, False, 44.1),
    "minilm-layer05": (4, 4, 32, 0.1767766952966369, False, 7.6),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_what_their_notice_says(name: str) -> None:
    problem = sample(name)
    heads, key_heads, size, scale, causal, largest = PUBLISHED[name]
    assert problem.q.shape == (heads, 128, size)
    assert problem.k.shape == problem.v.shape == (key_heads, 128, size)
    assert (problem.scale, problem.causal, problem.name) == (scale, causal, f"sample:{name}")
    assert logit_statistics(problem)[0] == pytest.approx(largest, abs=0.05)


@pytest.mark.parametrize("logit_std", [0.5, 1.0, 4.0])
def test_normal_logits_have_the_spread_that_was_asked_for(logit_std: float) -> None:
    problem = SyntheticInput("normal", 16, 400, logit_std, seed=1, causal=False).load()
    # 160,000 logits from 400 independent queries: the sample deviation varies by about 1 / sqrt(2 * 400 * 16)
    assert logit_statistics(problem)[1] == pytest.approx(logit_std, rel=4 / np.sqrt(2 * 400 * 16))
    assert abs(problem.v.mean()) < 5 / np.sqrt(problem.v.size)


def test_seeds_and_names_tell_inputs_apart() -> None:
    inputs = [SyntheticInput("normal", 4, 8, seed=s, causal=c) for s in (0, 1) for c in (False, True)]
    assert len({source.name for source in inputs}) == len({source.load().digest for source in inputs}) == 4
    assert inputs[0].load().digest == inputs[0].load().digest
    problem = inputs[0].load()
    assert all((x == x.astype(np.float32)).all() for x in (problem.q, problem.k, problem.v))
    assert not (problem.q == problem.k).any()
    assert not (problem.q == problem.v).any()
    assert (inputs[0].load().causal, inputs[1].load().causal) == (False, True)
    assert SyntheticInput("normal", 4, 8, 0.1).name != SyntheticInput("normal", 4, 8, 0.1 + 1e-12).name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("uniform?", 4, 8), "unknown scenario"),
        (("normal", 0, 8), "head size 0"),
        (("normal", 4, 0), "tokens 0"),
        (("normal", 4, 8, float("nan")), "logit standard deviation nan"),
        (("normal", 4, 8, -1.0), "logit standard deviation -1"),
        (("normal", 4, 8, 1.0, -1), "seed -1"),
    ],
)
def test_synthetic_inputs_that_make_no_sense(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        SyntheticInput(*arguments)


def test_unknown_sample() -> None:
    with pytest.raises(InvalidRequestError, match="expected one of smollm2-layer00"):
        SampleInput("gpt")


def test_npz_npy_and_safetensors_hold_the_same_problem(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", q=Q, k=K, v=V)
    for name, array in (("q", Q), ("k", K), ("v", V)):
        np.save(tmp_path / f"{name}.npy", array)
    save_file({"q": Q, "k": K, "v": V}, tmp_path / "a.safetensors")
    digests = {
        FileInput((str(tmp_path / "a.npz"),)).load().digest,
        FileInput(tuple(str(tmp_path / f"{name}.npy") for name in "qkv")).load().digest,
        FileInput((str(tmp_path / "a.safetensors"),)).load().digest,
    }
    assert len(digests) == 1


def test_bfloat16_metadata_mask_and_other_names(tmp_path: Path) -> None:
    path = str(tmp_path / "b.safetensors")
    narrow = {name: array.astype(ml_dtypes.bfloat16) for name, array in (("qq", Q), ("kk", K), ("vv", V))}
    mask = np.eye(5, dtype=bool)
    save_file({**narrow, "mask": mask}, path, metadata={"scale": "0.25", "causal": "true"})
    problem = FileInput((path,), ("qq", "kk", "vv")).load()
    np.testing.assert_array_equal(problem.q, narrow["qq"].astype(np.float64))
    assert (problem.scale, problem.causal) == (0.25, True)
    np.testing.assert_array_equal(problem.mask, mask)
    named = FileInput((path,), ("q=qq", "v=vv", "k=kk"), scale=0.25, causal=True).load()
    assert named.digest == problem.digest


def test_scale_and_causal_in_an_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", q=Q, k=K, v=V, scale=0.25, causal=True)
    problem = FileInput((str(tmp_path / "a.npz"),)).load()
    assert (problem.scale, problem.causal) == (0.25, True)
    path = (str(tmp_path / "a.npz"),)
    assert FileInput(path, causal=False, ignore=("causal",)).load().causal is False
    with pytest.raises(InvalidRequestError, match=r"causal False where the file says True .*--ignore causal"):
        FileInput(path, causal=False).load()
    with pytest.raises(InvalidRequestError, match=r"scale 0.5 where the file says 0.25 .*--ignore scale"):
        FileInput(path, scale=0.5).load()
    np.savez(tmp_path / "bad.npz", q=Q, k=K, v=V, scale=np.ones(2))
    with pytest.raises(InvalidRequestError, match=r"scale of type float64 and shape \[2\]"):
        FileInput((str(tmp_path / "bad.npz"),)).load()


def test_big_endian_numbers_are_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", q=Q.astype(">f4"), k=K.astype(">f8"), v=V)
    np.savez(tmp_path / "b.npz", q=Q, k=K, v=V)
    one, other = (FileInput((str(tmp_path / name),)).load() for name in ("a.npz", "b.npz"))
    assert one.digest == other.digest


@pytest.mark.parametrize("seed", range(4))
def test_damaged_bytes_are_a_wrong_request_whatever_they_make_readers_raise(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    np.savez(tmp_path / "a.npz", q=Q, k=K, v=V)
    np.savez_compressed(tmp_path / "b.npz", q=Q, k=K, v=V)
    np.save(tmp_path / "c.npy", Q)
    save_file({"q": Q, "k": K, "v": V}, tmp_path / "d.safetensors")
    refused = 0
    for name in ("a.npz", "b.npz", "c.npy", "d.safetensors"):
        whole = (tmp_path / name).read_bytes()
        for _ in range(60):
            damaged = bytearray(whole)
            for place in rng.integers(0, len(whole), 3):
                damaged[place] = rng.integers(0, 256)
            (tmp_path / f"x{Path(name).suffix}").write_bytes(damaged)
            path = str(tmp_path / f"x{Path(name).suffix}")
            try:
                FileInput((path,) * (3 if name == "c.npy" else 1)).load()
            except InvalidRequestError:
                refused += 1
    assert refused > 50


class Planted:
    """Unpickling this would create a file: proof that nothing was unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return (Path.touch, (self.path,))


def test_pickles_are_refused_and_not_run(tmp_path: Path) -> None:
    planted = np.array([[Planted(tmp_path / "ran")]], dtype=object)
    np.savez(tmp_path / "a.npz", q=planted, k=K, v=V)
    np.save(tmp_path / "q.npy", planted)
    (tmp_path / "p.npy").write_bytes(pickle.dumps(Planted(tmp_path / "ran")))
    (tmp_path / "p.npz").write_bytes(pickle.dumps(Planted(tmp_path / "ran")))
    for paths in (["a.npz"], ["q.npy"] * 3, ["p.npy"] * 3, ["p.npz"]):
        with pytest.raises(InvalidRequestError, match="cannot be read"):
            FileInput(tuple(str(tmp_path / path) for path in paths)).load()
    assert not (tmp_path / "ran").exists()


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    np.savez(tmp_path / "names.npz", Q=Q, K=K, V=V)
    np.savez(tmp_path / "shapes.npz", q=Q[..., :2], k=K, v=V)
    np.savez(tmp_path / "one.npz", q=Q, k=K, v=V)
    whole = (tmp_path / "one.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(flipped)
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("hello, this is not a tensor file at all")
    (tmp_path / "folder.npz").mkdir()
    np.save(tmp_path / "q.npy", Q)
    save_file({"q": Q, "k": K, "v": V}, tmp_path / "scale.safetensors", metadata={"scale": "one"})
    save_file({"q": Q, "k": K, "v": V}, tmp_path / "causal.safetensors", metadata={"causal": "perhaps"})
    save_file({"q": Q.astype(np.int16), "k": K, "v": V}, tmp_path / "int.safetensors")
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"q": Q}))
    cases = {
        "absent.npz": "no file",
        "absent.safetensors": "no file",
        "names.npz": "without q, k, v: it holds K, Q, V",
        "shapes.npz": "q of head size 2 and k of head size 3",
        "cut.npz": "cannot be read",
        "flipped.npz": "cannot be read",
        "empty.npz": "cannot be read",
        "empty.safetensors": "cannot be read",
        "text.safetensors": "cannot be read",
        "folder.npz": "cannot be read",
        "q.npy": "three .npy files",
        "x.txt": "expected one .npz file",
        "scale.safetensors": "scale 'one'",
        "causal.safetensors": "causal 'perhaps'",
        "int.safetensors": "q of type int16, which may be bit patterns",
        "a.pt": "expected arrays without them; store tensors: safetensors.torch.save_file",
    }
    for name, message in cases.items():
        with pytest.raises(InvalidRequestError, match=message) as caught:
            FileInput((str(tmp_path / name),)).load()
        assert "expected" in str(caught.value), name


@pytest.mark.parametrize("scale", [np.float16(0.1767), np.float32(0.1), np.float64(0.1), np.array([0.5]), np.int64(2)])
def test_a_scale_of_any_width_is_taken_as_the_number_it_is(scale: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "tokens.npz", q=Q, k=K, v=V, scale=scale)
    assert FileInput((str(tmp_path / "tokens.npz"),)).load().scale == float(np.asarray(scale).item())


@pytest.mark.parametrize("scale", [np.longdouble("0.1"), 1j])
def test_a_scale_that_is_no_float64_is_refused(scale: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "tokens.npz", q=Q, k=K, v=V, scale=scale)
    with pytest.raises(InvalidRequestError, match=r"expected one number, truth value or word"):
        FileInput((str(tmp_path / "tokens.npz"),)).load()
