"""Running the gateway: sockets that systemd passed, and addresses that cannot be used."""

import errno
import logging
import socket

import pytest

from gateway.commands.run import _explained, listening_on
from gateway.config import Config
from gateway.config_keys import DevicesKeys
from gateway.errors import ConfigError, GatewayError


class Wide:
    """Stands for a socket that other machines reach, which no test may open."""

    def getsockname(self):
        return ("0.0.0.0", 8080)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def test_without_sockets_the_configuration_counts():
    config = Config()
    assert listening_on(config, []) is config


def test_the_passed_socket_counts_and_that_is_said(listener, caplog):
    with caplog.at_level(logging.WARNING):
        config = listening_on(Config(), [listener])
    assert (config.listen.host, config.listen.port) == listener.getsockname()
    assert "systemd listens" in caplog.text


def test_open_devices_are_refused_on_a_passed_socket_that_others_reach():
    config = Config(devices=DevicesKeys(auth="open"))
    with pytest.raises(ConfigError, match="allow_open_network"):
        listening_on(config, [Wide()])


def test_an_address_in_use_is_explained():
    error = _explained(OSError(errno.EADDRINUSE, "Address already in use"), Config())
    assert isinstance(error, GatewayError)
    assert "127.0.0.1 port 8080 (address already in use)" in str(error)


def test_other_errors_stay_what_they_are():
    error = OSError(errno.EIO, "Input/output error")
    assert _explained(error, Config()) is error
