"""The start: everything that the gateway knows is folded again from what is on disk."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from gateway.core import alerts
from gateway.core.accounts import Accounts
from gateway.core.alerting import Alerts
from gateway.core.clock import BootClock, Now
from gateway.core.closing import Told
from gateway.core.downlink import Order
from gateway.core.facts import EventLogged
from gateway.core.group import Folding
from gateway.core.layouts import layout_from_json
from gateway.core.live import Live
from gateway.core.presence import Presence, status
from gateway.core.readings import INT64_MAX, NS_PER_MS, Clock, Kind, SeriesKey
from gateway.core.registry import Device, Registry, Stream
from gateway.core.series import Panel, Series
from gateway.core.standing import CLOSED
from gateway.core.summary import dump, payload
from gateway.core.timekeeping import Timekeeper
from gateway.core.windows import Window, Windows
from gateway.folding import fold_stored
from gateway.store import Opened, Store
from gateway.store.rows import CommandRow, DeviceRow, SeriesRow


def keeper(opened: Opened) -> Timekeeper:
    """It goes on from the time that the last run trusted."""
    trusted = opened.meta.get("clock_ms")
    return Timekeeper(None if trusted is None else int(trusted) * NS_PER_MS)


def accounts(opened: Opened, length: int, *, now: Now) -> Accounts:
    """Users, tokens and sign-ins; a sign-in lasts `length` ns."""
    return Accounts(length=length).restore(opened.users, opened.tokens, opened.sign_ins, now=now)


def presence(known: Registry, *, now: Now) -> Presence:
    """Who was there when the last run ended."""
    found = Presence()
    found.restore(list(known.devices.values()), now)
    return found


def registry(opened: Opened) -> Registry:
    """The registry as the last run left it."""
    known = Registry()
    known.begin_numbers(dict(opened.highest))
    for row in opened.devices:
        known.add_device(_device(row, opened))
    for moved in opened.streams:
        device = known.by_id[moved.device]
        epoch = bytes.fromhex(moved.epoch)
        known.add_stream(Stream(moved.id, device, epoch, moved.committed, moved.touched))
    for device in known.devices.values():
        device.stream = max(device.streams.values(), key=lambda s: s.touched, default=None)
        if device.stream is not None:
            device.last_seen = max(device.last_seen, device.stream.touched)
    _clocks(known, opened)
    _schemas(known, opened)
    for series in opened.series:
        known.add_series(_series(series, known.by_id[series.device]))
    return known


def _device(row: DeviceRow, opened: Opened) -> Device:
    device = Device(
        row.id,
        row.name,
        token_hash=row.token_hash,
        disabled=row.disabled,
        removed=row.removed,
        speaks_for_others=row.speaks_for_others,
        state=row.state,
        since=row.since,
        until=row.until,
        last_seen=row.last_seen,
        config_version=row.config_version,
        config=None if row.config is None else json.loads(row.config),
    )
    tally = opened.tallies.get(row.id)
    if tally is not None:
        device.lost_readings, device.rejected = tally.lost_readings, tally.rejected
    device.losses.extend(opened.losses.get(row.id, ()))
    device.downlink.numbered = opened.downlinks.get(row.id, 0)
    return device


def _clocks(known: Registry, opened: Opened) -> None:
    for seen in opened.boots:
        device, boot = known.by_id[seen.device], bytes.fromhex(seen.boot)
        if seen.offset_ns is None:
            device.unplaced.add(boot)
            continue
        device.boots[boot] = BootClock(seen.offset_ns, seen.error_ns)
        if seen.error_ns is None:
            device.placed.add(boot)


def _schemas(known: Registry, opened: Opened) -> None:
    for row in opened.schemas:
        stream = known.streams[row.stream]
        stream.schema_ids[row.sid] = row.id
        stream.layouts[row.sid] = layout_from_json(
            row.fields, sid=row.sid, resolution=row.resolution, fingerprint=row.fingerprint
        )


def _series(row: SeriesRow, device: Device) -> Series:
    series = Series(row.id, device, SeriesKey(device.name, row.metric, Kind(row.kind)), row.unit)
    if row.last_clock is not None:
        panel = Panel((series,))
        panel.learn(row.last_t_ns, (row.last_value,), Clock(row.last_clock))
        panel.fresh = panel.unsettled = False
    return series


def windows(opened: Opened, lengths: Sequence[Window], lateness: int) -> Windows:
    """Windows that go on where the last run settled; their readings are not folded yet."""
    watermark = int(opened.meta.get("watermark_ns", 0))
    return Windows(lengths, lateness, watermark, _told(opened, watermark))


def _told(opened: Opened, watermark: int) -> Told:
    """What the last run told of windows that end after `watermark` (ns): it did not tell of all."""
    return {
        (made.window, made.series): made
        for made in opened.summaries
        if made.t1 * NS_PER_MS > watermark
    }


async def fold(
    store: Store, known: Registry, windows: Windows, *, settled: int, judging: Alerts
) -> None:
    """Fold what is stored: open windows by time, newest readings and alerts from row `settled`."""
    await _recall(store, judging, windows)
    async for replayed in store.journal_rows(settled + 1):
        for _, batch in replayed.batches:
            for column in batch.columns:
                if len(column.t):
                    folding = Folding.of(known.series[column.key], column, batch.clock)
                    folding.learn()
                    judging.replay(folding)
    await fold_stored(store, known, windows, since=windows.open_since(), until=INT64_MAX)


async def _recall(store: Store, judging: Alerts, windows: Windows) -> None:
    """Read again what rates are measured against."""
    series, span = judging.sloping()
    if series:
        since = windows.watermark - 2 * span
        async for number, run in store.readings(since_ns=since, until_ns=INT64_MAX, series=series):
            judging.recall(number, run.t, run.v)


def orders(known: Registry, rows: Iterable[CommandRow]) -> Iterator[tuple[Order, str | None]]:
    """The commands that are still open, with their dedupe keys."""
    for row in rows:
        yield order(known, row), row.dedupe


def order(known: Registry, row: CommandRow) -> Order:
    """A stored command."""
    return Order(
        n=row.n,
        device=known.by_id[row.device].name,
        op=json.loads(row.op),
        args=None if row.args is None else json.loads(row.args),
        flags=row.flags,
        expires=row.expires,
        created=row.created,
        seq=row.seq,
        state=row.state,
        origin=None if row.origin is None else json.loads(row.origin),
        result=None if row.result is None else json.loads(row.result),
        updated=row.updated,
    )


def live(known: Registry, opened: Opened, *, gateway: str, t: int) -> Live:
    """What subscribers are shown at first. t: now (Unix ms); gateway: its id."""
    own = alerts.kept(opened.meta, gateway=gateway, t=t)
    return Live(chain(own, _shown(known, opened)), head=opened.highest["event"])


def _shown(known: Registry, opened: Opened) -> Iterator[EventLogged]:
    """The newest summaries, devices' states, open alerts."""
    for made in opened.summaries:
        series = known.series_by_id[made.series]
        key = series.key
        body = payload(made, device=key.device, metric=key.metric, unit=series.unit, kind=key.kind)
        yield EventLogged(0, 0, "summary", key.device, key.metric, made.window, dump(body))
    for device in known.devices.values():
        if device.since:
            yield EventLogged(0, 0, "status", device.name, None, None, dump(status(device)))
    for row in opened.alerts:
        if row.state != CLOSED:
            yield EventLogged(0, 0, "alert", row.device, row.metric or None, None, row.payload)
