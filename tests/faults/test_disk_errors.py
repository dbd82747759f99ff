"""A disk that fails: EIO, a file system that turns read-only, a sync that says ENOSPC.

strace makes the system calls of the real gateway fail for a while, and lets go of it again.
"""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.pusher import Pusher, check_stored, until
from tests.faults.test_disk_full import metric, moved_on, pushing, readiness
from tests.processes import PATIENCE_S, GatewayProcess

MORE = '[summaries]\nwindows = ["1s"]\nlateness = "1s"\n[store]\ncommit_interval_ms = 20\n'


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(tmp_path, more=MORE)
    gateway.start()
    yield gateway
    gateway.kill()


class Failing:
    """System calls on the database fail until the block is left."""

    def __init__(self, gateway: GatewayProcess, calls: str, error: str) -> None:
        assert gateway.process is not None
        data = gateway.folder / "data"
        files = [str(data / name) for name in ("gateway.db", "gateway.db-wal")]
        paths = [part for file in files for part in ("-P", file)]
        self.log = gateway.folder / "strace"
        self.command = [
            *("strace", "-f", "-qq", "-o", str(self.log), "-p", str(gateway.process.pid), *paths),
            *("-e", f"trace={calls}", "-e", f"inject={calls}:error={error}"),
        ]

    def __enter__(self) -> "Failing":
        self.process = subprocess.Popen(self.command)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE_S)

    @property
    def injected(self) -> int:
        return self.log.read_text().count("(INJECTED)") if self.log.exists() else 0


async def go_on(pushers: list[Pusher]) -> None:
    since = [pusher.acknowledged for pusher in pushers]
    await until(lambda: moved_on(pushers, since), "it does not go on")


@pytest.mark.parametrize(
    ("calls", "error"),
    [
        ("fdatasync,fsync", "EIO"),
        ("pwrite64", "EIO"),
        ("fdatasync,fsync", "ENOSPC"),
        ("pwrite64", "ENOSPC"),
        ("pwrite64,ftruncate,fdatasync,fsync", "EROFS"),
    ],
)
async def test_nothing_is_acknowledged_while_the_disk_fails(
    gateway: GatewayProcess, calls: str, error: str
) -> None:
    async with pushing(gateway, size=300) as pushers:
        await until(lambda: all(pusher.acknowledged > 50 for pusher in pushers), "nothing comes")
        with Failing(gateway, calls, error) as failing:
            await until(lambda: readiness(gateway), "the disk fails, but it does not say so")
            for pusher in pushers:  # what was acknowledged before that may still be on its way
                await pusher.ping()
            before = [pusher.acknowledged for pusher in pushers]
            injected = failing.injected
            await until(lambda: failing.injected >= injected + 3, "it does not try again")
            for pusher in pushers:
                await pusher.ping()
            assert [pusher.acknowledged for pusher in pushers] == before
        await until(lambda: readiness(gateway) is None, "not ready again")
        await go_on(pushers)
        assert metric(gateway, "gateway_commit_failures_total") >= 3
    assert gateway.stop() == 0
    check_stored(gateway.export(), pushers)


async def test_a_kill_after_failed_syncs_loses_nothing_acknowledged(
    gateway: GatewayProcess,
) -> None:
    async with pushing(gateway, size=300) as pushers:
        for _ in range(4):
            with Failing(gateway, "fdatasync,fsync", "EIO:when=3+5") as failing:
                await until(lambda: failing.injected >= 3, "nothing failed")
            gateway.kill()
            gateway.start()
            await go_on(pushers)
    assert gateway.stop() == 0
    check_stored(gateway.export(), pushers)
