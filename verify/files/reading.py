"""Files of arrays, opened in one way: whatever goes wrong while one is read is said in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from verify.errors import InvalidRequestError


@contextmanager
def reading(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file; InvalidRequestError says what is wrong with it, whatever the reader raises."""
    try:
        with Path(path).open("rb") as file:
            yield file
    except InvalidRequestError:
        raise
    except FileNotFoundError as error:
        raise InvalidRequestError(f"no file {path}", "an existing file", "check the path") from error
    except Exception as error:  # damaged bytes make the readers raise nearly anything, from zlib.error to TokenError
        why = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
        raise InvalidRequestError(
            f"{path} cannot be read ({why})", "numeric arrays without pickled objects", "check that the file is whole"
        ) from error
