"""A database that is damaged after a kill: the gateway starts, devices go on, what was readable is
back once, and the rest is declared."""

import json
import os
import sqlite3
import struct
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.store.sql import register
from tests.processes import PATIENCE_S, GatewayProcess
from tests.wire_client import WireClient, new_epoch

MORE = '[summaries]\nwindows = ["1s"]\nlateness = "1s"\n[store]\ncommit_interval_ms = 1\n'
MESSAGES = 400


def gateway_command(gateway: GatewayProcess, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "gateway", *words, "--config", str(gateway.config)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as conn:
        register(conn)
        return conn.execute(sql).fetchall()


class Site:
    """A gateway, and a device with a token that has sent numbered readings."""

    def __init__(self, folder: Path) -> None:
        self.gateway = GatewayProcess(folder, more=MORE, auth="token")
        self.database = folder / "data" / "gateway.db"
        self.token = gateway_command(self.gateway, "device", "add", "d1").stdout.strip()
        self.epoch = new_epoch()
        self.gateway.start()
        self.epochs = {self.log_epoch()}

    def log_epoch(self) -> str:
        return str(ask(self.database, "SELECT value FROM meta WHERE key = 'log_epoch'")[0][0])

    async def send(self, first: int, last: int) -> dict[int, Any]:
        """Send readings whose value is their number; the WELCOME."""
        async with WireClient(self.gateway.link, "d1", token=self.token) as device:
            welcome = await device.hello(self.epoch, first, last)
            await device.schema()
            t0 = time.time_ns() // 10**6
            for seq in range(welcome[5] + 1, last + 1):
                await device.send({0: 16, 1: seq, 2: 1, 3: t0 + seq, 5: [float(seq)], 7: 0})
                await device.acked(seq)
        return welcome

    def wait(self, what: str, until: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := until()):
            assert time.monotonic() < deadline, f"{what}: {self.log()}"
            time.sleep(0.05)
        return found

    def log(self) -> str:
        return (self.gateway.folder / "log").read_text()

    def salvaged(self) -> dict[str, Any]:
        """Wait for the alert that says how the salvage ended."""
        sql = """SELECT payload FROM events WHERE kind = 'alert' AND payload LIKE '%"salvaged"%'"""
        return json.loads(self.wait("no alert", lambda: ask(self.database, sql))[0][0])

    def gap_reason(self, cursor: str) -> str:
        """Why the event stream cannot go on after `cursor`."""
        url = f"{self.gateway.url}/events?last_event_id={cursor}"
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            for line in answer:
                if line.startswith(b"event: gap"):
                    data = next(line for line in answer if line.startswith(b"data: "))
                    return str(json.loads(data[6:])["reason"])
        raise AssertionError("no gap")


@pytest.fixture
async def site(tmp_path: Path) -> Any:
    site = Site(tmp_path)
    await site.send(1, MESSAGES)
    site.wait("no summary", lambda: ask(site.database, "SELECT 1 FROM summary"))
    yield site
    site.gateway.kill()


def checkpointed(path: Path) -> None:
    """Bring the WAL into the file; the database stays marked as not cleanly closed."""
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def page_size(path: Path) -> int:
    return int(ask(path, "PRAGMA page_size")[0][0])


def pages_of(path: Path, name: str) -> list[int]:
    """The leaf pages of a table or index (by their type: 10 and 13)."""
    with closing(sqlite3.connect(path)) as conn:
        (root,) = (
            conn.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
            if name != "sqlite_schema"
            else (1,)
        )
    data, page = path.read_bytes(), page_size(path)
    leaves, waiting = [], [root]
    while waiting:
        number = waiting.pop(0)
        at = (number - 1) * page + (100 if number == 1 else 0)
        if data[at] in (10, 13):
            leaves.append(number)
            continue
        (cells,) = struct.unpack_from(">H", data, at + 3)
        for i in range(cells):
            (place,) = struct.unpack_from(">H", data, at + 12 + 2 * i)
            waiting += struct.unpack_from(">I", data, (number - 1) * page + place)
        waiting += struct.unpack_from(">I", data, at + 8)
    return leaves


def overwrite(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def destroy(path: Path, number: int) -> None:
    size = page_size(path)
    overwrite(path, (number - 1) * size, os.urandom(size))


def header(path: Path) -> None:
    checkpointed(path)
    overwrite(path, 0, os.urandom(page_size(path)))


def schema_page(path: Path) -> None:
    checkpointed(path)
    destroy(path, pages_of(path, "sqlite_schema")[0])


def journal_page(path: Path) -> None:
    checkpointed(path)
    leaves = pages_of(path, "journal")
    destroy(path, leaves[len(leaves) // 2])


def journal_bit(path: Path) -> None:
    """A flipped bit in a message, which only its checksum shows."""
    checkpointed(path)
    with closing(sqlite3.connect(path)) as conn:
        (body,) = conn.execute("SELECT body FROM journal WHERE id = 200").fetchone()
    at = path.read_bytes().index(body)
    overwrite(path, at + 20, bytes([body[20] ^ 4]))


def index_page(path: Path) -> None:
    checkpointed(path)
    destroy(path, pages_of(path, "sqlite_autoindex_series_1")[0])


def wal_frame(path: Path) -> None:
    wal = path.with_name("gateway.db-wal")
    step = page_size(path) + 24
    frames = (wal.stat().st_size - 32) // step
    assert frames > 20
    overwrite(wal, 32 + frames // 2 * step + 500, os.urandom(64))


def zeroed_tail(path: Path) -> None:
    checkpointed(path)
    size, page = path.stat().st_size, page_size(path)
    begin = size // page // 2 * page
    overwrite(path, begin, bytes(size - begin))


def truncated(path: Path) -> None:
    checkpointed(path)
    page = page_size(path)
    os.truncate(path, path.stat().st_size // page * 2 // 3 * page)


def garbage(path: Path) -> None:
    checkpointed(path)
    path.write_bytes(os.urandom(path.stat().st_size))


def emptied(path: Path) -> None:
    checkpointed(path)
    os.truncate(path, 0)


WHOLE = {header, schema_page, index_page}
"""Damage that costs no readings."""
NUMBERED = {journal_page, journal_bit, wal_frame}
"""Damage that costs messages whose numbers are known."""
ALL = [
    header, schema_page, journal_page, journal_bit, index_page, wal_frame, zeroed_tail, truncated,
    garbage, emptied,
]  # fmt: skip


@pytest.mark.parametrize("damage", ALL)
async def test_the_gateway_starts_and_goes_on(site: Site, damage: Callable[[Path], None]) -> None:
    cursor = f"{site.log_epoch()}-1"
    site.wait("no copy", site.database.with_name("gateway.db.schema").exists)
    site.gateway.kill()
    damage(site.database)
    site.gateway.start()
    (aside, *_) = site.database.parent.glob("gateway.db.damaged-*")
    assert site.log_epoch() not in site.epochs
    assert site.gap_reason(cursor) == "epoch"
    welcome = await site.send(MESSAGES + 1, MESSAGES + 50)
    assert welcome[4] in ((0,) if damage in WHOLE else (0, 1, 2))
    alert = site.salvaged()
    assert alert["source"] == "gateway"
    assert aside.name.startswith(alert["detail"]["file"])
    check_readings(site, damage=damage)
    check_summaries(site)
    assert site.gateway.stop() == 0
    found = gateway_command(site.gateway, "verify")
    assert found.returncode == 0, found.stdout


def check_readings(site: Site, *, damage: Callable[[Path], None]) -> None:
    """Each number is there once, or its loss is declared."""
    stored = Counter(int(row["v"]) for row in site.gateway.export())
    assert set(stored.values()) == {1}
    assert set(range(MESSAGES + 1, MESSAGES + 51)) <= set(stored)
    lost = {
        seq
        for first, last in ask(site.database, "SELECT first, last FROM loss")
        for seq in range(first, last + 1)
    }
    missing = set(range(1, MESSAGES + 51)) - set(stored)
    assert not lost & set(stored)
    if damage in WHOLE:
        assert not missing
        assert not lost
    elif damage in NUMBERED:
        assert missing == lost
        assert 0 < len(missing) < MESSAGES
    else:
        dropped = "SELECT count(*) FROM dropped WHERE cause = 'damage' AND what = 'messages'"
        assert missing <= lost or ask(site.database, dropped) != [(0,)]


def settled(site: Site) -> list[dict[str, Any]]:
    """Wait until every window of the readings is closed; the readings."""
    rows = site.gateway.export()

    def closed() -> bool:
        due = ask(site.database, "SELECT count(*) FROM revision_due")
        newest = ask(site.database, "SELECT max(t1) FROM summary")[0][0] or 0
        return due == [(0,)] and newest * 10**6 > max(row["t"] for row in rows)

    site.wait("not settled", closed)
    return rows


def check_summaries(site: Site) -> None:
    """Those of closed windows equal brute force over the stored readings."""
    rows = settled(site)
    truth: dict[int, list[float]] = {}
    for row in rows:
        truth.setdefault(row["t"] // 10**9 * 1000, []).append(row["v"])
    found = {t0: (n, low, high) for t0, n, low, high in ask(
        site.database, "SELECT t0, n, min, max FROM summary WHERE window = '1s'"
    )}  # fmt: skip
    for t0, values in truth.items():
        if found[t0][0] == len(values):
            assert found[t0] == (len(values), min(values), max(values))
        else:  # the readings of a summary that came back are lost
            assert found[t0][0] > len(values)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
async def test_wrong_permissions_are_told_in_words(site: Site) -> None:
    site.gateway.kill()
    site.database.chmod(0)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-m", "gateway", "run",
         "--config", str(site.gateway.config)],
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "gateway" in done.stderr.splitlines()[-1]
    assert not list(site.database.parent.glob("*.damaged-*"))
    site.database.chmod(0o600)
    site.gateway.start()


async def test_damage_met_while_running_ends_it_and_the_next_start_saves_the_rest(
    site: Site,
) -> None:
    settled(site)  # else the start itself reads the damaged row, for the windows that are open
    site.gateway.stop()
    journal_bit(site.database)
    with closing(sqlite3.connect(site.database)) as conn, conn:
        conn.execute("UPDATE meta SET value = '100000' WHERE key IN ('fold_from', 'settled_row')")
    site.gateway.start()
    process = site.gateway.process
    assert process is not None
    now = time.time_ns() // 10**6
    with pytest.raises(OSError, match=r"500|503|closed|reset|refused"):
        site.gateway.get(f"/api/history?device=d1&metric=v&from={now - 3600_000}&to={now}")
    assert process.wait(PATIENCE_S) == 1
    assert "start the gateway again" in site.log()
    site.gateway.start()
    site.salvaged()
    await site.send(MESSAGES + 1, MESSAGES + 50)
    check_readings(site, damage=journal_bit)


async def test_a_salvage_by_hand(site: Site, tmp_path: Path) -> None:
    site.gateway.stop()
    journal_page(site.database)
    found = gateway_command(site.gateway, "verify")
    assert found.returncode == 1
    assert "gateway salvage" in found.stderr
    made = gateway_command(site.gateway, "salvage", str(site.database), str(tmp_path / "new.db"))
    assert made.returncode == 0, made.stderr
    restored = gateway_command(site.gateway, "restore", str(tmp_path / "new.db"))
    assert restored.returncode == 0, restored.stderr
    site.gateway.start()
    welcome = await site.send(MESSAGES + 1, MESSAGES + 50)
    assert welcome[4] == 0
    check_readings(site, damage=journal_page)
