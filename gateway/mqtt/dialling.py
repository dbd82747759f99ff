"""The parts of opening a connection that block: they run in a thread of their own."""

import asyncio
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress

from gateway.core.broker import BrokerError, Connecting


async def off_the_loop(work: Callable[[], None], *, undo: Callable[[], None]) -> None:
    """Run blocking work in a daemon thread; `undo` runs on the loop if nobody waits any more.

    The default executor will not do: the process could not end while a name look-up hangs.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if done.cancelled():
            undo()
        elif error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as caught:  # noqa: BLE001 - carried over to whoever waits
            error = caught
        with suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="mqtt-connect", daemon=True).start()
    await done


def tls_context(settings: Connecting) -> ssl.SSLContext:
    """Certificates are always checked. Raises BrokerError if the files cannot be used."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.cert_file is not None:
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except OSError as error:
        files = [settings.ca_file, settings.cert_file, settings.key_file]
        names = ", ".join(str(file) for file in files if file is not None)
        raise BrokerError(f"cannot use {names}: {error.strerror or error}") from error
    return context
