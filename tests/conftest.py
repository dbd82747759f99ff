"""What tests of several folders share."""

from collections.abc import Iterator

import pytest

from tests.processes import GatewayProcess, fleet


@pytest.fixture(scope="module")
def live_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that runs, with devices that push changing readings."""
    gateway = GatewayProcess(tmp_path_factory.mktemp("gateway"))
    gateway.start()
    devices = fleet(gateway, "--devices", "3", "--seed", "1")
    yield gateway
    devices.terminate()
    devices.wait(60)
    gateway.stop()
