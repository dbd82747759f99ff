"""The checker sees every kind of breach: it is told lies, or the database is changed behind it."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.blocks import Rows, edit
from tests.faults.campaign import Scene
from tests.faults.checker import Verdict, check
from tests.faults.ledger import DATA, GAP, Ledger, Reading, Sent

SOUND: dict[str, tuple[Path, Ledger]] = {}


@pytest.fixture
def sound(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> tuple[Path, Ledger]:
    """A copy of a store that a gateway left behind after some load, and what was seen of it."""
    if not SOUND:
        folder = tmp_path_factory.mktemp("sound")
        SOUND["it"] = folder / "data" / "gateway.db", asyncio.run(_recorded(folder))
    database, ledger = SOUND["it"]
    shutil.copy(database, tmp_path / "gateway.db")
    return tmp_path / "gateway.db", ledger.snapshot()


async def _recorded(folder: Path) -> Ledger:
    scene = Scene(folder, 9, broker=True)
    assert scene.broker is not None
    scene.broker.start()
    try:
        await asyncio.to_thread(scene.gateway.start)
        async with scene.load():
            await asyncio.sleep(3)
        assert await asyncio.to_thread(scene.gateway.stop) == 0
        scene.ledger.published = scene.broker.published()
    finally:
        scene.gateway.kill()
        scene.broker.kill()
    return scene.ledger


def test_a_sound_store_is_good(sound: tuple[Path, Ledger]) -> None:
    verdict = check(*sound)
    assert verdict.found == []
    assert verdict.acknowledged > 100
    assert verdict.summaries > 50
    assert verdict.received > 50
    assert len(sound[1].published) > 50


def last(rows: Rows, chosen: Callable[[list[Any]], bool]) -> int:
    return max(at for at, row in enumerate(rows) if chosen(row))


def is_summary(event: list[Any]) -> bool:
    return bool(event[2] == "summary")


def of_window(message: list[Any]) -> bool:
    return bool(message[6] > 0)


def without_the_last_summary(conn: sqlite3.Connection) -> None:
    edit(conn, "event", lambda rows: rows[: (at := last(rows, is_summary))] + rows[at + 1 :])


def with_other_counts(conn: sqlite3.Connection) -> None:
    def change(event: list[Any]) -> list[Any]:
        return [*event[:6], json.dumps({**json.loads(event[6]), "n": 99999})]

    edit(conn, "event", lambda rows: [change(row) if is_summary(row) else row for row in rows])


def with_a_summary_again(conn: sqlite3.Connection) -> None:
    edit(
        conn,
        "event",
        lambda rows: [*rows, [rows[-1][0] + 1, *rows[last(rows, is_summary)][1:]]],
    )


def without_the_last_message(conn: sqlite3.Connection) -> None:
    edit(conn, "outbox", lambda rows: rows[: (at := last(rows, of_window))] + rows[at + 1 :])


def with_a_message_again(conn: sqlite3.Connection) -> None:
    edit(
        conn,
        "outbox",
        lambda rows: [*rows, [rows[-1][0] + 100_000, *rows[last(rows, of_window)][1:]]],
    )


CHANGES: dict[str, tuple[str, str | Callable[[sqlite3.Connection], None]]] = {
    "a journal row is gone": (
        "lost",
        "DELETE FROM journal WHERE id = (SELECT id FROM journal WHERE readings > 0 LIMIT 1)",
    ),
    "a journal row stands twice": (
        "duplicated",
        """INSERT INTO journal SELECT id + 10000, received, t_min_ns, t_max_ns, readings,
        unknown_time, crc, header, body FROM journal WHERE readings > 0 LIMIT 1""",
    ),
    "a byte of a journal row differs": (
        "damaged",
        "UPDATE journal SET body = CAST(body || x'FF' AS BLOB) WHERE id = 3",
    ),
    "the stream's position is behind": ("lost", "DELETE FROM journal"),
    "a loss is gone": ("lost", "DELETE FROM loss"),
    "a rejection is gone": ("lost", "DELETE FROM rejected"),
    "a loss stands twice": (
        "duplicated",
        """INSERT INTO loss SELECT id + 10000, device, epoch, first, last, reason, readings, t
        FROM loss""",
    ),
    "a summary is gone": (
        "wrong_summaries",
        "DELETE FROM summary WHERE t0 = (SELECT max(t0) FROM summary)",
    ),
    "a mean is wrong": (
        "wrong_summaries",
        "UPDATE summary SET mean = mean * 1.0001 WHERE mean > 5",
    ),
    "a count is wrong": ("wrong_summaries", "UPDATE summary SET n = n + 1"),
    "a percentile is wrong": (
        "wrong_summaries",
        "UPDATE summary SET p95 = p95 * 1.02 WHERE p95 > 1",
    ),
    "an event is gone": (
        "wrong_events",
        without_the_last_summary,
    ),
    "an event differs": (
        "wrong_events",
        with_other_counts,
    ),
    "a revision is logged again": (
        "wrong_events",
        with_a_summary_again,
    ),
    "an outbox row is gone": (
        "wrong_events",
        without_the_last_message,
    ),
    "an outbox row stands twice": (
        "wrong_events",
        with_a_message_again,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGES)
def test_a_changed_store_is_seen(sound: tuple[Path, Ledger], case: str) -> None:
    database, ledger = sound
    figure, change = CHANGES[case]
    conn = sqlite3.connect(database)
    with conn:
        if isinstance(change, str):
            assert conn.execute(change).rowcount > 0
        else:
            change(conn)
    conn.close()
    verdict = check(database, ledger)
    assert getattr(verdict, figure) > 0, verdict


def told_too_much(ledger: Ledger) -> None:
    """An acknowledgement of a message that was never stored."""
    stream = ledger.streams[0]
    seq = max(sent.last for sent in stream.sent.values()) + 1
    stream.sent[seq] = Sent(DATA, seq, (Reading("v", 1, 0.125),))
    stream.acks.append((0.0, seq))


def never_sent(ledger: Ledger) -> None:
    """A reading is stored that no device sent."""
    stream = next(stream for stream in ledger.streams if stream.sent)
    seq = next(seq for seq, sent in stream.sent.items() if sent.readings)
    stream.sent[seq] = stream.sent[seq]._replace(readings=())


def another_value(ledger: Ledger) -> None:
    """A value differs in its last bit."""
    for stream in ledger.streams:
        for seq, sent in stream.sent.items():
            if sent.kind == DATA and seq <= stream.acknowledged():
                first, *rest = sent.readings
                stream.sent[seq] = sent._replace(
                    readings=(first._replace(v=first.v + 2.0**-40), *rest)
                )
                return


def another_gap(ledger: Ledger) -> None:
    """A loss that was declared has no row."""
    stream = next(stream for stream in ledger.streams if stream.acknowledged() > 1)
    stream.sent[1] = Sent(GAP, 1)


def missed(ledger: Ledger) -> None:
    """A subscriber missed an event."""
    del ledger.listeners[0].events[5]


def heard_twice(ledger: Ledger) -> None:
    """A subscriber received an event twice."""
    events = ledger.listeners[0].events
    events.insert(5, events[5])


def heard_otherwise(ledger: Ledger) -> None:
    """A subscriber received something that is not in the log."""
    events = ledger.listeners[0].events
    events[5] = events[5]._replace(data='{"v":1}')


def published_otherwise(ledger: Ledger) -> None:
    """The broker was sent something that is not in the log."""
    ledger.published = [*ledger.published, '{"v":2}']


LIES: list[tuple[Callable[[Ledger], None], str]] = [
    (told_too_much, "lost"),
    (never_sent, "invented"),
    (another_value, "lost"),
    (another_gap, "lost"),
    (missed, "wrong_events"),
    (heard_twice, "wrong_events"),
    (heard_otherwise, "wrong_events"),
    (published_otherwise, "wrong_events"),
]


@pytest.mark.parametrize(("lie", "figure"), LIES)
def test_what_was_seen_otherwise_is_a_breach(
    sound: tuple[Path, Ledger], lie: Callable[[Ledger], None], figure: str
) -> None:
    database, ledger = sound
    lie(ledger)
    verdict = check(database, ledger)
    assert getattr(verdict, figure) > 0, verdict
    assert not verdict.good


def test_an_empty_database_lost_everything(sound: tuple[Path, Ledger], tmp_path: Path) -> None:
    verdict: Verdict = check(tmp_path / "none.db", replace(sound[1], listeners=[]))
    assert verdict.lost > 100
