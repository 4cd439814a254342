"""Ending work that takes too long: by an alarm where there is one, or else by an exception set from another thread."""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from verify.errors import OvertimeError


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raise OvertimeError in the block after so many seconds, as soon as Python runs again; None: never.

    What a library does by itself is not ended before it returns.  One block at a time in a thread, and none inside
    another.
    """
    if seconds is None:
        yield
    elif hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        yield from _by_alarm(seconds)
    else:
        yield from _by_thread(seconds)


def _by_alarm(seconds: float) -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise _overtime(seconds)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _by_thread(seconds: float) -> Iterator[None]:
    own, over, lock = threading.get_ident(), threading.Event(), threading.Lock()

    def ring() -> None:
        with lock:
            if not over.is_set():
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(own), ctypes.py_object(_Overtime))

    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()
    try:
        try:
            yield
        finally:
            with lock:
                over.set()
            timer.cancel()
    except _Overtime:  # which may come on the way out, too
        raise _overtime(seconds) from None


def _overtime(seconds: float) -> OvertimeError:
    return OvertimeError(f"work that takes more than {seconds:g} s", "no more", "allow it more (--timeout)")


class _Overtime(BaseException):
    """What a thread is told by another, which can only name a type; nothing that runs there takes it for its own."""
