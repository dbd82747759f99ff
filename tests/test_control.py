"""The control socket, over real sockets."""

import asyncio
import json
import os
import socket
import stat

import pytest

from gateway import control
from gateway.control import Control, ControlError, NotRunning, ask, socket_path
from gateway.errors import GatewayError


async def echo(asked):
    return {"heard": asked["text"]}


async def refuse(asked):
    raise GatewayError("the device sn-1 exists")


@pytest.fixture
async def running(tmp_path):
    server = Control(socket_path(tmp_path), {"echo": echo, "refuse": refuse})
    await server.start()
    yield tmp_path
    await server.close()
    assert not socket_path(tmp_path).exists()


async def raw(data_dir, data: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(socket_path(data_dir)))
    writer.write(data)
    await writer.drain()
    answer = await reader.readline()
    writer.close()
    return answer


async def test_a_command_is_answered(running):
    assert await asyncio.to_thread(ask, running, "echo", text="é") == {"heard": "é"}


async def test_a_refusal_arrives_as_its_text(running):
    with pytest.raises(ControlError, match="the device sn-1 exists"):
        await asyncio.to_thread(ask, running, "refuse")


async def test_an_unknown_command_is_refused(running):
    with pytest.raises(ControlError, match="no command 'nothing'"):
        await asyncio.to_thread(ask, running, "nothing")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "not JSON"),
        (b"\xff\n", "not JSON"),
        (b"[" * 60_000 + b"\n", "not JSON"),
        (b"[]\n", "not a JSON object"),
        (b'{"do": []}\n', "no command"),
        (b"{}\n", "no command None"),
    ],
)
async def test_bad_lines_are_refused(running, line, words):
    answer = await raw(running, line if line.endswith(b"\n") else line + b"\n")
    assert words in json.loads(answer)["error"]


async def test_a_long_line_is_refused_and_the_connection_closed(running):
    reader, writer = await asyncio.open_unix_connection(str(socket_path(running)))
    writer.write(b"x" * (control.MAX_LINE + 10))
    assert "at most" in json.loads(await reader.readline())["error"]
    with_rest = await reader.read()
    assert with_rest == b""
    writer.close()


async def test_one_connection_may_ask_many_times(running):
    reader, writer = await asyncio.open_unix_connection(str(socket_path(running)))
    for text in ("a", "b"):
        writer.write(json.dumps({"do": "echo", "text": text}).encode() + b"\n")
        assert json.loads(await reader.readline()) == {"ok": {"heard": text}}
    writer.close()


async def test_too_many_connections_are_told_so(running):
    path = str(socket_path(running))
    held = [await asyncio.open_unix_connection(path) for _ in range(control.MAX_CLIENTS)]
    for reader, writer in held:
        writer.write(b"{}\n")
        await reader.readline()
    answer = await raw(running, b"{}\n")
    assert "too many" in json.loads(answer)["error"]
    for _, writer in held:
        writer.close()


async def test_only_the_owner_may_use_it(running):
    assert stat.S_IMODE(socket_path(running).stat().st_mode) == 0o600


async def test_a_socket_left_by_a_crash_is_replaced(tmp_path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(socket_path(tmp_path)))
    server = Control(socket_path(tmp_path), {"echo": echo})
    await server.start()
    assert await asyncio.to_thread(ask, tmp_path, "echo", text="a") == {"heard": "a"}
    await server.close()


async def test_close_ends_conversations_and_removes_the_socket(tmp_path):
    server = Control(socket_path(tmp_path), {})
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(socket_path(tmp_path)))
    writer.write(b"{}\n")
    await reader.readline()
    await server.close()
    assert await reader.read() == b""
    assert not socket_path(tmp_path).exists()
    writer.close()


def test_nobody_listening_is_not_running(tmp_path):
    with pytest.raises(NotRunning):
        ask(tmp_path, "echo")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(socket_path(tmp_path)))
    with pytest.raises(NotRunning):
        ask(tmp_path, "echo")


def test_silence_and_hanging_up_are_errors(tmp_path):
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(socket_path(tmp_path)))
        deaf.listen()
        with pytest.raises(ControlError, match="did not answer"):
            ask(tmp_path, "echo", timeout=0.05)


def test_a_path_too_long_for_a_socket_is_said(tmp_path):
    deep = tmp_path / ("x" * 100)
    with pytest.raises(ControlError, match="too long"):
        ask(deep, "echo")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every socket")
async def test_another_users_socket_is_said(running):
    socket_path(running).chmod(0)
    with pytest.raises(ControlError, match="no permission"):
        await asyncio.to_thread(ask, running, "echo", text="")
