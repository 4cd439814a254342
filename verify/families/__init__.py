"""What the author of a mechanism need not write: families of weights, each with forms, exact values and bounds."""

from typing import TYPE_CHECKING

from verify.on_use import on_use

if TYPE_CHECKING:
    from verify.families.feature.kernel import FeatureKernel
    from verify.families.logit import LogitKernel
    from verify.families.polynomial.kernel import PolynomialKernel

__all__ = ["FeatureKernel", "LogitKernel", "PolynomialKernel"]

__getattr__, __dir__ = on_use(
    __name__,
    {"FeatureKernel": "feature.kernel", "LogitKernel": "logit", "PolynomialKernel": "polynomial.kernel"},
)
