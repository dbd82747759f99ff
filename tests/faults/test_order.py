"""Every ACK on the wire follows a completed sync of what it acknowledges (seen by strace)."""

import asyncio
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from tests.processes import PATIENCE_S, GatewayProcess
from tests.wire_client import WireClient, new_epoch

MESSAGES = 12
CALLS = "trace=fdatasync,fsync,sendto,sendmsg,write,writev"
STRACE = ("strace", "-f", "-qq", "-x", "-s", "16", "-e", CALLS)
SYNC = re.compile(r"(fdatasync|fsync)(\(| resumed).*= 0")
ACK = re.compile(r'(sendto|sendmsg|write|writev)\(.*"\\x82\\x[0-9a-f]{2}\\xa[234]\\x00\\x03')
"""A server's frame (0x82) that holds a map with 3 under key 0."""


async def test_an_ack_follows_the_sync(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, more="[store]\ncommit_interval_ms = 1\n")
    trace = tmp_path / "trace"
    gateway.process = subprocess.Popen(
        [*STRACE, "-o", trace, sys.executable, "-m", "gateway", "run", "--config", gateway.config],
        stderr=(tmp_path / "log").open("ab"),
    )
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            await asyncio.to_thread(gateway.get, "/readyz")
            break
        except OSError:
            await asyncio.sleep(0.1)
    async with WireClient(gateway.link, "d1") as device:
        await device.hello(new_epoch())
        for seq in range(1, MESSAGES + 1):
            await device.send({0: 18, 1: seq, 2: "tick"})
            await device.acked(seq)
    subprocess.run(["pkill", "-TERM", "-P", str(gateway.process.pid)], check=False)
    gateway.process.send_signal(signal.SIGTERM)
    gateway.process.wait(PATIENCE_S)
    syncs_before = []
    syncs = 0
    for line in trace.read_text().splitlines():
        if SYNC.search(line):
            syncs += 1
        elif ACK.search(line):
            syncs_before.append(syncs)
    assert len(syncs_before) >= MESSAGES
    assert all(later > earlier for earlier, later in pairwise(syncs_before))
