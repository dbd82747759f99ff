"""What tests of several folders share."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.processes import GatewayProcess, fleet

# How long an example takes says something about the machine only.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


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
