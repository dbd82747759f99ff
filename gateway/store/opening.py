"""What is loaded when the store is opened."""

import json
import sqlite3
from collections import defaultdict

from gateway.core.facts import (
    AlertStands,
    BootSeen,
    Loss,
    RevisionDue,
    SchemaLearned,
    SignedIn,
    StreamOpened,
    TokenSet,
    UserSet,
)
from gateway.core.readings import INT64_MAX, Clock, Kind
from gateway.store.queries import COMMAND, losses, newest_summaries
from gateway.store.reading import entries, rows_between
from gateway.store.rows import CommandRow, DeviceRow, Opened, SeriesRow, Tally

LOSSES_SHOWN = 20
NUMBERED = (
    "device", "stream", "schema", "series", "journal", "loss", "rejected", "event", "outbox",
    "command", "alert",
)  # fmt: skip

_DEVICES = """SELECT id, name, token_hash, speaks_for_others, created, disabled, removed, state,
    since, until, last_seen, config_version, config FROM device ORDER BY id"""
_STREAMS = """SELECT id, device, epoch, committed, touched FROM stream WHERE forgotten = 0
    ORDER BY id"""
_BOOTS = "SELECT device, boot, offset_ns, error_ns, seen FROM boot"
_SCHEMAS = """SELECT schema.id, stream, sid, fingerprint, resolution, fields FROM schema
    JOIN stream ON stream.id = stream WHERE forgotten = 0 ORDER BY schema.id"""
_SERIES = """SELECT id, device, metric, unit, kind, last_t_ns, last_value, last_clock FROM series
    ORDER BY id"""
_DUES = "SELECT window, t0, series FROM revision_due ORDER BY t0"
_OPEN_COMMANDS = f"{COMMAND} WHERE state IN ('queued', 'sent', 'handled', 'accepted') ORDER BY n"
_DOWNLINKS = "SELECT device, max(seq) FROM command WHERE seq IS NOT NULL GROUP BY device"
_USERS = "SELECT name, password, created FROM user ORDER BY name"
_TOKENS = "SELECT name, hash, created FROM access_token ORDER BY name"
_SIGN_INS = "SELECT hash, user, created, expires FROM sign_in ORDER BY expires"
_ALERTS = """SELECT id, state, since, out_since_ns, t_ns, payload, rule, device, metric
    FROM alert ORDER BY rule, device, metric"""
_TALLIES = """SELECT id, (SELECT count(*) FROM loss WHERE device = device.id),
    (SELECT cast(total(readings) AS INTEGER) FROM loss WHERE device = device.id),
    (SELECT count(*) FROM rejected WHERE device = device.id) FROM device"""


def load(conn: sqlite3.Connection) -> Opened:
    """Read everything that `Opened` names; `meta` is as the last run left it."""
    meta = dict(conn.execute("SELECT key, value FROM meta").fetchall())
    journalled = _positions(conn, int(meta.get("settled_row", 0)))
    floors: dict[str, int] = json.loads(meta.get("floors", "{}"))
    series = [_series_row(*row) for row in conn.execute(_SERIES)]
    tallies = {number: Tally(*tally) for number, *tally in conn.execute(_TALLIES) if any(tally)}
    return Opened(
        devices=[_device(DeviceRow(*row)) for row in conn.execute(_DEVICES)],
        streams=[_moved(StreamOpened(*row), journalled) for row in conn.execute(_STREAMS)],
        boots=[BootSeen(*row) for row in conn.execute(_BOOTS)],
        schemas=[SchemaLearned(*row) for row in conn.execute(_SCHEMAS)],
        series=series,
        meta=meta,
        highest={table: max(_highest(conn, table), floors.get(table, 0)) for table in NUMBERED},
        dues=[RevisionDue(*row) for row in conn.execute(_DUES)],
        summaries=newest_summaries(conn, {row.id: row.kind for row in series}),
        commands=[CommandRow(*row) for row in conn.execute(_OPEN_COMMANDS)],
        downlinks=dict(conn.execute(_DOWNLINKS).fetchall()),
        alerts=[AlertStands(*row) for row in conn.execute(_ALERTS)],
        losses=_newest_losses(conn, tallies),
        tallies=tallies,
        users=[UserSet(*row) for row in conn.execute(_USERS)],
        tokens=[TokenSet(*row) for row in conn.execute(_TOKENS)],
        sign_ins=[SignedIn(*row) for row in conn.execute(_SIGN_INS)],
        clean=meta.get("clean") == "1",
    )


def _positions(conn: sqlite3.Connection, settled: int) -> dict[int, tuple[int, int]]:
    """How far the journal rows after row `settled` bring each stream, and when (Unix ms)."""
    received = dict(conn.execute("SELECT id, received FROM journal WHERE id > ?", (settled,)))
    found: dict[int, tuple[int, int]] = {}
    for row in rows_between(conn, settled + 1, INT64_MAX):
        for entry in entries(*row):
            last, _ = found.get(entry.stream, (0, 0))
            found[entry.stream] = max(entry.last, last), received[row[0]]
    return found


def _moved(opened: StreamOpened, journalled: dict[int, tuple[int, int]]) -> StreamOpened:
    committed, touched = journalled.get(opened.id, (0, 0))
    return opened._replace(
        committed=max(opened.committed, committed), touched=max(opened.touched, touched)
    )


def _device(row: DeviceRow) -> DeviceRow:
    return row._replace(
        speaks_for_others=bool(row.speaks_for_others),
        disabled=bool(row.disabled),
        removed=bool(row.removed),
    )


def _series_row(*row: object) -> SeriesRow:
    found = SeriesRow(*row)  # type: ignore[arg-type]
    kind, clock, value = Kind(found.kind), found.last_clock, found.last_value
    return found._replace(
        kind=kind,
        last_value=bool(value) if kind is Kind.BOOLEAN and value is not None else value,
        last_clock=None if clock is None else Clock(clock),
    )


def _highest(conn: sqlite3.Connection, table: str) -> int:
    column = "n" if table == "command" else "id"
    sql = f"SELECT coalesce(max({column}), 0) FROM {table}"  # noqa: S608 - names of NUMBERED
    (number,) = conn.execute(sql).fetchone()
    return int(number)


def _newest_losses(conn: sqlite3.Connection, tallies: dict[int, Tally]) -> dict[int, list[Loss]]:
    found: defaultdict[int, list[Loss]] = defaultdict(list)
    for device, tally in tallies.items():
        if tally.losses:
            found[device] = losses(conn, device, None, LOSSES_SHOWN)[::-1]
    return dict(found)
