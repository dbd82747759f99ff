"""How a stream begins: hello, then what the client missed or the present state."""

from collections.abc import Callable

from gateway.core import sse
from gateway.core.lines import line
from gateway.core.live import Chunk, Live
from gateway.core.summary import dump
from gateway.replay import Refused, Replay
from gateway.subscriber import Limits, Subscriber, gap


class Welcome:
    """Brings new clients to the point from which the hub's events simply follow."""

    def __init__(
        self,
        replay: Replay,
        live: Live,
        *,
        epoch: str,
        gateway: str,
        limits: Limits,
        clock: Callable[[], int],
    ) -> None:
        self.live = live
        self._replay = replay
        self._epoch = epoch
        self._gateway = gateway
        self._limits = limits
        self._clock = clock

    async def hello(self, subscriber: Subscriber) -> None:
        newest = subscriber.backlog.head
        subscriber.oldest = await self._replay.oldest_lately(newest)
        hello = {
            "v": 1,
            "epoch": self._epoch,
            "oldest": self._id(min(subscriber.oldest, newest)),
            "newest": self._id(newest),
            "heartbeat_s": self._limits.heartbeat,
            "now": self._clock(),
            "gateway": self._gateway,
        }
        subscriber.send("hello", dump(hello))

    def _id(self, seq: int) -> str:
        return sse.format_id(self._epoch, seq)

    async def join(self, subscriber: Subscriber, header: str) -> None:
        """Bring a new client up to the moment from which everything has queued for it."""
        asked = subscriber.asked
        cursor = header or asked.last_event_id
        subscriber.join(self.live.head)
        try:
            if cursor:
                await self._replay.from_id(subscriber, cursor)
            elif asked.since is not None:
                await self._replay.from_time(subscriber, asked.since)
            else:
                await self._fresh(subscriber)
        except Refused as refused:
            shown = cursor or asked.since
            await self._gap(subscriber, refused, shown[:64] if isinstance(shown, str) else shown)

    async def _gap(
        self, subscriber: Subscriber, refused: Refused, asked: str | float | None
    ) -> None:
        """Say what is missing, then show the present state instead."""
        if isinstance(asked, str):
            asked = asked.encode("utf-8", "replace").decode()
        subscriber.oldest = await self._replay.oldest(self.live.head)
        newest = self.live.head
        payload = gap(
            refused.reason,
            asked,
            resume=self._id(newest),
            oldest=self._id(min(subscriber.oldest, newest)),
            missed=refused.missed,
        )
        subscriber.send("gap", payload)
        await self._fresh(subscriber)

    async def _fresh(self, subscriber: Subscriber) -> None:
        """Show the present state; the log up to `live.head` is known with the last chunk."""
        head = self.live.head
        subscriber.join(head)
        if not subscriber.asked.snapshot:
            subscriber.beat()
            return
        for chunk in self.live.snapshot(subscriber.asked.filter).chunks():
            if not await subscriber.room():
                return
            text = subscriber.asked.text
            data = _chunk_text(chunk) if text else chunk.json()
            subscriber.send("snapshot", data, ident=None if chunk.more else head)


def _chunk_text(chunk: Chunk) -> str:
    kinds = ("summary", chunk.summaries), ("status", chunk.statuses), ("alert", chunk.alerts)
    return "\n".join(line(kind, payload) for kind, rows in kinds for payload in rows)
