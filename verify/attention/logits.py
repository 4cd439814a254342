"""Logits of a block in balls, a tile of keys at a time: scaled products, capped, with what is added to them."""

from __future__ import annotations

from operator import add, sub

from flint import arb

from verify.attention.tiles import exact_matrix, scale_of_block
from verify.parallel.blocks import Block


class BallLogits:
    """s_t = scale q.k_t; then cap tanh(s / cap); then bias and -slope times the distance, each if there is one."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.queries = exact_matrix(block.q) * scale_of_block(block)

    def of(self, keys: slice) -> list[arb]:
        """Return the logits of some keys of the block, row after row, attended or not."""
        return self.added(keys, self.capped(keys))

    def capped(self, keys: slice) -> list[arb]:
        """Return scaled products, capped if there is a cap."""
        products: list[arb] = (self.queries * exact_matrix(self.block.k[keys]).transpose()).entries()
        if self.block.softcap is None:
            return products
        cap = arb(self.block.softcap)
        return [(s / cap).tanh() * cap for s in products]

    def added(self, keys: slice, logits: list[arb]) -> list[arb]:
        """Return capped products with bias and slope times the distance."""
        block = self.block
        if block.bias is not None:
            logits = list(map(add, logits, map(arb, block.bias[:, keys].ravel().tolist())))
        if block.slope is not None:
            assert block.distances is not None, "a slope is multiplied with distances"
            slope = arb(block.slope)
            logits = list(map(sub, logits, (slope * n for n in block.distances[:, keys].ravel().tolist())))
        return logits

    @property
    def sink(self) -> arb:
        """The logit of the sink."""
        assert self.block.sink is not None, "there is a sink"
        return arb(self.block.sink)
