"""`gateway replay`: what the broker acknowledged is opened again."""

import asyncio
import time
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.core import facts as f
from gateway.store.sqlite import SqliteStore
from tests.processes import GatewayProcess
from tests.store.samples import put

HOUR = 3_600_000


async def acknowledged(path: Path, *hours_ago: float) -> None:
    """A store with a row for each time at which one was acknowledged."""
    now = time.time_ns() // 10**6
    store = SqliteStore(path)
    await store.open()
    for number, hours in enumerate(hours_ago, 1):
        await store.commit([put(number)])
        await store.commit([f.OutboxDone(now - round(hours * HOUR), number)])
    await store.close()


async def waiting(path: Path) -> list[int]:
    store = SqliteStore(path)
    try:
        return [row.id for row in await store.outbox_after(0, 100)]
    finally:
        await store.close()


def call(*arguments: str) -> object:
    with pytest.raises(SystemExit) as end:
        main(["replay", *arguments])
    return end.value.code


def test_while_the_gateway_rests_it_is_done_on_the_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = GatewayProcess(tmp_path)
    (tmp_path / "data").mkdir()
    database = tmp_path / "data" / "gateway.db"
    asyncio.run(acknowledged(database, 5, 3, 0.5, 0.1))
    assert call("--hours", "1", "--config", str(gateway.config)) == 0
    assert "does not run" in capsys.readouterr().err
    assert asyncio.run(waiting(database)) == [3, 4]


def test_the_hours_must_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert call() == 2
    assert "--hours" in capsys.readouterr().err


def test_without_a_broker_it_is_refused(
    live_gateway: GatewayProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--hours", "1", "--config", str(live_gateway.config)) == 1
    assert "set mqtt.url" in capsys.readouterr().err
