"""The truth: certified enclosures, and the textbook definition they are checked against."""

from verify.numbers.precision import MAX_BITS
from verify.truth.certificate import Certificate, certify, certify_some
from verify.truth.definition import defined_attention
from verify.truth.demands import Demand, demanded
from verify.truth.gradients import Gradients, gradients
from verify.truth.in_blocks import MEMORY_LIMIT, members_at_once, processes_for
from verify.truth.merging import merged
from verify.truth.reference import MAX_DIGITS, Reference, difference, reference, references
from verify.truth.vectors import More, require_writable, write_vectors

__all__ = [
    "MAX_BITS",
    "MAX_DIGITS",
    "MEMORY_LIMIT",
    "Certificate",
    "Demand",
    "Gradients",
    "More",
    "Reference",
    "certify",
    "certify_some",
    "defined_attention",
    "demanded",
    "difference",
    "gradients",
    "members_at_once",
    "merged",
    "processes_for",
    "reference",
    "references",
    "require_writable",
    "write_vectors",
]
