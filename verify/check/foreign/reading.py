"""Which cases a path names: a definition with its workloads, or tests of an operator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from verify.check.foreign.definition import definition
from verify.check.foreign.onnx_files import node_tests
from verify.check.foreign.posed import ForeignCase
from verify.check.foreign.sequences import sequence_cases
from verify.check.foreign.workload import workloads
from verify.errors import InvalidRequestError

_EXPECTED = "DEFINITION.json,WORKLOADS.jsonl of FlashInfer-Bench, or a folder of ONNX node tests"


def foreign_cases(paths: Sequence[str]) -> list[ForeignCase]:
    """Return the cases of a definition and its workloads, or of a folder; InvalidRequestError for anything else.

    foreign_cases(["gqa_paged_decode_h32_kv8_d128_ps1.json", "gqa_paged_decode_h32_kv8_d128_ps1.jsonl"])
    """
    if len(paths) == 1 and Path(paths[0]).is_dir():
        return [node.case() for node in node_tests(Path(paths[0]))]
    endings = [Path(path).suffix for path in paths]
    if endings == [".json"]:
        raise InvalidRequestError(
            f"{paths[0]} without workloads", "numbers for its inputs", "name them too: DEFINITION.json,WORKLOADS.jsonl"
        )
    if sorted(endings) != [".json", ".jsonl"]:
        raise InvalidRequestError(f"cases {','.join(paths)!r:.80}", _EXPECTED, "name such")
    of_definition, of_workloads = sorted(paths, key=lambda path: Path(path).suffix)
    own = definition(of_definition)
    return [case for workload in workloads(of_workloads, own) for case in sequence_cases(workload)]
