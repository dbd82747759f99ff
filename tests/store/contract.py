"""What every implementation of `Store` must do; a test class inherits it and makes the stores."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from gateway.core import facts as f
from gateway.core.readings import NS_PER_MS, Clock, Kind
from gateway.errors import StoreBusy, StoreUnavailable
from gateway.store import CommandRow, Opened, OutboxStats, Store, Tally
from gateway.store.journal import pack
from tests.store.samples import (
    BOOT,
    HOUR,
    NOW,
    entry,
    event,
    gap_entry,
    made,
    order,
    put,
    row,
    senml_entry,
    world,
)

ALWAYS = {"since_ns": -(2**62), "until_ns": 2**62}
Restart = Callable[[], Awaitable[Opened]]


async def gathered(store: Store, **query: Any) -> list[tuple[int, Clock, list[int], list[Any]]]:
    found = store.readings(**{**ALWAYS, **query})
    return [(n, run.clock, run.t.tolist(), run.v.tolist()) async for n, run in found]


class StoreContract:
    """Needs a fixture `new_store`: makes stores, not yet open, that share one place on disk."""

    @pytest.fixture
    async def store(self, new_store: Callable[[], Store]) -> AsyncIterator[Store]:
        store = new_store()
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    def reopened(self, store: Store, new_store: Callable[[], Store]) -> Callable[[], Any]:
        """Close the store and say what another one, opened in its place, finds."""

        async def reopen() -> Opened:
            await store.close()
            other = new_store()
            try:
                return await other.open()
            finally:
                await other.close()

        return reopen

    # -- opening ----------------------------------------------------------------------------

    async def test_a_new_store_has_names_and_is_clean(self, new_store: Any) -> None:
        store = new_store()
        opened = await store.open()
        await store.close()
        assert opened.clean
        assert len(bytes.fromhex(opened.meta["store_id"])) == 8
        assert len(opened.meta["log_epoch"]) == 8
        assert set(opened.highest.values()) == {0}

    async def test_users_tokens_and_sign_ins(self, store: Store, reopened: Any) -> None:
        signed_in = f.SignedIn("s1", "ada", NOW, NOW + 5)
        await store.commit(
            [
                f.UserSet("ada", "old", NOW),
                f.UserSet("eve", "hash", NOW),
                f.TokenSet("grafana", "h1", NOW),
                f.TokenSet("other", "h2", NOW),
                signed_in,
                f.SignedIn("s2", "eve", NOW, NOW + 9),
            ]
        )
        await store.commit(
            [
                f.UserSet("ada", "new", NOW + 1),
                f.SignedOut("s2"),
                f.UserRemoved("eve"),
                f.TokenRevoked("other"),
                f.UserSet("bob", "hash", NOW),
                f.UserRemoved("bob"),
            ]
        )
        opened = await reopened()
        assert opened.users == [f.UserSet("ada", "new", NOW)]
        assert opened.tokens == [f.TokenSet("grafana", "h1", NOW)]
        assert opened.sign_ins == [signed_in]

    async def test_names_stay_over_a_restart(self, store: Store, reopened: Any) -> None:
        await store.commit([f.MetaSet("watermark_ns", "17")])
        first = await reopened()
        second = await reopened()
        assert first.meta == second.meta
        assert first.meta["watermark_ns"] == "17"
        assert first.clean

    async def test_a_second_writer_is_refused(self, store: Store, new_store: Any) -> None:
        other = new_store()
        with pytest.raises(StoreBusy, match="stop it first"):
            await other.open()
        await other.close()
        await store.commit([event(1)])

    async def test_closing_twice_is_harmless(self, new_store: Any) -> None:
        store = new_store()
        await store.open()
        await store.close()
        await store.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.event_bounds()
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.commit([event(1)])

    async def test_a_commit_before_open_is_refused(self, new_store: Any) -> None:
        store = new_store()
        with pytest.raises(StoreUnavailable):
            await store.commit([event(1)])
        await store.close()

    # -- facts come back --------------------------------------------------------------------

    async def test_devices_and_their_streams(self, store: Store, reopened: Any) -> None:
        await store.commit(
            [
                *world(),
                *world("shed-2", 2),
                f.DevicePresence("online", NOW, None, NOW + 1, 1),
                f.DeviceConfig(3, '{"rate":1}', 1),
                f.StreamMoved(77, NOW + 5, 1),
                f.StreamForgotten(2),
                f.DeviceRemoved(2),
            ]
        )
        opened = await reopened()
        one, two = opened.devices
        assert (one.name, one.state, one.last_seen, one.config) == (
            "shed-1", "online", NOW + 1, '{"rate":1}',
        )  # fmt: skip
        assert one.removed is False
        assert two.removed is True
        assert opened.streams == [f.StreamOpened(1, 1, f"{1:016x}", 77, NOW + 5)]
        assert [schema.id for schema in opened.schemas] == [1]
        assert opened.highest["stream"] == 2

    async def test_how_alerts_stand(self, store: Store, reopened: Any) -> None:
        opened = f.AlertStands(3, "open", NOW, None, 5, '{"n":3}', "hot", "shed-1", "temp")
        waits = f.AlertStands(None, "closed", 0, 7, 8, "{}", "hot", "shed-2", "")
        await store.commit([*world(), opened, waits])
        closed = opened._replace(id=4, state="closed", payload='{"n":4}')
        await store.commit([closed])
        found = await reopened()
        assert found.alerts == [closed, waits]
        assert found.highest["alert"] == 4

    async def test_a_removed_device_can_come_back_in_the_same_commit(
        self, store: Store, reopened: Any
    ) -> None:
        again = f.DeviceAdded(1, "shed-1", "other", True, NOW)
        await store.commit([*world(), f.DeviceRemoved(1), again, f.DeviceAccess("third", True, 1)])
        (device,) = (await reopened()).devices
        assert (device.removed, device.disabled, device.token_hash) == (False, True, "third")
        assert device.speaks_for_others is True

    async def test_boots_keep_their_best_mapping(self, store: Store, reopened: Any) -> None:
        await store.commit([*world(), f.BootSeen(1, BOOT.hex(), 5, 1, NOW)])
        await store.commit([f.BootSeen(1, BOOT.hex(), None, None, NOW + 1)])
        assert (await reopened()).boots == [f.BootSeen(1, BOOT.hex(), 5, 1, NOW + 1)]

    async def test_series_and_their_newest_readings(self, store: Store, reopened: Any) -> None:
        await store.commit(
            [
                *world(),
                f.SeriesLearned(1, 1, "temperature", "K", Kind.NUMBER),
                f.SeriesLatest(5, 0.1, Clock.MAPPED, 1),
                f.SeriesLatest(5, True, Clock.DEVICE, 2),
                f.SeriesLatest(None, "open", Clock.UNKNOWN, 3),
                f.SeriesLatest(5, 2**64 - 1, Clock.DEVICE, 4),
            ]
        )
        series = (await reopened()).series
        assert [one.last_value for one in series] == [0.1, True, "open", float(2**64 - 1)]
        assert series[1].last_value is True
        assert series[0].unit == "K"
        assert series[2].last_clock is Clock.UNKNOWN

    async def test_revisions_due_and_done(self, store: Store, reopened: Any) -> None:
        due = f.RevisionDue("10s", NOW, 1)
        await store.commit([due, due, f.RevisionDue("1m", NOW, 1)])
        await store.commit([due, f.RevisionDone("1m", NOW, 1), f.RevisionDone("10s", NOW, 1)])
        assert (await reopened()).dues == [due]

    async def test_losses_and_rejections(self, store: Store, reopened: Any) -> None:
        losses = [f.Loss(i, 1, "e", i, i + 1, 1, 10 if i % 2 else None, NOW) for i in range(1, 31)]
        rejections = [f.Rejection(i, 1, "e", i, 3, "bad", NOW, b"\xff") for i in range(1, 4)]
        await store.commit([*world(), *losses, *rejections])
        assert await store.losses(1, limit=3) == losses[:-4:-1]
        assert await store.losses(1, before=2) == losses[:1]
        assert await store.losses(2) == []
        assert await store.rejections(1, limit=2) == rejections[:0:-1]
        opened = await reopened()
        assert opened.tallies == {1: Tally(30, 150, 3)}
        assert opened.losses == {1: losses[-20:]}

    async def test_commands(self, store: Store, reopened: Any) -> None:
        first = order(1, expires=NOW + 5, dedupe="k")
        await store.commit([*world(), first, order(2, dedupe="k"), order(3, "done")])
        await store.commit([f.CommandMoved(9, "sent", None, NOW + 1, 1)])
        await store.commit([f.CommandMoved(None, "handled", None, NOW + 2, 1)])
        found = await store.command(1)
        expected = CommandRow(*first, result=None, updated=NOW + 2)
        assert found == expected._replace(seq=9, state="handled")
        assert await store.command(99) is None
        again = await store.command_by_dedupe(1, "k")
        assert again is not None
        assert again.n == 2
        assert await store.command_by_dedupe(2, "k") is None
        opened = await reopened()
        assert [command.n for command in opened.commands] == [1, 2]
        assert opened.downlinks == {1: 9}

    # -- commits ----------------------------------------------------------------------------

    async def test_a_commit_is_all_or_nothing(self, store: Store) -> None:
        await store.commit([event(1)])
        with pytest.raises(Exception, match="UNIQUE"):
            await store.commit([*world(), event(2), event(1)])
        assert await store.event_bounds() == (1, 1)
        await store.commit([*world(), event(2)])
        assert await store.event_bounds() == (1, 2)

    async def test_what_is_no_fact_is_refused(self, store: Store) -> None:
        with pytest.raises(TypeError, match="str"):
            await store.commit(["hello"])  # type: ignore[list-item]
        await store.commit([])

    # -- the event log ----------------------------------------------------------------------

    async def test_events(self, store: Store) -> None:
        assert await store.event_bounds() == (0, 0)
        events = [event(i, NOW + 10 * i) for i in range(1, 8)]
        await store.commit(events)
        assert await store.events_after(0, 100) == events
        assert await store.events_after(2, 2) == events[2:4]
        assert await store.events_after(2, 100, 4) == events[2:4]
        assert await store.event_bounds() == (1, 7)

    @pytest.mark.parametrize(
        ("t", "expected"), [(0, 0), (NOW + 10, 0), (NOW + 11, 1), (NOW + 60, 5), (NOW + HOUR, 7)]
    )
    async def test_event_since(self, store: Store, t: int, expected: int) -> None:
        await store.commit([event(i, NOW + 10 * i) for i in range(1, 8)])
        assert await store.event_since(t) == expected

    # -- the outbox -------------------------------------------------------------------------

    async def test_outbox(self, store: Store, reopened: Any) -> None:
        rows = [put(i, retain=True, ends=NOW, window_ms=10) for i in range(1, 6)]
        await store.commit(rows)
        await store.commit(
            [f.OutboxDone(NOW, 1), f.OutboxRefused(135, False, 2), f.OutboxRefused(144, True, 3)]
        )
        assert await store.outbox_after(0, 10) == [rows[1], *rows[3:]]
        assert await store.outbox_after(2, 10, until=4) == [rows[3]]
        assert await store.outbox_oldest(1) == [rows[1]]
        assert await store.outbox_stats() == OutboxStats(3, 21, NOW, 1, NOW)
        assert (await reopened()).highest["outbox"] == 5

    async def test_live_state_supersedes_what_was_not_sent(self, store: Store) -> None:
        state: dict[str, Any] = {"topic": "sensors/state", "replaces": True}
        await store.commit([put(1), put(2, **state), put(3, **state), put(4, "sensors/b")])
        await store.commit([f.OutboxDone(NOW, 3)])
        await store.commit([put(5, **state), put(6, **state), put(7, replaces=True)])
        assert [row.id for row in await store.outbox_after(0, 10)] == [1, 4, 6, 7]

    async def test_what_was_acknowledged_is_opened_again_as_backfill(
        self, store: Store, reopened: Any
    ) -> None:
        summary: dict[str, Any] = {"window_ms": 10, "ends": NOW}
        rows = [put(1), put(2, **summary), put(3, expires=NOW + 9), put(4, replaces=True), put(5)]
        await store.commit([*rows, put(6, expires=NOW + 10_000)])
        for number in range(1, 7):
            await store.commit([f.OutboxDone(NOW + number, number)])
        assert (await store.outbox_stats()).acked == NOW + 6
        await store.commit([f.OutboxReopened(NOW + 2, NOW + 10)])
        again = [rows[1]._replace(backfill=True), rows[4], put(6, expires=NOW + 10_000)]
        assert await store.outbox_after(0, 10) == again
        await store.commit([f.OutboxDone(NOW + 20, number) for number in (2, 5, 6)])
        assert await store.outbox_after(0, 10) == []
        await store.commit([f.OutboxReopened(NOW + 20, NOW + 30)])
        assert await store.outbox_after(0, 10) == again
        assert (await reopened()).highest["outbox"] == 6

    async def test_what_is_open_again_is_not_pruned(self, store: Store) -> None:
        await store.commit([put(i) for i in range(1, 5)])
        await store.commit([f.OutboxDone(NOW, i) for i in range(1, 5)])
        await store.commit([f.OutboxReopened(NOW, NOW), put(5)])
        assert await pruned(store, NOW + HOUR) == 0
        assert [one.id for one in await store.outbox_after(0, 10)] == [1, 2, 3, 4, 5]

    async def test_a_full_outbox_drops_its_oldest_rows(self, store: Store, reopened: Any) -> None:
        await store.commit([put(i) for i in range(1, 8)])
        await store.commit([f.OutboxDone(NOW, 2), f.OutboxRefused(135, True, 3)])
        await store.commit([f.OutboxDone(NOW, 4), f.OutboxDropped(5)])
        assert [one.id for one in await store.outbox_after(0, 10)] == [6, 7]
        assert (await store.outbox_stats())[:2] == (2, 14)
        await store.commit([f.OutboxDropped(99)])
        assert [one.id for one in await store.outbox_after(0, 10)] == [7]
        assert (await reopened()).highest["outbox"] == 7

    # -- summaries --------------------------------------------------------------------------

    async def test_summaries_come_by_time_and_in_pages(self, store: Store) -> None:
        every = [made(s, NOW + 10_000 * i) for i in range(40) for s in (1, 4)]
        every += [made(1, NOW + 60_000 * i, window="1m") for i in range(5)]
        await store.commit([*world(), *every])
        found, cursor = [], None
        while True:
            page = await store.summaries(cursor=cursor, limit=7)
            found += [one.summary for one in page.rows]
            cursor = page.cursor
            if cursor is None:
                break
        assert found == sorted(every, key=lambda one: (one.t0, one.series, one.window))

    async def test_summaries_filters(self, store: Store) -> None:
        every = [made(s, NOW + 10_000 * i) for i in range(5) for s in (1, 5)]
        await store.commit([*world(), *world("shed-2", 2), *every])
        page = await store.summaries(
            device="shed-2", metric="temperature", window="10s", since_ms=NOW + 10_000,
            until_ms=NOW + 30_000,
        )  # fmt: skip
        assert [(one.device, one.summary.t0) for one in page.rows] == [
            ("shed-2", NOW + 10_000), ("shed-2", NOW + 20_000),
        ]  # fmt: skip
        assert (await store.summaries(device="nobody")).rows == []
        with pytest.raises(ValueError, match="cursor"):
            await store.summaries(cursor="nonsense")

    async def test_a_revision_replaces_its_summary(self, store: Store, reopened: Any) -> None:
        boolean = made(2, NOW)._replace(
            mean=None, min=None, max=None, std=None, p50=None, p95=None,
            first=True, last=False, changes=3,
        )  # fmt: skip
        await store.commit([*world(), made(1, NOW), made(1, NOW + 10_000), boolean])
        await store.commit([made(1, NOW, rev=2)])
        page = await store.summaries()
        assert [one.summary.rev for one in page.rows] == [2, 1, 1]
        assert page.rows[1].summary.first is True
        assert (await reopened()).summaries == [made(1, NOW + 10_000), boolean]

    # -- readings ---------------------------------------------------------------------------

    async def test_readings_come_back_as_they_were(self, store: Store) -> None:
        await store.commit([*world(), row(1, entry(1, NOW, [2150, 2151]), gap_entry(2, 9))])
        t = [NOW * NS_PER_MS, (NOW + 1000) * NS_PER_MS]
        assert await gathered(store) == [
            (1, Clock.DEVICE, t, [21.5, 21.51]),
            (2, Clock.DEVICE, t, [True, False]),
            (3, Clock.DEVICE, t, ["s2150", "s2151"]),
            (4, Clock.DEVICE, t, [2**63 + 2150, 2**63 + 2151]),
        ]

    async def test_readings_are_found_by_name_number_and_time(self, store: Store) -> None:
        both = [*world(), *world("shed-2", 2)]
        rows = [
            row(i, entry(i, NOW + 1000 * i, [i]), entry(i, NOW + 1000 * i, [i], stream=2))
            for i in range(1, 1001)
        ]
        await store.commit([*both, *rows])
        third = (NOW + 3000) * NS_PER_MS
        found = await gathered(store, device="shed-2", metric="total", since_ns=third)
        assert [t for *_, t, _ in found] == [[third + i * 10**9] for i in range(998)]
        assert {series for series, *_ in found} == {8}
        found = await gathered(store, series=[5, 1], since_ns=third, until_ns=third + 1)
        assert [series for series, *_ in found] == [1, 5]
        late = (NOW + 700_000) * NS_PER_MS
        found = await gathered(store, series=[2], since_ns=late, until_ns=late + 2 * 10**9)
        assert [t for *_, t, _ in found] == [[late], [late + 10**9]]
        assert await gathered(store, device="nobody") == []

    async def test_late_readings_come_in_order_of_arrival(self, store: Store) -> None:
        rows = [row(1, entry(1, NOW + HOUR, [1])), row(2, entry(2, NOW, [2]))]
        await store.commit([*world(), *rows])
        assert [v for *_, v in await gathered(store, series=[1])] == [[0.01], [0.02]]

    async def test_readings_of_an_unknown_boot_are_found_once_it_is_known(
        self, store: Store
    ) -> None:
        unknown = entry(1, 5000, [7], clock=Clock.UNKNOWN, boot=BOOT)
        rows = [row(i, entry(i, NOW, [1])) for i in range(2, 600)]
        await store.commit([*world(), row(1, unknown), *rows])
        assert await gathered(store, series=[1], until_ns=NOW * NS_PER_MS) == []
        offset = (NOW - HOUR) * NS_PER_MS
        await store.commit([f.BootSeen(1, BOOT.hex(), offset, 0, NOW)])
        assert await gathered(store, series=[1], until_ns=NOW * NS_PER_MS) == [
            (1, Clock.MAPPED, [offset + 5000 * NS_PER_MS], [0.07])
        ]

    async def test_what_is_unplaced_is_found_by_its_boot(self, store: Store) -> None:
        other = bytes(8)
        await store.commit([*world(), *world("shed-2", 2)])
        for i in range(1, 600):
            near = entry(i, 5, [i % 300], clock=Clock.UNKNOWN, boot=BOOT if i % 300 == 1 else other)
            far = entry(i, 5, [0], clock=Clock.UNKNOWN, boot=BOOT, stream=2)
            await store.commit([row(i, near, far)])
        found = [batch.columns[0].v.tolist() async for batch in store.unplaced(1, BOOT)]
        assert found == [[0.01], [0.01]]
        await store.commit([f.BootSeen(1, BOOT.hex(), 10**18, None, NOW)])
        assert [item async for item in store.unplaced(1, BOOT)] == []

    async def test_a_device_that_speaks_for_others(self, store: Store) -> None:
        pack = [{-2: "shed-2/temperature", -3: NOW // 1000, -4: "Cel", 2: 21.5}, {0: "", 2: 21.75}]
        await store.commit([*world(), *world("shed-2", 2)])
        fact = row(1)._replace(
            **_only(senml_entry(1, NOW * NS_PER_MS, pack), at=NOW // 1000 * 10**9)
        )
        await store.commit([fact])
        found = await gathered(store, device="shed-2")
        assert [(series, v) for series, _, _, v in found] == [(5, [21.5, 21.75])]
        assert await gathered(store, device="shed-1") == []

    async def test_the_journal_is_replayed_from_a_row_on(self, store: Store) -> None:
        rows = [row(i, entry(i, NOW, [i, i + 1])) for i in range(1, 600)]
        await store.commit([*world(), *rows])
        found = [one async for one in store.journal_rows(100)]
        assert [one.row for one in found] == list(range(100, 600))
        message, batch = found[0].batches[0]
        assert message == entry(100, NOW, [100, 101])
        assert np.array_equal(batch.columns[0].v, [1.0, 1.01])

    # -- pruning ----------------------------------------------------------------------------

    async def test_the_event_log_keeps_its_newest_rows(self, store: Store, reopened: Any) -> None:
        await store.commit([event(i, NOW) for i in range(1, 21_001)])
        assert await pruned(store, NOW + 23 * HOUR) == 0
        assert await pruned(store, NOW + 25 * HOUR) > 0
        oldest, newest = await store.event_bounds()
        assert 1001 - 128 <= oldest <= 1001
        assert newest == 21_000
        assert (await reopened()).highest["event"] == 21_000

    async def test_the_outbox_keeps_what_waits_and_what_may_be_replayed(
        self, store: Store, reopened: Any
    ) -> None:
        await store.commit([put(i) for i in range(1, 8)])
        await store.commit([f.OutboxDone(NOW + i * HOUR, i) for i in (1, 2, 3, 5, 7)])
        await store.commit([f.OutboxRefused(1, True, 4)])
        assert await pruned(store, NOW + 4 * HOUR, replay_ms=HOUR) == 3
        assert [one.id for one in await store.outbox_after(0, 10)] == [6]
        assert await pruned(store, NOW + 99 * HOUR, replay_ms=HOUR) == 2
        assert (await reopened()).highest["outbox"] == 7

    async def test_the_outbox_keeps_at_most_64_mib(self, store: Store) -> None:
        await store.commit([put(i, payload=bytes(2**23)) for i in range(1, 11)])
        await store.commit([f.OutboxDone(NOW + i, i) for i in range(1, 11)])
        assert await pruned(store, NOW, replay_ms=HOUR) > 0
        await store.commit([f.OutboxReopened(NOW, NOW + HOUR)])
        assert [row.id for row in await store.outbox_after(0, 100)] == [*range(3, 11)]


def _only(one: Any, *, at: int) -> dict[str, Any]:
    """The fields of a journal row that holds a single message of known time."""
    fact = row(1, one._replace(readings=0))
    header, body, crc = pack([one])
    return {
        **fact._asdict(), "t_min_ns": at, "t_max_ns": at, "readings": one.readings,
        "header": header, "body": body, "crc": crc,
    }  # fmt: skip


async def pruned(store: Store, now_ms: int, replay_ms: int = 0) -> int:
    total = 0
    while count := await store.prune(now_ms, replay_ms=replay_ms):
        total += count
    return total
