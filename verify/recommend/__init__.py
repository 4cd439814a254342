"""How much is enough: the smallest value of a mechanism's axis that meets a tolerance, or none."""

from verify.recommend.advice import Advice, Recommendation
from verify.recommend.recommendation import SECONDS, recommend

__all__ = ["SECONDS", "Advice", "Recommendation", "recommend"]
