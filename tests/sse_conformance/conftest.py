"""Which server is tested: the one at --url, or a gateway that is started here."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import GatewayProcess
from tests.sse_conformance.server import Command, Passing, Server, ours

OPTIONS = {
    "--url": "the event stream of the server to test; without it, our own gateway is started",
    "--publish": "a shell command that causes one event, whose data is its standard input",
    "--field": "where in the event's JSON the published text is (default: the data is the text)",
    "--cursor-parameter": "the query parameter that stands for Last-Event-ID, if there is one",
    "--passing-header": "a header like --header, for the one test that takes its leave away",
    "--revoke": "a shell command after which --passing-header opens nothing any more",
    "--skip-cases": "numbers of cases that do not apply, such as 3,12",
}
REPEATED = {
    "--header": "a header that every request needs, such as 'Authorization: Bearer …'",
    "--own-event": "the name of an event that is about one connection only, such as heartbeat",
}
MORE = """
[store]
commit_interval_ms = 1
[summaries]
windows = ["1s"]
lateness = "1s"
[events]
max_clients = 400
max_clients_per_address = 400
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sse", "conformance of event streams")
    for name, text in OPTIONS.items():
        group.addoption(name, help=text)
    for name, text in REPEATED.items():
        group.addoption(name, action="append", default=[], help=text)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "case(number…): the cases of README.md that a test covers")


def option(config: pytest.Config, name: str) -> str | None:
    """An option's value; None too if this folder is run as a part of all tests."""
    return config.getoption(name, default=None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    skipped = set((option(item.config, "--skip-cases") or "").split(","))
    for mark in item.iter_markers("case"):
        if skipped & {str(number) for number in mark.args}:
            pytest.skip("one of --skip-cases")


@pytest.fixture(scope="session")
def _gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(tmp_path_factory.mktemp("events"), more=MORE)
    gateway.start()
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture
def only_ours(request: pytest.FixtureRequest) -> None:
    if option(request.config, "--url"):
        pytest.skip("about our own gateway")


@pytest.fixture
def gateway(request: pytest.FixtureRequest, only_ours: None) -> GatewayProcess:
    """A gateway that the tests of a worker share. They leave it running."""
    return request.getfixturevalue("_gateway")


@pytest.fixture
def alone(only_ours: None, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway for one test, which may stop and kill it."""
    gateway = GatewayProcess(tmp_path, more=MORE)
    gateway.start()
    yield gateway
    gateway.kill()


@pytest.fixture(scope="session")
def _server(request: pytest.FixtureRequest) -> Server:
    config = request.config
    url = option(config, "--url")
    if url is None:
        return ours(request.getfixturevalue("_gateway"))
    command = option(config, "--publish")
    return Server(
        url,
        Command(command) if command else None,
        headers=_headers(*config.getoption("--header")),
        cursor_parameter=option(config, "--cursor-parameter"),
        own=frozenset(config.getoption("--own-event")),
        field=option(config, "--field"),
    )


def _headers(*lines: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


@pytest.fixture
def server(_server: Server) -> Server:
    """The server under test, whoever made it."""
    return _server


@pytest.fixture
def publishing(server: Server) -> Server:
    """A server that can be made to send something."""
    if server.publisher is None:
        pytest.skip("needs --publish")
    return server


@pytest.fixture
def passing(request: pytest.FixtureRequest, server: Server) -> Passing:
    """Somebody who may look, and how to end that."""
    header, command = (option(request.config, name) for name in ("--passing-header", "--revoke"))
    if header and command:
        return Passing(server, server.headers | _headers(header), command)
    if option(request.config, "--url"):
        pytest.skip("needs --passing-header and --revoke")
    return request.getfixturevalue("script")


def run(gateway: GatewayProcess, *command: str, given: str = "") -> str:
    """A command of the gateway's; what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *command, "--config", str(gateway.config)],
        input=given + "\n", check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture(scope="session")
def _guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(tmp_path_factory.mktemp("guarded"), more=MORE)
    run(gateway, "user", "add", "ada", given="correct horse battery")
    gateway.start()
    yield gateway
    gateway.kill()


@pytest.fixture
def script(only_ours: None, _guarded: GatewayProcess) -> Passing:
    """A script with a token, at a gateway at which people sign in."""
    token = run(_guarded, "token", "add", "passing")
    revoke = f"{sys.executable} -m gateway token revoke passing --config {_guarded.config}"
    return Passing(ours(_guarded), {"Authorization": f"Bearer {token}"}, revoke)
