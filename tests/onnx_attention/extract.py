"""Write cases.npz and cases.json beside this file, from the tests of the operator Attention that onnx ships.

Run by hand, where the package onnx is installed, once for a release of it:

    python -m tests.onnx_attention.extract onnx-1.22.0-....whl

It reads onnx/backend/test/data/node/test_attention_*, of each test its only data set, and changes no number.  Formats
that files of arrays do not know are stored as their bits.  The same wheel gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

HERE = Path(__file__).parent
FOLDER = "onnx/backend/test/data/node"

# onnx/backend/test/loader/__init__.py, load_model_tests: of a test whose data.json states no others.
TOLERANCES = {"rtol": 1e-3, "atol": 1e-7}

# Formats of arrays that .npz files hold as they are; others go in as unsigned integers of the same width.
PLAIN = {"float64", "float32", "float16", "int64", "int32", "bool"}


def tensors(archive: zipfile.ZipFile, folder: str, kind: str, names: list[str], arrays: dict[str, Any]) -> list[Any]:
    """Put the tensors of a kind into arrays, and return their names, formats and digests; names of "" are left out."""
    found = []
    for number, name in enumerate(name for name in names if name):
        text = archive.read(f"{FOLDER}/{folder}/test_data_set_0/{kind}_{number}.pb")
        array = numpy_helper.to_array(onnx.TensorProto.FromString(text))
        stored = f"{folder.removeprefix('test_attention_')}/{kind}/{name}"
        format_ = str(array.dtype)
        arrays[stored] = array if format_ in PLAIN else array.view(f"uint{8 * array.dtype.itemsize}")
        found.append({"name": name, "format": format_, "sha256": hashlib.sha256(text).hexdigest()})
    return found


def case_of(archive: zipfile.ZipFile, folder: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """Return what describes a test, and put its tensors into arrays."""
    inside = [name for name in archive.namelist() if name.startswith(f"{FOLDER}/{folder}/")]
    text = archive.read(f"{FOLDER}/{folder}/model.onnx")
    model = onnx.ModelProto.FromString(text)
    (node,) = model.graph.node
    assert node.op_type == "Attention", node.op_type
    assert len({name.split("/")[6] for name in inside if name.endswith(".pb")}) == 1, "one set of data"
    stated = [name for name in inside if name.endswith("data.json")]
    tolerances = json.loads(archive.read(stated[0])) if stated else {}
    return {
        "opset": model.opset_import[0].version,
        "attributes": {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
        "inputs": tensors(archive, folder, "input", list(node.input), arrays),
        "outputs": tensors(archive, folder, "output", list(node.output), arrays),
        "tolerances": {name: tolerances.get(name, default) for name, default in TOLERANCES.items()},
        "model_sha256": hashlib.sha256(text).hexdigest(),
    }


def main() -> None:
    """Read the wheel and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    wheel = parser.parse_args().wheel
    arrays: dict[str, Any] = {}
    with zipfile.ZipFile(wheel) as archive:
        tests = {name.split("/")[5] for name in archive.namelist() if name.startswith(f"{FOLDER}/test_attention_")}
        chosen = sorted(name for name in tests if not name.endswith("_expanded"))
        cases = {name.removeprefix("test_attention_"): case_of(archive, name, arrays) for name in chosen}
    said = {"onnx": onnx.__version__, "wheel_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(), "cases": cases}
    (HERE / "cases.json").write_text(json.dumps(said, indent=1) + "\n")
    np.savez_compressed(HERE / "cases.npz", **arrays)
    print(f"{len(cases)} cases, {len(arrays)} arrays")


if __name__ == "__main__":
    main()
