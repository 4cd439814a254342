"""Where problems come from: seeded scenarios, files, and the real activations shipped with the package."""

from verify.inputs.files import FileContents, FileInput
from verify.inputs.samples import SAMPLES, SampleInput, sample
from verify.inputs.scenarios import SCENARIOS
from verify.inputs.source import InputSource
from verify.inputs.synthetic import SyntheticInput

__all__ = [
    "SAMPLES",
    "SCENARIOS",
    "FileContents",
    "FileInput",
    "InputSource",
    "SampleInput",
    "SyntheticInput",
    "sample",
]
