"""What may be held at once, checked before anything is allocated."""

from __future__ import annotations

from verify.errors import TooLargeError

# What state and buffers of features may take.
MEMORY_LIMIT = 512 * 2**20


def check_memory(what: str, needed: int, limit: int, remedy: str) -> None:
    """Raise TooLargeError if so many bytes are more than the limit."""
    if needed > limit:
        raise TooLargeError(f"{what} need {_mebibytes(needed)}", f"at most {_mebibytes(limit)}", remedy)


def _mebibytes(count: int) -> str:
    return f"{-(-count // 2**20):,} MiB"
