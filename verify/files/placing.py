"""New files, put in place in one step: nobody ever sees half of one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from verify.errors import InvalidRequestError


def require_placeable(path: Path, *, overwrite: bool) -> None:
    """Raise InvalidRequestError if `place` could not put a file there now: to be asked before long work."""
    with _explained(path), contextlib.suppress(FileNotFoundError):
        path.lstat()
        if not overwrite:
            raise FileExistsError
    if path.is_dir():
        raise InvalidRequestError(f"{path}, a folder", "a file to write", "name a file in it")
    with _explained(path), tempfile.TemporaryFile(dir=path.parent):
        pass


def place(path: Path, write: Callable[[BinaryIO], object], *, overwrite: bool) -> None:
    """Write a file under another name and give it its own when it is whole; if anything fails, nothing is left of it.

    Raises InvalidRequestError if there is a file of that name that must not be overwritten, or if none can be written.
    """
    with _explained(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".attnproof.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
            temporary.chmod(0o644)
            if overwrite:
                temporary.replace(path)
            else:
                _link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _link(temporary: Path, path: Path) -> None:
    """Give a file its name unless it is taken, as replacing would not."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(path):
            raise FileExistsError from None
        temporary.replace(path)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise _taken(path) from error
    except OSError as error:
        raise InvalidRequestError(
            f"{path} cannot be written ({error.strerror or error})", "a path that can be", "choose another one"
        ) from error


def _taken(path: Path) -> InvalidRequestError:
    return InvalidRequestError(f"{path}, which exists", "a new file", "choose another name, or force it")
