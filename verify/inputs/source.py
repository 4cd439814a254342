"""What every origin of problems has in common."""

from __future__ import annotations

from typing import Protocol

from verify.problem import Problem


class InputSource(Protocol):
    """A named, small, picklable description of one problem, loaded where it is needed; equal ones load the same."""

    @property
    def name(self) -> str:
        """The name reports show."""

    @property
    def kind(self) -> str:
        """sample, synthetic or file."""

    @property
    def logit_std(self) -> float | None:
        """The standard deviation of the logits that was asked for, or None where inputs are as they are."""

    def __hash__(self) -> int:
        """Return what equal descriptions have in common."""

    def load(self) -> Problem:
        """Return the problem; InvalidRequestError says what is wrong with it."""
