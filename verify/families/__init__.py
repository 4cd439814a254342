"""What the author of a mechanism need not write: families of weights, each with forms, exact values and bounds."""

from verify.families.feature.kernel import FeatureKernel
from verify.families.logit import LogitKernel
from verify.families.polynomial.kernel import PolynomialKernel

__all__ = ["FeatureKernel", "LogitKernel", "PolynomialKernel"]
