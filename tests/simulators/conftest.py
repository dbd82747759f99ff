"""Devices under test, and the scripted gateway to which they speak."""

import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import ClientSession

from simulators.clocks import DeviceClock, true_now
from simulators.device import Device, Link
from simulators.spool import RamSpool
from simulators.tally import Tally
from tests.simulators.gateway_end import GatewayEnd
from tests.simulators.parts import Probe


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture
async def end() -> AsyncIterator[Any]:
    async with GatewayEnd() as gateway:
        yield gateway


@pytest.fixture
def make(http: ClientSession, end: Any) -> Callable[..., Device]:
    """A device that comes back at once, whatever happens."""

    def build(name: str = "probe-1", **given: Any) -> Device:
        url = given.pop("url", end.url)
        parts: dict[str, Any] = {
            "clock": DeviceClock(b"boot-one", true_now() - 10**9),
            "link": Link(url, given.pop("scale", 0.0), given.pop("timesync_s", 600.0)),
            "tally": Tally(),
            "rng": random.Random(1),
        }
        body, spool = given.pop("body", Probe()), given.pop("spool", RamSpool())
        return Device(name, body, spool, http=http, **(parts | given))

    return build
