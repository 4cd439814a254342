"""What a cell's key holds of the code: all that runs while it is measured, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import verify
from tests.own import written
from verify.errors import InvalidRequestError
from verify.families import LogitKernel
from verify.mechanisms import known
from verify.mechanisms.registry import SHIPPED
from verify.sweep.provenance import code_digest, sources

PACKAGE = Path(verify.__file__).parent

# In a copy of the package: the digests of all mechanisms as they are, and after each of some changes by itself.
DIGESTS = """
import json, sys
from pathlib import Path
from verify.mechanisms.registry import SHIPPED, known
from verify.sweep.provenance import code_digest

mechanisms = [known().mechanism(name) for name in SHIPPED]
def digests():
    return {mechanism.name: code_digest.__wrapped__(mechanism) for mechanism in mechanisms}
found = {"": digests()}
for name, old, new in json.loads(sys.argv[1]):
    path = Path(name)
    text = path.read_text()
    assert old in text, name
    path.write_text(text.replace(old, new, 1))
    found[name] = digests()
    path.write_text(text)
assert digests() == found[""]
print(json.dumps(found))
"""

COMMENT = ("from __future__", "# another comment\nfrom __future__")

# Files that are changed, how, and which mechanisms' keys change.
EVERY = set(SHIPPED)
CHANGES = {
    "verify/recommend/recommendation.py": (*COMMENT, set()),
    "verify/claims/audit.py": (*COMMENT, set()),
    "verify/proofs/identities.py": (*COMMENT, set()),
    "verify/sweep/store.py": (*COMMENT, set()),
    "verify/mechanisms/taylor/checks.py": (*COMMENT, set()),
    "verify/mechanisms/taylor/mechanism.py": ("Fraction(1, factorial(p))", "Fraction(2, factorial(p))", {"taylor"}),
    "verify/mechanisms/taylor/costs.py": (*COMMENT, {"taylor"}),
    "verify/mechanisms/power.py": ("Fraction(int(", "Fraction(3 * int(", {"power"}),
    "verify/mechanisms/elu.py": ("f.positive(c)", "2 * f.positive(c)", {"elu"}),
    "verify/mechanisms/logexp/exact.py": (*COMMENT, {"logexp"}),
    "verify/families/polynomial/exact.py": (*COMMENT, {"taylor", "power"}),
    "verify/families/feature/bounds.py": (*COMMENT, {"elu", "favor"}),
    "verify/families/logit.py": (*COMMENT, EVERY),
    "verify/mechanisms/softmax/exact.py": (*COMMENT, EVERY),
    "verify/mechanisms/mean.py": (*COMMENT, EVERY),
    "verify/mechanisms/registry.py": (*COMMENT, EVERY),
    "verify/truth/enclosure.py": (*COMMENT, EVERY),
    "verify/measure/cell.py": (*COMMENT, EVERY),
    "verify/sweep/tasks.py": (*COMMENT, EVERY),
    "verify/attention/contract.py": (*COMMENT, EVERY),
    "verify/numbers/balls.py": (*COMMENT, EVERY),
    "verify/inputs/synthetic.py": (*COMMENT, EVERY),
}


def in_process(script: str, folder: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(folder), "ATTNPROOF_PLUGINS": "off", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_change_makes_new_cells_of_what_runs_it(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "verify", ignore=shutil.ignore_patterns("__pycache__", "data"))
    changes = [[name, old, new] for name, (old, new, _) in CHANGES.items()]
    found = json.loads(in_process(DIGESTS, tmp_path, json.dumps(changes)))
    before = found.pop("")
    changed = {name: {m for m in before if digests[m] != before[m]} for name, digests in found.items()}
    assert changed == {name: mechanisms for name, (*_, mechanisms) in CHANGES.items()}


# In a process for each mechanism: the files of functions that ran, after imports, while cells of all its forms were
# measured, and those of them that its key does not hold.
RUNNING = """
import json, os, sys
from pathlib import Path
import verify.families
from verify.inputs import SyntheticInput
from verify.measure.cell import Cell
from verify.mechanisms.registry import SHIPPED, known
from verify.sweep.provenance import code_digest, sources
from tests.cells import records_of

