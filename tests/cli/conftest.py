"""What commands are given in tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder of input files, good and bad."""
    good = np.random.default_rng(16).standard_normal((3, 4, 3))
    bad = good.copy()
    bad[1, 2, 0] = np.nan
    infinite = good.copy()
    infinite[2, 0, 0] = np.inf
    np.savez(tmp_path / "good.npz", **dict(zip("qkv", good, strict=True)))
    np.savez(tmp_path / "names.npz", **dict(zip("abc", good, strict=True)))
    np.savez(tmp_path / "nan.npz", **dict(zip("qkv", bad, strict=True)))
    np.savez(tmp_path / "infinite.npz", **dict(zip("qkv", infinite, strict=True)))
    np.savez(tmp_path / "sizes.npz", q=good[0, :, :2], k=good[1], v=good[2])
    np.savez(tmp_path / "zero.npz", q=good[0, :, :0], k=good[1, :, :0], v=good[2])
    (tmp_path / "file").write_text("a file where a folder is wanted")
    (tmp_path / "folder.safetensors").mkdir()
    return tmp_path
