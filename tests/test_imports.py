"""A running gateway imports nothing more: on a small machine that takes as long as hundreds of
commits, and meanwhile nobody is answered."""

from pathlib import Path

from tests.processes import EVENTFUL, GatewayProcess, fleet, until

SHORT = '[summaries]\nwindows = ["1s", "1m"]\nlateness = "1s"\n'
HISTORY = "/api/history?device={dev}&metric={m}"


def test_a_running_gateway_imports_nothing(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, more=SHORT)
    gateway.launch(env={"PYTHONPROFILEIMPORTTIME": "1"})
    gateway.wait_until_ready()
    devices = fleet(gateway, *EVENTFUL)
    for window in ("1s", "1m"):
        until(lambda window=window: gateway.get(f"/api/summaries?window={window}")["summaries"])
    series = gateway.get("/api/latest")["series"][0]
    for step in ("", "&step=10"):
        assert gateway.get(HISTORY.format(**series) + step)
    gateway.get("/api/devices")
    devices.terminate()
    devices.wait()
    assert gateway.stop() == 0
    log = (tmp_path / "log").read_text()
    _, _, running = log[log.rindex("import time: self") :].partition(" listening ")
    running, ended, _ = running.partition(" stopping")
    assert ended
    assert [line for line in running.splitlines() if line.startswith("import time:")] == []
