"""The readers' threads: results, errors, and their end."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from gateway.store.threads import Threads


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads(2, "test")
    yield made
    made.end()


def fail() -> None:
    raise LookupError("no such thing")


async def test_work_is_done_elsewhere_and_told_here(threads: Threads) -> None:
    numbers = await asyncio.gather(*(threads.do(threading.get_ident) for _ in range(20)))
    assert threading.get_ident() not in numbers
    assert len(set(numbers)) <= 2


async def test_an_error_is_raised_where_work_is_waited_for(threads: Threads) -> None:
    with pytest.raises(LookupError, match="no such thing"):
        await threads.do(fail)
    assert await threads.do(lambda: 7) == 7


async def test_work_that_nobody_waits_for_is_left_undone(threads: Threads) -> None:
    begun, go, done = threading.Semaphore(0), threading.Event(), []

    def hold() -> None:
        begun.release()
        go.wait()

    held = [threads.do(hold), threads.do(hold)]
    for _ in held:
        await asyncio.to_thread(begun.acquire)
    given_up = threads.do(lambda: done.append(1))
    given_up.cancel()
    held[0].cancel()
    go.set()
    await held[1]
    assert await threads.do(lambda: 7) == 7
    await asyncio.to_thread(threads.end)
    assert done == []


async def test_what_takes_no_longer_than_the_patience_is_there_at_once(threads: Threads) -> None:
    done = threads.do(lambda: 7, patience=60)
    assert done.result() == 7
    failed = threads.do(fail, patience=60)
    assert isinstance(failed.exception(), LookupError)
    await asyncio.sleep(0.01)  # being told a second time changes nothing
    assert (await done, failed.done()) == (7, True)


async def test_what_takes_longer_is_told_later(threads: Threads) -> None:
    go = threading.Event()
    late = threads.do(go.wait, patience=0.001)
    assert not late.done()
    go.set()
    assert await late


async def test_what_was_given_is_done_before_the_end() -> None:
    threads = Threads(2, "test")
    futures = [threads.do(lambda n=n: n) for n in range(50)]  # type: ignore[misc]
    await asyncio.to_thread(threads.end)
    assert await asyncio.gather(*futures) == list(range(50))


def test_threads_without_work_end_at_once() -> None:
    Threads(2, "test").end()
