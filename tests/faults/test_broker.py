"""The broker and the gateway are killed in turn: the outbox holds each summary once, and drains."""

import sqlite3
import subprocess
import time
from pathlib import Path

from tests.processes import PATIENCE_S, GatewayProcess, fleet, free_port

PAYLOADS = "select payload from event where kind = 'summary' order by id"
OUTBOX = "select cast(payload as text) from outbox where topic like '%/summary/%' order by id"
WAITING = "select count(*) from outbox_open"


class Mosquitto:
    """A broker that remembers nothing."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.config = folder / "mosquitto.conf"
        self.config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["/usr/sbin/mosquitto", "-c", str(self.config)], stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def ask(gateway: GatewayProcess, sql: str) -> list[tuple[object, ...]]:
    conn = sqlite3.connect(f"file:{gateway.folder}/data/gateway.db?mode=ro", uri=True)
    try:
        return conn.execute(sql).fetchall()
    finally:
        conn.close()


def wait_for_summaries(gateway: GatewayProcess, more: int) -> None:
    wanted = len(ask(gateway, PAYLOADS)) + more
    deadline = time.monotonic() + PATIENCE_S
    while len(ask(gateway, PAYLOADS)) < wanted:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_every_summary_goes_up_once_whatever_dies(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    more = f'[summaries]\nwindows = ["1s"]\nlateness = "1s"\n[mqtt]\nurl = "mqtt://127.0.0.1:{broker.port}"\n'
    gateway = GatewayProcess(tmp_path, more=more)
    broker.start()
    gateway.start()
    devices = fleet(gateway, "--devices", "4", "--seed", "3")
    try:
        wait_for_summaries(gateway, 20)
        broker.kill()
        wait_for_summaries(gateway, 20)
        gateway.kill()
        gateway.start()
        wait_for_summaries(gateway, 20)
        broker.start()
        wait_for_summaries(gateway, 20)
        gateway.kill()
        gateway.start()
        wait_for_summaries(gateway, 20)
    finally:
        devices.terminate()
        devices.wait(PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    while ask(gateway, WAITING) != [(0,)]:
        assert time.monotonic() < deadline, ask(gateway, WAITING)
        time.sleep(0.1)
    assert gateway.stop() == 0
    broker.kill()
    logged = ask(gateway, PAYLOADS)
    assert len(logged) == len(set(logged)) >= 100
    assert ask(gateway, OUTBOX) == logged
