"""The run file: one SQLite database, one committed transaction per finished cell."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from verify.arguments import value_text
from verify.errors import InvalidRequestError
from verify.files.documents import plain, restored
from verify.sweep.portrait import Portrait
from verify.sweep.record import Record, Status

try:
    import fcntl
except ImportError:  # only POSIX has it; elsewhere nobody keeps two sweeps apart
    fcntl = None  # type: ignore[assignment]

APPLICATION_ID = 0x61747470  # "attp"
USER_VERSION = 5

_TABLES = """
CREATE TABLE session (id INTEGER PRIMARY KEY, started TEXT NOT NULL, provenance TEXT NOT NULL);
CREATE TABLE cell (
    key TEXT PRIMARY KEY, session INTEGER NOT NULL REFERENCES session, status TEXT NOT NULL, record TEXT NOT NULL,
    seconds REAL
) WITHOUT ROWID;
CREATE TABLE mechanism (session INTEGER NOT NULL REFERENCES session, name TEXT NOT NULL, descriptor TEXT NOT NULL,
    portraits TEXT NOT NULL, PRIMARY KEY (session, name)) WITHOUT ROWID;
CREATE TABLE interim (key TEXT PRIMARY KEY, about TEXT NOT NULL, content BLOB NOT NULL);
CREATE INDEX interim_about ON interim (about);
"""


Parsed = TypeVar("Parsed")


def _portraits(text: str) -> list[Portrait]:
    return [restored(Portrait, each) for each in json.loads(text)]


def _seconds(value: Any) -> float | None:
    if value is not None and not (type(value) is float and 0.0 <= value < math.inf):
        raise ValueError(f"{value!r} as seconds")
    return value


def _provenance(text: str) -> dict[str, Any]:
    document = json.loads(text)
    if not isinstance(document, dict) or set(document) != {"command", "spec", "machine"}:
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
    """What a cell is about, whatever code measured it.  variant: member, form and options."""

    input: str
    digest: str
    variant: str
    arithmetic: str


def _identity(text: str) -> Identity:
    record = json.loads(text)
    try:
        options = ",".join(f"{name}={value_text(value)}" for name, value in record["options"].items())
        form = f"{record['form']}:{options}" if options else record["form"]
        found = record["input"], record["digest"], f"{record['member']}/{form}", record["arithmetic"]
    except (KeyError, AttributeError) as error:
        raise ValueError("not a record") from error
    if not all(isinstance(part, str) for part in found):
        raise ValueError("not a record")
    return Identity(*found)


@dataclass(frozen=True)
class Session:
    """One invocation that wrote to a run file: when it started, and what it ran on and was asked for."""

    number: int
    started: str
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Span:
    """Cells of a run file that can be read by themselves: those of a session from one key to another, both included."""

    session: int
    first: str
    last: str


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
            stamp = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {USER_VERSION};"
            self._connection.executescript(f"BEGIN; {stamp} {_TABLES} COMMIT;")
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

    def status(self, key: str) -> Status | None:
        """Return how the cell ended, or None if it is not in the file."""
        with self._explained():
            row = self._connection.execute("SELECT status FROM cell WHERE key = ?", (key,)).fetchone()
        return None if row is None else self._intact(Status, row[0])

    def write(self, key: str, record: Record, seconds: float | None = None) -> None:
        """Commit one finished cell.  seconds: that computing its output took, which no record has."""
        assert self._session is not None, "begin() comes before write()"
        row = (key, self._session, record.status, record.to_json(), seconds)
        with self._explained():
            self._connection.execute(
                "INSERT OR REPLACE INTO cell (key, session, status, record, seconds) VALUES (?, ?, ?, ?, ?)", row
            )

    def record(self, key: str) -> Record | None:
        """Return one cell, or None."""
        with self._explained():
            row = self._connection.execute("SELECT session, record FROM cell WHERE key = ?", (key,)).fetchone()
        return None if row is None else self._record(row[0], row[1], self.descriptors())

    def fetch(self, key: str) -> bytes | None:
        """Return what was kept under a key of blocks of cells that are not finished, or None."""
        with self._explained():
            row = self._connection.execute("SELECT content FROM interim WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def keep(self, key: str, about: str, content: bytes) -> None:
        """Commit what was found out on a block of an input, until its cells are finished."""
        with self._explained():
            self._connection.execute("INSERT OR REPLACE INTO interim VALUES (?, ?, ?)", (key, about, content))

    def discard(self, about: str) -> None:
        """Forget what was kept about an input."""
        with self._explained():
            self._connection.execute("DELETE FROM interim WHERE about = ?", (about,))

    def spans(self, cells: int) -> list[Span]:
        """Return all cells in spans of at most so many, by sessions and keys."""
        with self._explained():
            rows = self._connection.execute("SELECT session, key FROM cell ORDER BY session, key")
            keys = {session: [key for _, key in own] for session, own in groupby(rows, itemgetter(0))}
        return [
            Span(session, own[first], own[first : first + cells][-1])
            for session, own in keys.items()
            for first in range(0, len(own), cells)
        ]

    def records(self, span: Span | None = None) -> Iterator[tuple[int, Record, float | None]]:
        """Yield the number of its session, its record, and its seconds for every cell, by sessions and keys.

        span: only the cells in it.
        """
        described = self.descriptors()
        # session by session in the order of the primary key: to sort all records would move all of them
        query = "SELECT record, seconds FROM cell WHERE session = ? AND key BETWEEN ? AND ? ORDER BY key"
        for chosen in self.spans(sys.maxsize) if span is None else [span]:
            with self._explained():
                for text, seconds in self._connection.execute(query, (chosen.session, chosen.first, chosen.last)):
                    record = self._record(chosen.session, text, described)
                    yield chosen.session, record, self._intact(_seconds, seconds)

    def _record(self, session: int, text: str, described: Mapping[tuple[int, str], dict[str, Any]]) -> Record:
        """Return a record; damaged unless it has an error of the formula where its mechanism is described with one."""

        def parsed(text: str) -> Record:
            record = Record.from_json(text)
            mechanism = described.get((session, record.mechanism))
            if mechanism is not None and record.errors:
                has, errs = "formula" in record.errors, mechanism["formula_error"] is not None
                if has != errs:
                    raise ValueError(f"not the errors of {record.mechanism}")
            return record

        return self._intact(parsed, text)

    def identities(self) -> dict[Identity, str]:
        """Return the keys of cells by what they are about: of several about the same, that of the last session."""
        with self._explained():
            rows = self._connection.execute("SELECT key, record FROM cell ORDER BY session, key")
            return {self._intact(_identity, text): key for key, text in rows}

    def records_of(self, keys: Iterable[str]) -> Iterator[tuple[int, Record]]:
        """Yield the cells of some keys, one after the other, each with its session's number."""
        described = self.descriptors()
        query = "SELECT session, record FROM cell WHERE key = ?"
        for key in keys:
            with self._explained():
                session, text = self._connection.execute(query, (key,)).fetchone()
            yield session, self._record(session, text, described)

    def sessions(self) -> list[Session]:
        """Return the sessions that wrote to this file, first to last."""
        with self._explained():
            rows = self._connection.execute("SELECT id, started, provenance FROM session ORDER BY id").fetchall()
        return [Session(number, started, self._intact(_provenance, text)) for number, started, text in rows]

    def _intact(self, parse: Callable[[Any], Parsed], text: Any) -> Parsed:
        try:
            return parse(text)
        except (ValueError, TypeError) as error:
            raise damaged(self.path, error) from error

    def close(self) -> None:
        """Close the file; one that was written to is left as a single file without a journal beside it."""
        if self._write:
            with suppress(sqlite3.OperationalError):  # somebody else has it open: the journal stays, and is valid
                if self._session is not None:
                    self._connection.execute("PRAGMA incremental_vacuum").fetchall()
                self._connection.execute("PRAGMA journal_mode = DELETE")
        self._end()

    def __enter__(self) -> RunFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
