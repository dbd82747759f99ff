"""The control socket: how commands reach the gateway that runs.

A Unix socket in the data folder, mode 0600, one JSON object a line: `{"do": "device.add", …}`
is answered by `{"ok": …}` or `{"error": "…"}`. Lines are at most 64 KiB, a connection may ask
many times, and what a name does is a table that `app` hands over.
"""

import asyncio
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gateway.errors import GatewayError

MAX_LINE = 65_536
MAX_CLIENTS = 8
IDLE_S = 60.0
_MAX_PATH = 107  # sun_path of a Unix socket, without its final NUL

log = logging.getLogger(__name__)

Command = Callable[[Mapping[str, Any]], Awaitable[Any]]


class ControlError(GatewayError):
    """A command was refused, or the gateway could not be asked."""


class NotRunning(ControlError):
    """Nobody listens on the control socket."""


def socket_path(data_dir: Path) -> Path:
    return data_dir / "control.sock"


class Control:
    """The gateway's side. `commands`: name -> function of the asked object, giving the answer.

    A function refuses by raising a `GatewayError`; its text is what the person reads.
    """

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self._path = path
        self._commands = commands
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; a socket that a crash left behind is replaced (the store's lock is ours)."""
        sock = _listen(self._path)
        self._server = await asyncio.start_unix_server(self._talk, sock=sock, limit=MAX_LINE)

    async def close(self) -> None:
        """Stop listening, end every conversation and remove the socket."""
        if self._server is not None:
            self._server.close()
        talks = list(self._talks)
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            if len(self._talks) > MAX_CLIENTS:
                await _write(writer, {"error": "too many commands at a time"})
            else:
                await self._answer_all(reader, writer)
        except (ConnectionError, TimeoutError):
            log.debug("a control client went away")
        finally:
            self._talks.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    line = await reader.readline()
            except ValueError:  # the stream's limit: the rest of the line cannot be skipped
                await _write(writer, {"error": f"a line is at most {MAX_LINE} bytes"})
                return
            if not line.endswith(b"\n"):
                return
            await _write(writer, await self._answer(line))

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            asked = json.loads(line)
        except (ValueError, RecursionError):
            return {"error": "the line is not JSON"}
        if not isinstance(asked, dict):
            return {"error": "the line is not a JSON object"}
        command = self._commands.get(str(asked.get("do")))
        if command is None:
            return {"error": f"there is no command {asked.get('do')!r}"}
        try:
            return {"ok": await command(asked)}
        except GatewayError as error:
            return {"error": str(error)}


def ask(data_dir: Path, do: str, *, timeout: float = 15.0, **more: Any) -> Any:
    """Ask the gateway that runs and give its answer; blocks.

    Raises `NotRunning` if nobody listens, `ControlError` if it refuses or does not answer.
    """
    path = socket_path(data_dir)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        _connect(sock, path)
        try:
            sock.sendall(json.dumps({"do": do, **more}).encode() + b"\n")
            with sock.makefile("rb") as stream:
                line = stream.readline(16 * MAX_LINE)
        except OSError as error:
            problem = f"the gateway did not answer on {path}: {error}"
            raise ControlError(problem) from None
    return _answer_of(line, path)


def _connect(sock: socket.socket, path: Path) -> None:
    _check_length(path)
    try:
        sock.connect(os.fspath(path))
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning(f"no gateway listens on {path}") from None
    except PermissionError:
        raise ControlError(
            f"no permission to use {path}: run the command as the gateway's user or as root"
        ) from None
    except OSError as error:
        raise ControlError(f"cannot use {path}: {error}") from None


def _answer_of(line: bytes, path: Path) -> Any:
    if not line.endswith(b"\n"):
        raise ControlError(f"the gateway hung up on {path}: see its log")
    answer = json.loads(line)
    if "error" in answer:
        raise ControlError(answer["error"])
    return answer["ok"]


def _check_length(path: Path) -> None:
    if len(os.fsencode(path)) > _MAX_PATH:
        raise ControlError(f"{path} is too long for a Unix socket: choose a shorter data_dir")


def _listen(path: Path) -> socket.socket:
    _check_length(path)
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(sock.fileno(), 0o600)  # Linux gives the mode of the socket to the file
        sock.bind(os.fspath(path))
        path.chmod(0o600)
        sock.listen(MAX_CLIENTS)
    except OSError as error:
        sock.close()
        raise ControlError(f"cannot listen on {path}: {error}") from None
    return sock


async def _write(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    async with asyncio.timeout(IDLE_S):
        await writer.drain()
