"""Executors: where calls run. In this process, or in spawned ones that end with it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import islice, starmap
from typing import Any, TypeVar

from verify.errors import WorkerDiedError

Result = TypeVar("Result")

# Makes a pool when there is work for it, and another one when a dying worker has broken it.
Executors = Callable[[], Executor]


def workers_of(executor: Executor) -> int:
    """Return how many calls an executor runs at once, as far as it says so; otherwise one for each core."""
    return int(getattr(executor, "_max_workers", cores()))


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class InProcessExecutor(Executor):
    """Runs each call at once in the calling thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call fn now and return the finished future."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # it belongs to whoever asks the future, as in any executor
            future.set_exception(error)
        return future


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool of spawned processes (forking with linear algebra threads alive can deadlock)."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_worker_starts)


@contextmanager
def every_core() -> Iterator[Executor | None]:
    """Yield a pool of as many processes as there are cores, which start with the first call; None for a single core."""
    workers = cores()
    with ended_pool(lambda: worker_pool(workers)) if workers > 1 else nullcontext() as executor:
        yield executor


def _worker_starts() -> None:
    sys.stdout = sys.stderr  # what somebody else's mechanism prints there is no result
    # Ctrl-C reaches every process of the terminal's group: a worker just ends, the parent reports.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()  # a parent that was killed leaves no orphans


def submitted(pool: Executor, fn: Callable[..., Result], *arguments: Any) -> Future[Result]:
    """Submit a call while SIGINT is blocked: a worker spawned here inherits that until it is ready for the signal.

    What a process cannot unpickle is an error of the call, not its death: a mechanism whose file has changed, say.
    """
    if isinstance(pool, ProcessPoolExecutor):
        packed = InProcessExecutor().submit(pickle.dumps, (fn, arguments))
        if packed.exception() is not None:
            return packed
        fn, arguments = _unpacked, (packed.result(),)
    if not hasattr(signal, "pthread_sigmask"):
        return pool.submit(fn, *arguments)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(fn, *arguments)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def in_turn(
    executor: Executor | None, work: str, fn: Callable[..., Result], calls: Iterable[tuple[Any, ...]]
) -> Iterator[Result]:
    """Yield what calls return, in their order; no more are under way than keep an executor busy.

    Without one they run in this process.  work: what a process of it does, said by the WorkerDiedError if one dies.
    """
    if executor is None:
        yield from starmap(fn, calls)
        return
    waiting = iter(calls)
    pending: deque[Future[Result]] = deque()
    try:
        while True:
            for call in islice(waiting, workers_of(executor) + 1 - len(pending)):
                pending.append(submitted(executor, fn, *call))
            if not pending:
                return
            yield pending.popleft().result()
    except BrokenExecutor as error:
        raise WorkerDiedError(
            f"a process that {work} died (out of memory, or an abort inside a library); do it on fewer at a time"
        ) from error
    finally:
        for future in pending:
            future.cancel()


def _unpacked(call: bytes) -> Any:
    fn, arguments = pickle.loads(call)  # noqa: S301 - what the parent process packed
    return fn(*arguments)


@contextmanager
def ended_pool(executor: Executors) -> Iterator[Executor]:
    """Yield a pool; if the work is given up, end the processes it started instead of waiting for them."""
    others = set(multiprocessing.active_children())
    with executor() as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - others:
                child.terminate()
            raise
