"""The run file: one SQLite database, one committed transaction per finished cell."""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from verify.arguments import Value
from verify.errors import InvalidRequestError
from verify.families.costs import FeatureCost
from verify.files.documents import decoded, plain, restored
from verify.sweep.batches import Batch, Heads, batches, heads
from verify.sweep.columns import CELL, Column
from verify.sweep.portrait import Portrait
from verify.sweep.record import Record, Status, variant_of
from verify.sweep.rows import BATCH, CELLS, checked_rest, feature_costs, insert, records_at, rests_at
from verify.sweep.schema import APPLICATION_ID, USER_VERSION, description, statements

try:
    import fcntl
except ImportError:  # only POSIX has it; elsewhere nobody keeps two sweeps apart
    fcntl = None  # type: ignore[assignment]

Parsed = TypeVar("Parsed")


def _portraits(text: str) -> list[Portrait]:
    return [restored(Portrait, each) for each in json.loads(text)]


def _seconds(value: Any) -> float | None:
    if value is not None and not (type(value) is float and 0.0 <= value < math.inf):
        raise ValueError(f"{value!r} as seconds")
    return value


def _provenance(text: str) -> dict[str, Any]:
    document = json.loads(text)
    if not isinstance(document, dict) or set(document) != {"command", "spec", "limits", "machine"}:
        raise ValueError("not the members of a session")
    return document


def _descriptor(text: str) -> dict[str, Any]:
    document = json.loads(text)
    members = {"name", "description", "source", "parameters", "axis", "proposed", "formula_error", "forms"}
    if not isinstance(document, dict) or set(document) != members:
        raise ValueError("not the members of a mechanism")
    return document


@dataclass(frozen=True)
class Identity:
    """What a cell is about, whatever code measured it.  variant: member, form and options.  rows: measured ones."""

    input: str
    digest: str
    variant: str
    arithmetic: str
    rows: int


def _identity(row: Sequence[Any]) -> Identity:
    *texts, rows = row
    if not all(isinstance(text, str) for text in texts) or not isinstance(rows, int):
        raise ValueError("a cell that is about nothing")
    name, digest, member, form, options, arithmetic = texts
    own = restored(CELLS["options"].kind, decoded(options))
    return Identity(name, digest, f"{member}/{variant_of(form, own)}", arithmetic, rows)


@dataclass(frozen=True)
class Session:
    """One invocation that wrote to a run file: when it started, and what it ran on and was asked for."""

    number: int
    started: str
    provenance: dict[str, Any]


def damaged(path: Path, error: Exception) -> InvalidRequestError:
    """Return what is to be raised for a run file that holds what no sweep writes."""
    return InvalidRequestError(
        f"{path}, which is damaged ({error})", "what a sweep has written", "run the sweep into a new file"
    )


def _half(path: Path) -> bool:
    """Say whether a file was written together with a journal (path-wal) that is not beside it any more.

    Bytes 18 and 19 of a database are 2 while its latest transactions are in the journal
    (https://www.sqlite.org/fileformat2.html, section 1.3.3); a sweep that ends puts both together.
    """
    journal = Path(f"{path}-wal")
    with path.open("rb") as file:
        return file.read(20)[18:] == b"\2\2" and not (journal.is_file() and journal.stat().st_size)


