"""Mechanisms that are right but for what they keep from token to token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.planting import Planted, Rectified, Scaled
from verify.attention.computed import AttentionOutput
from verify.families.feature.state import FeatureState


def up_to(mask: Any, last: int | None) -> Any:
    """Return what a mask says of the first tokens."""
    return None if mask is None else mask[..., :last]


class Forgetful(FeatureState):
    """Forgets what is merged."""

    def merge(self, other: FeatureState) -> None:
        self.tokens += other.tokens


class Late(FeatureState):
    """Forgets the last token of an update."""

    def update(self, k: Any, v: Any, mask: Any = None) -> None:
        super().update(k[..., :-1, :], v[..., :-1, :], up_to(mask, -1))
        self.tokens += 1


class Early(FeatureState):
    """Forgets what comes after seven tokens."""

    def update(self, k: Any, v: Any, mask: Any = None) -> None:
        left = max(0, 7 - self.tokens)
        super().update(k[..., :left, :], v[..., :left, :], up_to(mask, left))
        self.tokens += k[..., left:, :].shape[-2]


class Worn(FeatureState):
    """Answers NaN once it has seen 128 tokens."""

    def read(self, q: Any) -> AttentionOutput:
        output = super().read(q)
        return output if self.tokens < 128 else replace(output, value=output.value * np.nan)


class Doubling(FeatureState):
    """Reports sums of weights that are twice as large."""

    def read(self, q: Any) -> AttentionOutput:
        output = super().read(q)
        return replace(output, normaliser=2 * output.normaliser)


class Unsigned(FeatureState):
    """Saves magnitudes."""

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        kept = self._sums.sums.values.copy()
        np.abs(kept, out=self._sums.sums.values)
        super().save(path, overwrite=overwrite)
        self._sums.sums.values[...] = kept


class Sealed(FeatureState):
    """Takes in nothing once something is merged."""

    merged = False

    def merge(self, other: Any) -> None:
        super().merge(other)
        self.merged = True

    def update(self, k: Any, v: Any, mask: Any = None) -> None:
        last = 0 if self.merged else None
        super().update(k[..., :last, :], v[..., :last, :], up_to(mask, last))
        self.tokens += k.shape[-2] if self.merged else 0


class ReadOnce(FeatureState):
    """Takes in nothing once something is read."""

    was_read = False

    def read(self, q: Any) -> AttentionOutput:
        self.was_read = True
        return super().read(q)

    def update(self, k: Any, v: Any, mask: Any = None) -> None:
        last = 0 if self.was_read else None
        super().update(k[..., :last, :], v[..., :last, :], up_to(mask, last))
        self.tokens += k.shape[-2] if self.was_read else 0


class Fading(FeatureState):
    """Loses something with every read."""

    def read(self, q: Any) -> AttentionOutput:
        output = super().read(q)
        self._sums.sums.values[:, 1:] *= 0.5
        return output


class Full(FeatureState):
    """Merges two states and no more."""

    room = 2

    def merge(self, other: Any) -> None:
        self.room -= 1
        if self.room < 0:
            self.tokens += other.tokens
        else:
            super().merge(other)


class Selfless(FeatureState):
    """Takes nothing in when it is merged with itself."""

    def merge(self, other: Any) -> None:
        if other is not self:
            super().merge(other)


class Emptied(FeatureState):
    """Loses all when nothing is merged."""

    def merge(self, other: Any) -> None:
        super().merge(other)
        self._sums.sums.values *= other.tokens > 0


class Unscaled(FeatureState):
    """Knows of a scale, and overlooks it."""

    def __init__(self, *sizes: Any, scale: float | None = None, **settings: Any) -> None:
        super().__init__(*sizes, **settings)


class Careless(FeatureState):
    """Knows of compensation, and does without."""

    def __init__(self, *sizes: Any, compensated: bool = False, **settings: Any) -> None:
        super().__init__(*sizes, **settings)


class Single(FeatureState):
    """Forgets the last token of an update in float32 alone."""

    def update(self, k: Any, v: Any, mask: Any = None) -> None:
        last = -1 if self.settings["arithmetic"] == "float32" else None
        super().update(k[..., :last, :], v[..., :last, :], up_to(mask, last))
        self.tokens += last is not None


class Padded(FeatureState):
    """Takes padding for tokens."""

    def update(self, k: Any, v: Any, mask: Any = None) -> None:
        super().update(np.nan_to_num(k), np.nan_to_num(v))


class Hasty(FeatureState):
    """Answers 512 queries."""

    def read(self, q: Any) -> AttentionOutput:
        output = super().read(q)
        return replace(output, value=np.where(np.arange(q.shape[-2])[:, None] < 512, output.value, 0.0))


class Forlorn(FeatureState):
    """Takes in nothing by merging once it is loaded."""

    was_loaded = False

    @classmethod
    def load(cls, path: Any, **given: Any) -> Any:
        loaded = super().load(path, **given)
        loaded.was_loaded = True
        return loaded

    def merge(self, other: Any) -> None:
        if not self.was_loaded:
            super().merge(other)


STATES: dict[str, Planted] = {
    "a state that forgets on merge": Planted(
        Rectified, "states", "two parts merged: element", form=lambda form: {"state": Forgetful}
    ),
    "a state that forgets the last token": Planted(
        Rectified, "states", "all tokens at once: element", form=lambda form: {"state": Late}
    ),
    "a state that forgets from the eighth token on": Planted(
        Rectified, "states", "530 tokens, all tokens at once: element", form=lambda form: {"state": Early}
    ),
    "a state that answers NaN from 128 tokens on": Planted(
        Rectified, "states", "530 tokens, all tokens at once: element .* nan off", form=lambda form: {"state": Worn}
    ),
    "a state whose sums of weights are twice as large": Planted(
        Rectified, "states", "at once: the sum of weights of row", form=lambda form: {"state": Doubling}
    ),
    "a file that loses the sign": Planted(
        Rectified, "saved states", "and, saved and loaded,", form=lambda form: {"state": Unsigned}
    ),
    "a state that takes in nothing after a merge": Planted(
        Rectified, "states", "two parts merged, then the rest: element", form=lambda form: {"state": Sealed}
    ),
    "a state that takes in nothing after a read": Planted(
        Rectified, "states", "tokens in pieces, read after each: element", form=lambda form: {"state": ReadOnce}
    ),
    "a state that fades with every read": Planted(
        Rectified, "states", "reading changes the state", form=lambda form: {"state": Fading}
    ),
    "a state that merges two others and no more": Planted(
        Rectified, "states", "three parts merged into an empty state: element", form=lambda form: {"state": Full}
    ),
    "a state that does not take in itself": Planted(
        Rectified, "states", "merged with themselves: 7 tokens counted", form=lambda form: {"state": Selfless}
    ),
    "a state that loses all when nothing is merged": Planted(
        Rectified, "states", "an empty state merged into all tokens: element", form=lambda form: {"state": Emptied}
    ),
    "a state that overlooks the scale": Planted(
        Scaled, "states", "7 tokens, all tokens at once: element", form=lambda form: {"state": Unscaled}
    ),
    "a state that overlooks compensation": Planted(
        Rectified,
        "states",
        "stream:compensated=yes, its state in float64: 530 tokens: nothing changes with it",
        form=lambda form: {"state": Careless},
    ),
    "a state that takes padding for tokens": Planted(
        Rectified, "states", "tokens among padding: element", form=lambda form: {"state": Padded}
    ),
    "a state that forgets in float32": Planted(
        Rectified, "states", "its state in float32: 7 tokens, all tokens at once", form=lambda form: {"state": Single}
    ),
    "a state that answers 512 queries": Planted(
        Rectified, "states", r"540 queries at once: element \[512, 0\] is 0,", form=lambda form: {"state": Hasty}
    ),
    "a state that merges nothing once it is loaded": Planted(
        Rectified, "saved states", "after another is merged, element", form=lambda form: {"state": Forlorn}
    ),
}
