"""Threads that an event loop gives work to, in half of the time that an executor takes."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """A few threads, begun when there is first work for them; `end` when there is no more."""

    def __init__(self, count: int, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        names = [f"{name}_{n}" for n in range(count)]
        self._threads = [Thread(target=self._work, name=name, daemon=True) for name in names]
        self._begun = False

    def do(self, work: Callable[[], T], *, patience: float = 0.0) -> "asyncio.Future[T]":
        """What `work` returns or raises on one of the threads.

        It is left undone if nobody waits for it any more by then. patience: seconds for which the
        loop itself stands still for the result; a short wait costs less than what the loop would
        do meanwhile, and comes to its end at once.
        """
        if not self._begun:
            self._begun = True
            for thread in self._threads:
                thread.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        told: SimpleQueue[Callable[[], None]] = SimpleQueue()

        def job() -> None:
            if not future.cancelled():
                tell = _telling(future, work)
                told.put(tell)
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(tell)

        self._jobs.put(job)
        if patience:
            with suppress(Empty):
                told.get(timeout=patience)()
        return future

    def end(self) -> None:
        """Let the threads do what they were given, and wait for their end."""
        if self._begun:
            for _ in self._threads:
                self._jobs.put(None)
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # what it holds must not wait for the next one


def _telling(future: "asyncio.Future[Any]", work: Callable[[], Any]) -> Callable[[], None]:
    """Do the work, and give what tells the future of it, once."""
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - whoever waits gets it
        failure = error
        return lambda: None if future.done() else future.set_exception(failure)
    return lambda: None if future.done() else future.set_result(result)
