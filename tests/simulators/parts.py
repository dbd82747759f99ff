"""A device's body for tests, and how to run a device for a while."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.core.messages import Data, Schema
from simulators.body import OK, UNNUMBERED, UNSUPPORTED, Draft, Outcome
from simulators.device import Device

SCHEMA = Schema(sid=1, fields=[{0: "x", 2: 85}], resolution=3, fingerprint=b"abcd")


class Probe:
    """A body with one metric that remembers what it was told."""

    def __init__(self) -> None:
        self.schemas = {1: SCHEMA}
        self.nap_s: float | None = None
        self.acts: list[Any] = []
        self.documents: list[Any] = []

    def act(self, op: int | str, args: Any) -> Outcome:
        self.acts.append((op, args))
        if op == "reboot":
            return Outcome(1, reboot=True)
        return Outcome(OK, {"did": op}) if op == "relay" else Outcome(UNSUPPORTED)

    def configure(self, document: Any) -> None:
        self.documents.append(document)


def reading(value: float = 1.0, **keys: Any) -> Draft:
    """One reading as a draft."""
    given = {"t0": 1_700_000_000_000, "step": None, "valid": None, "clock": 0} | keys
    return Draft(Data(seq=UNNUMBERED, sid=1, columns=[value], **given), 1)


@asynccontextmanager
async def running(device: Device) -> AsyncIterator[Device]:
    """`device` runs inside the block and parts at its end."""
    task = asyncio.create_task(device.run())
    try:
        yield device
    finally:
        device.stop()
        async with asyncio.timeout(10):
            await task


async def settled(device: Any) -> None:
    """Wait until everything queued is acknowledged."""
    async with asyncio.timeout(10):
        while len(device.spool) or device.spool.lo <= device.spool.hi:
            device.freed.clear()
            await device.freed.wait()
