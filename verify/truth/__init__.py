"""The truth: certified enclosures, and the textbook definition they are checked against."""

from verify.truth.certificate import Certificate, certify
from verify.truth.definition import defined_attention
from verify.truth.mechanisms import MECHANISMS, check_mechanism, check_order
from verify.truth.precision import MAX_BITS
from verify.truth.reference import Reference, difference, reference, taylor_references

__all__ = [
    "MAX_BITS",
    "MECHANISMS",
    "Certificate",
    "Reference",
    "certify",
    "check_mechanism",
    "check_order",
    "defined_attention",
    "difference",
    "reference",
    "taylor_references",
]
