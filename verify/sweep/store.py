"""The run file: one SQLite database, one committed transaction per finished cell."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from verify.errors import InvalidRequestError
from verify.sweep.record import Record, Status

APPLICATION_ID = 0x61747470  # "attp"
USER_VERSION = 1

_TABLES = """
CREATE TABLE session (id INTEGER PRIMARY KEY, started TEXT NOT NULL, provenance TEXT NOT NULL);
CREATE TABLE cell (
    key TEXT PRIMARY KEY, session INTEGER NOT NULL REFERENCES session, status TEXT NOT NULL, record TEXT NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Session:
    """One invocation that wrote to a run file: when it started, and what it ran on and was asked for."""

    number: int
    started: str
    provenance: dict[str, Any]


class RunFile:
    """A run file, opened for writing (created if absent) or for reading only; a context manager.

    Raises InvalidRequestError if the file cannot be opened, or is not a run file of this version.
    """

    def __init__(self, path: Path, *, write: bool = False) -> None:
        """Open the file."""
        self.path = path
        self._session: int | None = None
        if not write and not path.is_file():
            raise InvalidRequestError(
                f"no run file {path}", "a file written by a sweep", "check the path or run a sweep"
            )
        try:
            if write:
                path.parent.mkdir(parents=True, exist_ok=True)
            mode = "rwc" if write else "ro"
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None
            )
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error, write) from error
        try:
            self._prepare(write)
        except sqlite3.Error as error:
            self._connection.close()
            raise self._unusable(error, write) from error
        except InvalidRequestError:
            self._connection.close()
            raise

    def _prepare(self, write: bool) -> None:
        empty = self._pragma("schema_version") == 0
        if write and empty:
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
            # fails now rather than after the work if writing is not allowed
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("ROLLBACK")

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    def _unusable(self, error: Exception, write: bool) -> InvalidRequestError:
        purpose = "written" if write else "read"
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return InvalidRequestError(
            f"{self.path} cannot be {purpose} ({why})", f"a run file that can be {purpose}", "choose another path"
        )

    def begin(self, started: str, provenance: dict[str, Any]) -> None:
        """Start a session; the cells written after it belong to it."""
        self._connection.execute("PRAGMA journal_mode = WAL")
        cursor = self._connection.execute(
            "INSERT INTO session (started, provenance) VALUES (?, ?)", (started, json.dumps(provenance, sort_keys=True))
        )
        self._session = cursor.lastrowid

    def status(self, key: str) -> Status | None:
        """Return how the cell ended, or None if it is not in the file."""
        row = self._connection.execute("SELECT status FROM cell WHERE key = ?", (key,)).fetchone()
        return None if row is None else Status(row[0])

    def write(self, key: str, record: Record) -> None:
        """Commit one finished cell."""
        assert self._session is not None, "begin() comes before write()"
        self._connection.execute(
            "INSERT OR REPLACE INTO cell (key, session, status, record) VALUES (?, ?, ?, ?)",
            (key, self._session, record.status, record.to_json()),
        )

    def record(self, key: str) -> dict[str, Any] | None:
        """Return one cell as plain data, or None."""
        row = self._connection.execute("SELECT record FROM cell WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield every cell as plain data with its session's number, in the order of sessions and keys."""
        query = "SELECT session, record FROM cell ORDER BY session, key"
        for session, text in self._connection.execute(query):
            yield {"session": session, **json.loads(text)}

    def sessions(self) -> list[Session]:
        """Return the sessions that wrote to this file, first to last."""
        rows = self._connection.execute("SELECT id, started, provenance FROM session ORDER BY id")
        return [Session(number, started, json.loads(text)) for number, started, text in rows]

    def close(self) -> None:
        """Close the file; one that was written to is left as a single file without a journal beside it."""
        if self._session is not None:
            with suppress(sqlite3.OperationalError):  # somebody else has it open: the journal stays, and is valid
                self._connection.execute("PRAGMA journal_mode = DELETE")
        self._connection.close()

    def __enter__(self) -> RunFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