source = SyntheticInput("normal", 3, 5)
for name in SHIPPED:
    read, write = os.pipe()
    if os.fork() == 0:
        plans = known().plans([f"{name}:order=3" if name == "taylor" else name])
        cells = tuple(Cell(variant, "float32") for plan in plans for variant in plan.variants({}))
        for each in (name, "softmax"):
            code_digest(known().mechanism(each))  # which imports
        ran = set()
        sys.setprofile(lambda frame, event, argument: ran.add(frame.f_code.co_filename))
        records = records_of(source, *cells)
        sys.setprofile(None)
        assert {record.status for record in records} == {"ok"}, records
        held = {str(Path(sys.modules[module].__file__)) for module in sources(known().mechanism(name))}
        package = str(Path(verify.__file__).parent)
        planning = os.path.join(package, "sweep", "runner.py")
        mine = {file for file in ran if file.startswith(package) and file != planning}
        os.write(write, json.dumps({name: [len(mine), sorted(mine - held)]}).encode())
        os._exit(0)
    os.close(write)
    print(os.read(read, 1 << 16).decode())
    os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_all_that_runs_while_a_cell_is_measured_is_in_its_key() -> None:
    lines = in_process(RUNNING, PACKAGE.parent).splitlines()
    found = {name: told for line in lines for name, told in json.loads(line).items()}
    assert set(found) == EVERY
    for name, (count, missing) in found.items():
        assert count > 30, name
        assert missing == [], name


def test_the_file_of_a_mechanism_of_ones_own_is_in_its_key(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    same = [known((written(tmp_path / folder),)).mechanism("mine") for folder in ("a", "b")]
    assert len({code_digest(mechanism) for mechanism in same}) == 1  # wherever it lies
    other = known((written(tmp_path, ("/ 64", "/ 32")),)).mechanism("mine")
    assert code_digest(other) != code_digest(same[0])
    assert code_digest(other) != code_digest(known().mechanism("softmax"))


def test_what_a_file_takes_from_a_shipped_mechanism_is_in_its_key(tmp_path: Path) -> None:
    for imported in (
        "from verify.mechanisms.favor import directions",
        "import verify.mechanisms.favor",
        "try:\n    from verify.mechanisms import favor\nexcept ImportError:\n    pass",
        "def later():\n    from verify.mechanisms.favor import directions",
    ):
        text = written(tmp_path, ("from verify.arguments", f"{imported}\nfrom verify.arguments"))
        assert "verify.mechanisms.favor" in sources(known((text,)).mechanism("mine")), imported
    head = "from verify.mechanisms.favor import Favor\nfrom verify.arguments"
    text = written(tmp_path, ("from verify.arguments", head), ("MINE =", "MINE = Favor()\nMINE.name = 'mine'\nOTHER ="))
    held = sources(known((text,)).mechanism("mine"))
    assert "verify.mechanisms.favor" in held
    assert any(name.startswith("attnproof_mechanism_") for name in held)
    checking = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from verify.mechanisms.favor import Favor\n"
    text = written(tmp_path, ("from verify.arguments", f"{checking}from verify.arguments"))
    assert "verify.mechanisms.favor" not in sources(known((text,)).mechanism("mine"))
    text = written(tmp_path, ("from verify.arguments", "from verify import taylor_attention\nfrom verify.arguments"))
    assert "verify.mechanisms.taylor.state" in sources(known((text,)).mechanism("mine"))


def test_a_module_beside_a_file_is_in_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_parts.py").write_text("PART = 64\n")
    text = written(tmp_path, ("from verify.arguments", "from own_parts import PART\nfrom verify.arguments"))
    mechanism = known((text,)).mechanism("mine")
    before = code_digest(mechanism)
    assert sources(mechanism)["own_parts"] == b"PART = 64\n"
    (tmp_path / "own_parts.py").write_text("PART = 32\n")
    assert code_digest.__wrapped__(mechanism) != before


def test_what_has_changed_since_it_was_loaded_or_stands_nowhere_has_no_key(tmp_path: Path) -> None:
    mechanism = known((written(tmp_path),)).mechanism("mine")
    written(tmp_path, ("/ 64", "/ 32"))
    with pytest.raises(InvalidRequestError, match=r"mine\.py, which changed meanwhile; expected the same content"):
        code_digest(mechanism)
    made = type("Made", (LogitKernel,), {"__module__": "nowhere", "name": "made", "function": None})()
    with pytest.raises(InvalidRequestError, match="the mechanism made, whose source is in no file; expected a file"):
        code_digest(made)


def test_versions_and_processor_are_in_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    softmax = known().mechanism("softmax")
    digests = {code_digest(softmax)}
    with monkeypatch.context() as changed:
        changed.setattr("verify.sweep.provenance.version", lambda name: "0")
        digests.add(code_digest.__wrapped__(softmax))
    with monkeypatch.context() as changed:
        changed.setattr("verify.sweep.provenance._processor", lambda: "another")
        digests.add(code_digest.__wrapped__(softmax))
    assert len(digests) == 3
    assert code_digest.__wrapped__(softmax) in digests
