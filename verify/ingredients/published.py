"""Published polynomials, by name: fa4:3 is the one of degree 3 that FlashAttention-4 has for 2^x on [0, 1)."""

from __future__ import annotations

import re
from fractions import Fraction

from verify.errors import unknown
from verify.ingredients.polynomial import Polynomial

# T. Zadouri et al., FlashAttention-4, arXiv 2603.05451, section 3.1.3: p_0 = 1, the others by Sollya so that the
# relative error on [0, 1) is small.  The numbers are those of POLY_EX2 in flash_attn/cute/utils.py of
# Dao-AILab/flash-attention (commit 009739ff): numbers of float32, written out.
FLASH_ATTENTION_4 = {
    1: ("1", "0.922497093677520751953125"),
    2: ("1", "0.6657850742340087890625", "0.330107033252716064453125"),
    3: ("1", "0.695146143436431884765625", "0.227564394474029541015625", "0.077119089663028717041015625"),
    4: (
        "1",
        "0.693042695522308349609375",
        "0.2412912547588348388671875",
        "0.052225358784198760986328125",
        "0.013434938155114650726318359375",
    ),
    5: (
        "1",
        "0.693151414394378662109375",
        "0.24016360938549041748046875",
        "0.055802188813686370849609375",
        "0.00901452265679836273193359375",
        "0.00186810153536498546600341796875",
    ),
}

PUBLISHED = {
    f"fa4:{degree}": Polynomial(tuple(map(Fraction, coefficients)), "FlashAttention-4")
    for degree, coefficients in FLASH_ATTENTION_4.items()
}


_NAME = re.compile(r"[a-z]\w*:\d+", re.ASCII)


def is_published(text: str) -> bool:
    """Say whether a text is a name as those of published polynomials are."""
    return _NAME.fullmatch(text) is not None


def published(name: str) -> Polynomial:
    """Return a published polynomial; InvalidRequestError lists those there are."""
    if name not in PUBLISHED:
        raise unknown(f"unknown polynomial {name!r}", name, PUBLISHED)
    return PUBLISHED[name]
