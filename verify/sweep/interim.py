"""What is kept of an input's blocks in the run file, until its cells are finished."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property

from verify.attention.contract import Member
from verify.measure.decomposition import DIGITS
from verify.mechanisms.registry import baseline
from verify.sweep.provenance import code_digest
from verify.sweep.spec import SCHEMA
from verify.sweep.store import RunFile
from verify.sweep.tasks import Packed, Subject


class KeptBlocks:
    """What was found out on the blocks of one input, each under everything that determines it."""

    def __init__(self, run: RunFile, subject: Subject) -> None:
        self.run, self.subject = run, subject

    def fetch(self, what: str, place: int, member: Member | None, arithmetic: str | None) -> Packed | None:
        """Return what was kept, or None."""
        return self.run.fetch(self._key(what, place, member, arithmetic))

    def keep(self, what: str, place: int, member: Member | None, arithmetic: str | None, content: Packed) -> None:
        """Commit something."""
        self.run.keep(self._key(what, place, member, arithmetic), self._about, content)

    def discard(self) -> None:
        """Forget all of it."""
        self.run.discard(self._about)

    @cached_property
    def _about(self) -> str:
        """What everything has in common that is kept of this input."""
        return _hashed([self.subject.digest, self.subject.sample, self.subject.block_pairs])

    def _key(self, what: str, place: int, member: Member | None, arithmetic: str | None) -> str:
        mechanism = baseline().member.mechanism if member is None else member.mechanism
        name = None if member is None else member.name
        return _hashed([self._about, what, place, name, arithmetic, DIGITS, SCHEMA, code_digest(mechanism)])


def _hashed(content: list[str | int | None]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