class RunFile:
    """A run file, opened for writing (created if absent) or for reading only; a context manager.

    One may be open for writing at a time, by whatever process.  Raises InvalidRequestError if the file cannot be
    opened, is not a run file of this version, lacks the journal that its latest cells are in, or is written by somebody
    else.
    """

    def __init__(self, path: Path, *, write: bool = False, patience: float = 10.0) -> None:
        """Open the file; wait for others who write to it for so many seconds."""
        self.path = path
        self._session: int | None = None
        self._write, self._claim = write, -1
        if not write and not path.is_file():
            raise InvalidRequestError(
                f"no run file {path}", "a file written by a sweep", "check the path or run a sweep"
            )
        self._purpose = "written" if write else "read"
        with self._explained():
            if write:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._claim = self._claimed()
            elif _half(path):
                raise InvalidRequestError(
                    f"{path} without {path.name}-wal, which its latest cells are in",
                    "both files of a sweep that was killed",
                    "copy both, or run the sweep on it again, which measures what is missing",
                )
            mode = "rwc" if write else "ro"
            uri = f"{path.absolute().as_uri()}?mode={mode}"
            self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=patience)
        try:
            with self._explained():
                self._prepare(write)
        except InvalidRequestError:
            self._end()
            raise

    def _claimed(self) -> int:
        """Return a descriptor that keeps others from writing to the file while it is open."""
        found = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is not None:
                fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(found)
            raise InvalidRequestError(
                f"{self.path}, which another sweep writes to", "one at a time", "wait for it, or choose another file"
            ) from None
        return found

    def _end(self) -> None:
        self._connection.close()
        if self._claim >= 0:  # after the connection, whose locks end with any descriptor of the file
            os.close(self._claim)

    def _prepare(self, write: bool) -> None:
        empty = self._pragma("schema_version") == 0
        if write and empty:
            self._connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # room of what is discarded is given back
            with self._transaction():
                for statement in statements():
                    self._connection.execute(statement)
                self._connection.executemany("INSERT INTO about VALUES (?, ?, ?, ?)", description())
        elif self._pragma("application_id") != APPLICATION_ID:
            raise InvalidRequestError(
                f"{self.path}, not a run file", "a file written by a sweep", "choose another path"
            )
        elif self._pragma("user_version") != USER_VERSION:
            raise InvalidRequestError(
                f"{self.path}, a run file of version {self._pragma('user_version')}",
                f"version {USER_VERSION}",
                "run the sweep into a new file",
            )
        if write:
            # fails now rather than after the work if writing is not allowed: a read-only file minds only a real change
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("DELETE FROM cell WHERE key IS NULL")
            self._connection.execute("ROLLBACK")

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the operating system or SQLite says into a request that was wrong."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            remedy = "choose another path, or wait until nobody else uses it"
            if not self._write and Path(f"{self.path}-wal").is_file() and not os.access(self.path.parent, os.W_OK):
                remedy = f"copy it with {self.path.name}-wal to a folder that can be written"
            raise InvalidRequestError(
                f"{self.path} cannot be {self._purpose} ({why})", f"a run file that can be {self._purpose}", remedy
            ) from error

    def begin(self, started: str, provenance: dict[str, Any]) -> None:
        """Start a session; the cells written after it belong to it."""
        row = (started, json.dumps(provenance, sort_keys=True))
        with self._explained():
            self._connection.execute("PRAGMA journal_mode = WAL")
            cursor = self._connection.execute("INSERT INTO session (started, provenance) VALUES (?, ?)", row)
        self._session = cursor.lastrowid

    def describe(self, descriptor: dict[str, Any], portraits: Sequence[Portrait]) -> None:
        """Keep what a report has to know of a mechanism that this session measures, and of its members."""
        assert self._session is not None, "begin() comes before describe()"
        texts = [json.dumps(document, sort_keys=True, allow_nan=False) for document in (descriptor, plain(portraits))]
        with self._explained():
            self._connection.execute(
                "INSERT INTO mechanism (session, name, descriptor, portraits) VALUES (?, ?, ?, ?)",
                (self._session, descriptor["name"], *texts),
            )

    def descriptors(self) -> dict[tuple[int, str], dict[str, Any]]:
        """Return the descriptors of mechanisms by session and name."""
        with self._explained():
            rows = self._connection.execute("SELECT session, name, descriptor FROM mechanism").fetchall()
        return {(session, name): self._intact(_descriptor, text) for session, name, text in rows}

    def portraits(self) -> dict[str, Portrait]:
        """Return what is known of members without any input, by name, from the last session that measured each."""
        with self._explained():
            rows = self._connection.execute("SELECT portraits FROM mechanism ORDER BY session, name").fetchall()
        return {found.member: found for (text,) in rows for found in self._intact(_portraits, text)}

    def count(self) -> int:
        """Return how many finished cells there are."""
        with self._explained():
            return int(self._connection.execute("SELECT count(*) FROM cell").fetchone()[0])

    def ended(self, key: str) -> tuple[Status | None, int]:
        """Return how the cell ended, and in which session; None and 0 if it is not in the file."""
        with self._explained():
            row = self._connection.execute("SELECT status, session FROM cell WHERE key = ?", (key,)).fetchone()
        return (None, 0) if row is None else (self._intact(Status, row[0]), row[1])

    def write(self, key: str, record: Record, seconds: float | None = None) -> None:
        """Commit one finished cell.  seconds: that computing its output took, which no record has."""
        assert self._session is not None, "begin() comes before write()"
        with self._explained(), self._transaction():
            insert(self._connection, key, self._session, record, seconds)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:  # SQLite ends it itself when a disk is full
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def record(self, key: str) -> Record | None:
        """Return one cell, or None."""
        return next((record for _, record in self.records_of([key])), None)

    def ids(self) -> list[int]:
        """Return the ids of all cells, by sessions and keys."""
        with self._explained():
            return [cell for (cell,) in self._connection.execute("SELECT id FROM cell ORDER BY session, key")]

    def labels(self) -> list[dict[str, Value]]:
        """Return what tables show of members, each once."""
        with self._explained(), self._undamaged():
            texts = self._connection.execute("SELECT DISTINCT labels FROM cell ORDER BY labels").fetchall()
            return [restored(CELLS["labels"].kind, decoded(text)) for (text,) in texts]

    def records(self) -> Iterator[tuple[int, Record, float | None]]:
        """Yield the number of its session, its record, and its seconds for every cell, by sessions and keys."""
        for session, seconds, record in self._records(self.ids()):
            yield session, record, self._intact(_seconds, seconds)

    def fetch(self, key: str) -> bytes | None:
        """Return what was kept under a key of blocks of cells that are not finished, or None."""
        with self._explained():
            row = self._connection.execute("SELECT content FROM interim WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def keep(self, key: str, subject: str, content: bytes) -> None:
        """Commit what was found out on a block of an input, until its cells are finished."""
        with self._explained():
            self._connection.execute("INSERT OR REPLACE INTO interim VALUES (?, ?, ?)", (key, subject, content))

    def discard(self, subject: str) -> None:
        """Forget what was kept about an input."""
        with self._explained():
            self._connection.execute("DELETE FROM interim WHERE subject = ?", (subject,))

    def records_of(self, keys: Iterable[str]) -> Iterator[tuple[int, Record]]:
        """Yield the cells of those of some keys that are there, in their order, each with its session's number."""
        query = "SELECT id FROM cell WHERE key = ?"
        with self._explained():
            found = [self._connection.execute(query, (key,)).fetchone() for key in keys]
        for session, _, record in self._records([row[0] for row in found if row is not None]):
            yield session, record

    def _records(self, ids: Sequence[int]) -> Iterator[tuple[int, Any, Record]]:
        """Yield cells; damaged unless they have an error of the formula where their mechanism is described with one."""
        described = self._formula_errors()
        with self._explained(), self._undamaged():
            for _, session, seconds, record in records_at(self._connection, ids):
                if (session, record.mechanism) in described:
                    record.shape.require_described(described[session, record.mechanism])
                yield session, seconds, record

    def _formula_errors(self) -> dict[tuple[int, str], str | None]:
        return {key: document["formula_error"] for key, document in self.descriptors().items()}

    def numbers(self, columns: Sequence[Column] = CELL) -> tuple[list[Batch], Heads]:
        """Return all cells, column by column, as they were written one after the other, and all heads.

        columns: those to read; what a cell is about is always among them, and of what only measured cells have one
        number of each group.  What is not read is not looked at.
        """
        described = self._formula_errors()
        with self._explained(), self._undamaged():
            found = list(batches(self._connection, described, columns))
            own = heads(self._connection)  # after the cells: those of newer ones do no harm
            own.require_of(found)
        return found, own

    def counts(self) -> list[FeatureCost]:
        """Return what the features of mechanisms cost, once for all cells of which it is the same."""
        with self._explained(), self._undamaged():
            return feature_costs(self._connection)

    def batches(self, ids: Sequence[int]) -> Iterator[Batch]:
        """Yield every column of the cells that have some ids, in their order."""
        described = self._formula_errors()
        with self._explained(), self._undamaged():
            yield from batches(self._connection, described, CELL, ids)

    def rests(self, ids: Sequence[int]) -> Iterator[dict[str, str | None]]:
        """Yield what is no single number, as compact JSON by column, of cells with some ids, in their order.

        Raises InvalidRequestError also if one is not there any more.
        """
        for first in range(0, len(ids), BATCH):
            with self._explained(), self._undamaged():
                found = rests_at(self._connection, ids[first : first + BATCH])
                for cell in ids[first : first + BATCH]:
                    if cell not in found:
                        raise InvalidRequestError(
                            f"{self.path}, which changed while it was read", "a file at rest", "try again"
                        )
                    yield checked_rest(found[cell])

    def identities(self) -> dict[Identity, str]:
        """Return the keys of cells by what they are about: of several about the same, that of the last session."""
        columns = "input, digest, member, form, options, arithmetic, measured_rows"
        with self._explained():
            rows = self._connection.execute(f"SELECT key, {columns} FROM cell ORDER BY session, key")
            return {self._intact(_identity, about): key for key, *about in rows}

    def sessions(self) -> list[Session]:
        """Return the sessions that wrote to this file, first to last."""
        with self._explained():
            rows = self._connection.execute("SELECT id, started, provenance FROM session ORDER BY id").fetchall()
        return [Session(number, started, self._intact(_provenance, text)) for number, started, text in rows]

    def _intact(self, parse: Callable[[Any], Parsed], text: Any) -> Parsed:
        with self._undamaged():
            return parse(text)

    @contextmanager
    def _undamaged(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, OverflowError) as error:
            raise damaged(self.path, error) from error

    def close(self) -> None:
        """Close the file; one that was written to is left as a single file without a journal beside it."""
        if self._write:
            with suppress(sqlite3.OperationalError):  # somebody else has it open: the journal stays, and is valid
                if self._session is not None:  # a script is gone through to its end, which frees page after page
                    self._connection.executescript("PRAGMA incremental_vacuum")
                self._connection.execute("PRAGMA journal_mode = DELETE")
        self._end()

    def __enter__(self) -> RunFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
