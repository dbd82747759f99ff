"""A running gateway imports nothing more: on a small machine that takes as long as hundreds of
commits, and meanwhile nobody is answered."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import EVENTFUL, GatewayProcess, fleet, until

SHORT = '[summaries]\nwindows = ["1s", "1m"]\nlateness = "1s"\n'
HISTORY = "/api/history?device={dev}&metric={m}"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(tmp_path, more=SHORT)
    gateway.launch(env={"PYTHONPROFILEIMPORTTIME": "1"})
    gateway.wait_until_ready()
    devices = fleet(gateway, *EVENTFUL)
    yield gateway
    devices.kill()
    devices.wait()
    gateway.kill()


def test_a_running_gateway_imports_nothing(gateway: GatewayProcess) -> None:
    for window in ("1s", "1m"):
        until(lambda window=window: gateway.get(f"/api/summaries?window={window}")["summaries"])
    series = gateway.get("/api/latest")["series"][0]
    for step in ("", "&step=10"):
        assert gateway.get(HISTORY.format(**series) + step)["points"]
    assert gateway.get("/api/devices")["devices"]
    assert gateway.stop() == 0
    log = (gateway.folder / "log").read_text()
    _, listening, rest = log.partition(" listening url=")
    running, stopping, _ = rest.partition(" stopping")
    assert "import time:" in log
    assert listening
    assert stopping
    assert [line for line in running.splitlines() if line.startswith("import time:")] == []
