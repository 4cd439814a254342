"""Tools of whoever writes a mechanism: the contract, operands, computed outputs, sums, states and their files."""

from verify.attention.computed import AttentionOutput
from verify.attention.contract import Cost, Form, Mechanism, Member
from verify.attention.hazards import Hazards
from verify.attention.variant import Variant

__all__ = ["AttentionOutput", "Cost", "Form", "Hazards", "Mechanism", "Member", "Variant"]
