"""Where problems come from: seeded distributions, files, and the real activations shipped with the package."""

from verify.inputs.distributions import DISTRIBUTIONS, SyntheticInput
from verify.inputs.files import FileInput
from verify.inputs.samples import SAMPLES, SampleInput, sample
from verify.inputs.source import InputSource

__all__ = ["DISTRIBUTIONS", "SAMPLES", "FileInput", "InputSource", "SampleInput", "SyntheticInput", "sample"]
