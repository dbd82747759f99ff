"""The event stream over the gateway's own TLS."""

import asyncio
import ssl
from pathlib import Path

from tests.brokers import certificates
from tests.events import Client, stand, status, summary


async def test_a_client_that_rests_catches_up_and_is_told_of_the_end(tmp_path: Path) -> None:
    files = certificates(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(files["cert"], files["key"])
    trusting = ssl.create_default_context(cafile=files["ca"])
    async with stand(tls=tls) as there:
        client = await Client.open(there.port, tls=trusting)
        await client.until("snapshot")
        there.publish(status(1))
        assert (await client.next()).seq == 1
        client.writer.transport.pause_reading()
        for seq in range(2, 8000):
            there.publish(summary(seq))
            await asyncio.sleep(0)
        there.publish(status(8000))
        client.resume()
        found = [event async for event in _until(client, 8000)]
        assert found == sorted(set(found))
        assert there.connections == 0
        await there.hub.close()
        assert [event.name for event in await client.rest()][-1] == "bye"
        assert there.hub.clients == 0


async def _until(client: Client, seq: int):
    while True:
        event = await client.next()
        if event.name in ("summary", "status"):
            yield event.seq
            if event.seq == seq:
                return
