"""What goes to the MQTT broker and what comes from there, if one is configured."""

from collections.abc import Callable, Iterator
from functools import partial

from gateway import mqtt
from gateway.bridge import META_BACKLOG, META_SESSION, Bridge, Ground
from gateway.config import Config
from gateway.core.acks import Acks
from gateway.core.clock import Now
from gateway.core.facts import OutboxPut
from gateway.core.group import Group, Rules
from gateway.core.orders import Orders
from gateway.core.presence import status
from gateway.core.registry import Registry
from gateway.core.topics import Topics, Upstream
from gateway.pipeline import Pipeline
from gateway.requests import Requests
from gateway.store import Opened, Store


class Forwarding:
    """The pipeline's rules ask it, so it comes before the pipeline; `attach` builds the bridge.

    bridge: None if no broker is configured.
    """

    def __init__(self, config: Config) -> None:
        self.bridge: Bridge | None = None
        self._config = config.mqtt
        topics = Topics(config.mqtt.root, config.gateway.id)
        self._upstream = None if config.mqtt.url is None else Upstream(topics)
        self.rules = Rules(
            max_skew=config.devices.max_skew,
            upstream=self._upstream,
            forward_readings=config.mqtt.forward_readings,
            accepting=self._accepting,
            turned_away=self._turned_away,
        )

    def attach(
        self,
        *,
        store: Store,
        opened: Opened,
        pipeline: Pipeline,
        orders: Orders,
        tell: Callable[[str], None],
        clock: Callable[[], Now],
    ) -> None:
        """`tell` is told whether the outbox is full or ok. Raises ConfigError for a bad URL."""
        self.acks = Acks(pipeline.post)
        if self._upstream is None:
            return
        registry = pipeline.registry
        ground = Ground(
            config=self._config,
            upstream=self._upstream,
            epoch=opened.meta["log_epoch"],
            outbox=store,
            commands=Requests(store=store, pipeline=pipeline, orders=orders, clock=clock),
            post=self.acks.post,
            number=lambda: registry.number("outbox"),
            statuses=partial(_statuses, registry, self._upstream),
            reopen=lambda since: pipeline.change(partial(self.replay, since=since)),
            alert=tell,
            clock=clock,
        )
        self.bridge = Bridge(
            ground,
            connect=mqtt.connect,
            session=opened.meta.get(META_SESSION),
            backlog=int(opened.meta.get(META_BACKLOG, 0)),
            full=opened.meta.get("outbox") == "full",
        )

    def wake(self) -> None:
        """There is something new for the broker."""
        if self.bridge is not None:
            self.bridge.wake()

    def replay(self, group: Group, since: int) -> None:
        """Open again what the broker acknowledged since (Unix ms)."""
        self.acks.reopen(group, since)
        if self.bridge is not None:
            group.after.append(self.bridge.reopened)

    def _accepting(self) -> bool:
        return self.bridge is None or self.bridge.accepting

    def _turned_away(self, rows: int) -> None:
        if self.bridge is not None:
            self.bridge.rejected(rows)


def _statuses(registry: Registry, upstream: Upstream) -> Iterator[OutboxPut]:
    """The retained states of all devices that were ever seen."""
    for device in registry.devices.values():
        if device.since and not device.removed:
            yield upstream.status(0, device.since, status(device))
