"""The costs of conventional attention against what is published, and operations counted while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from verify.families.costs import conventional_flops_per_token, kv_cache_size, script_flops_per_token
from verify.mechanisms.logexp.costs import logexp_state_size
from verify.mechanisms.softmax import costs, counting
from verify.numbers.formats import FORMATS, stored_bytes
from verify.proofs.finding import Check, listed

CONVENTIONAL = ((1, 7, 1000), (1, 8), (1, 3, None))  # n, d, d_v


SOFTMAX_COUNTED = ((64, 8, 8), (17, 3, 5), (1, 4, 2))


def _conventional() -> Iterator[str]:
    for n, size, given in product(*CONVENTIONAL):
        value_size = size if given is None else given
        for name, found, expected in (
            ("cache", kv_cache_size(n, size, given), n * size + n * value_size),
            (
                "FLOPs",
                conventional_flops_per_token(n, size, given),
                2 * n * size + 2 * n * value_size + 3 * n,
            ),
            ("FLOPs by the script", script_flops_per_token(n, size), 6 * n * size),
            ("log-exp state", logexp_state_size(size, given), size * value_size + size),
        ):
            if found != expected:
                yield f"at n = {n}, d = {size}, d_v = {value_size}: {name} {found}, not {expected}"
    for format_, count in product(FORMATS.values(), (1, 23, 1485)):
        stored = len(np.zeros(count, dtype=format_.dtype).tobytes())
        found = stored_bytes(count, format_)
        if found != stored:
            yield f"{count} numbers in {format_.name} take {stored} bytes, not {found}"


def _counted_softmax() -> Iterator[str]:
    for case in SOFTMAX_COUNTED:
        found, expected = counting.softmax_operations(*case), costs.as_softmax(*case)
        if found != expected:
            yield f"at n, d, d_v = {case}: counted {found}, expected {expected}"
        published = conventional_flops_per_token(*case)
        if found.flops != published - 1:
            yield f"at n, d, d_v = {case}: {found.flops} counted, and {published} published"


CHECKS = (
    Check(
        "conventional costs",
        "SA sections 2.6, 2.7; LE (6)",
        "as published: cache n (d_k + d_v), FLOPs n (2 d_k + 2 d_v + 3) or 6 n d, log-exp state d_k (d_v + 1), bytes of"
        " every format",
        "checked for n in {}, d in {}, d_v in {}".format(*map(listed, CONVENTIONAL)).replace("None", "d"),
        _conventional,
    ),
    Check(
        "operations of conventional attention",
        "SA section 2.7",
        "n (2 d_k + 2 d_v + 3) - 1 FLOPs executed, counted, and n + 1 comparisons",
        f"checked for (n, d, d_v) in {listed(SOFTMAX_COUNTED)}",
        _counted_softmax,
    ),
)
