"""When compaction and retention are done, and when they wait."""

from gateway.compactor import PATIENCE, Compactor
from gateway.core.clock import Now
from gateway.store.retention import Bounds


class Store:
    """Has so many steps of work to do."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.asked: list[tuple[str, object]] = []

    async def compact(self, now_ms: int, *, urgent: bool = False) -> int:
        self.asked.append(("compact", urgent))
        self.steps -= 1
        return max(0, self.steps)

    async def retain(self, bounds: Bounds, now_ms: int | None) -> int:
        self.asked.append(("retain", now_ms))
        return 0


def compactor(
    store: Store,
    *,
    busy=lambda: False,
    sure: bool = True,
    held: float = 0.0,
    full: bool = False,
    salvaging: bool = False,
) -> Compactor:
    return Compactor(
        store=store,
        bounds=Bounds(30, 730, 1000),
        clock=lambda: Now(5_000_000, 0),
        busy=busy,
        may_expire=lambda: sure,
        held=lambda: held,
        full=lambda: full,
        salvaging=lambda: salvaging,
    )


async def test_a_round_compacts_all_there_is_then_retains() -> None:
    store = Store(3)
    await compactor(store).round()
    assert store.asked == [("compact", False)] * 3 + [("retain", 5)]


async def test_nothing_expires_by_a_clock_that_may_be_wrong() -> None:
    store = Store(0)
    await compactor(store, sure=False).round()
    assert store.asked[-1] == ("retain", None)


async def test_too_large_a_database_is_urgent() -> None:
    store = Store(0)
    await compactor(store, held=1001.0).round()
    assert store.asked[0] == ("compact", True)


async def test_a_full_disk_is_urgent() -> None:
    store = Store(0)
    await compactor(store, full=True).round()
    assert store.asked == [("compact", True), ("retain", 5)]


async def test_nothing_moves_while_a_salvage_brings_old_rows_back() -> None:
    store = Store(3)
    await compactor(store, held=1001.0, salvaging=True).round()
    assert store.asked == []


async def test_a_full_disk_does_not_wait_for_a_salvage_that_has_no_room() -> None:
    store = Store(3)
    await compactor(store, full=True, salvaging=True).round()
    assert store.asked == [("retain", 5)]


async def test_it_waits_under_load_but_not_for_ever() -> None:
    store = Store(100)
    busy = compactor(store, busy=lambda: True)
    for _ in range(PATIENCE):
        await busy.round()
    assert store.asked == []
    await busy.round()
    assert store.asked == [("compact", False), ("retain", 5)]
