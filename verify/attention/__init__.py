"""Tools of whoever writes a mechanism: the contract, operands, computed outputs, sums, states and their files."""

from typing import TYPE_CHECKING

from verify.on_use import on_use

if TYPE_CHECKING:
    from verify.attention.computed import AttentionOutput
    from verify.attention.contract import Form, Mechanism, Member
    from verify.attention.cost import Cost
    from verify.attention.hazards import Hazards
    from verify.attention.variant import Variant

__all__ = ["AttentionOutput", "Cost", "Form", "Hazards", "Mechanism", "Member", "Variant"]

__getattr__, __dir__ = on_use(
    __name__,
    {
        "AttentionOutput": "computed",
        "Cost": "cost",
        "Form": "contract",
        "Hazards": "hazards",
        "Mechanism": "contract",
        "Member": "contract",
        "Variant": "variant",
    },
)
