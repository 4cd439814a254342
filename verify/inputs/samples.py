"""Real activations shipped with the package (origin and licence: verify/inputs/data/NOTICE.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from verify.errors import unknown
from verify.inputs.files import FileInput
from verify.problem import Problem

_FOLDER = Path(__file__).parent / "data"

SAMPLES = {
    "smollm2-layer00": "SmolLM2-135M-Instruct, first layer: 9 query heads over 3 key heads, d = 64, causal",
    "smollm2-layer18": "SmolLM2-135M-Instruct, layer 18: the same shapes, logits up to 50",
    "minilm-layer00": "all-MiniLM-L6-v2, first layer: 4 heads, d = 32, not causal, logits up to 44",
    "minilm-layer05": "all-MiniLM-L6-v2, last layer: the same shapes, logits up to 7.6",
}

# What the files say about where they come from.
_ORIGIN = ("model", "licence", "layer", "tokens", "text")


@dataclass(frozen=True)
class SampleInput:
    """One of the shipped files."""

    sample: str
    kind: str = field(default="sample", init=False)
    logit_std: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Raise InvalidRequestError for a sample that does not exist."""
        if not isinstance(self.sample, str) or self.sample not in SAMPLES:
            raise unknown(f"unknown sample {self.sample!r}", self.sample, SAMPLES)

    @property
    def name(self) -> str:
        """The name the command line knows it by."""
        return f"sample:{self.sample}"

    def load(self) -> Problem:
        """Read the shipped file."""
        path = str(_FOLDER / f"{self.sample}.safetensors")
        return FileInput((path,), ignore=_ORIGIN).load().named(self.name)


def sample(name: str) -> Problem:
    """Return the problem of a shipped sample; InvalidRequestError lists the names there are."""
    return SampleInput(name).load()
