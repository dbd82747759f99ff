"""The composition root: all parts of the gateway, and what each of them stands on."""

from collections.abc import Callable
from functools import partial

from gateway import restore
from gateway.admin import Admin
from gateway.aftercare import Aftercare
from gateway.authority import Authority
from gateway.compactor import Compactor
from gateway.config import Config
from gateway.config_alerts import rules as alert_rules
from gateway.core import alerts
from gateway.core.alert_book import Book
from gateway.core.alerting import Alerts
from gateway.core.claims import Claims
from gateway.core.clock import Now
from gateway.core.gauging import Figures
from gateway.core.group import Group
from gateway.core.orders import Orders
from gateway.core.room import Room
from gateway.core.take import Taker
from gateway.core.windows import parse_window
from gateway.disk import Ballast, Disk, size_of, written_bytes
from gateway.facade import Facade, Shown
from gateway.forwarding import Forwarding
from gateway.hub import Hub
from gateway.link import Terms
from gateway.links import Links
from gateway.measures import Measures
from gateway.pipeline import Pipeline
from gateway.placing import Placing
from gateway.reception import Reception
from gateway.revisions import Revisions
from gateway.store import Opened
from gateway.store.rescue import Rescue
from gateway.store.retention import Bounds
from gateway.store.sqlite import SqliteStore
from gateway.subscriber import Limits
from gateway.upkeep import Upkeep


class Parts:
    """Builds every part after those that it stands on; nothing runs yet.

    Only the pipeline stands at both ends: it comes early, since most parts put something in, and
    at last `_attach` tells it who lives on what comes out.
    """

    def __init__(
        self,
        config: Config,
        *,
        store: SqliteStore,
        opened: Opened,
        ballast: Ballast,
        machine: Callable[[], Now],
    ) -> None:
        """`opened`: what the store held when it was opened; `machine` reads the machine's clocks.

        Raises ConfigError.
        """
        self.config = config
        self.store = store
        self.opened = opened
        self._machine = machine
        self._gateway = config.gateway.id
        self._store_id = bytes.fromhex(opened.meta["store_id"])
        self._lengths = [parse_window(text) for text in config.summaries.windows]
        self._recall()
        self._build_flow()
        self._build_upkeep(ballast)
        self._build_revisions()
        self._build_devices()
        self._build_alerts()
        self._build_faces()
        self._attach()

    def clock(self) -> Now:
        """The gateway's time."""
        return self._keeper.now(self._machine())

    def _may_expire(self) -> bool:
        return self._keeper.may_expire

    def _recall(self) -> None:
        """What the last run knew."""
        opened = self.opened
        self._keeper = restore.keeper(opened)
        self.registry = restore.registry(opened)
        self.windows = restore.windows(opened, self._lengths, self.config.summaries.lateness)
        self.book = Book(opened.alerts)
        self.presence = restore.presence(self.registry, now=self.clock())

    def _build_flow(self) -> None:
        """The way of a reading: from the devices' links through the pipeline to those who look."""
        events = self.config.events
        self.measures = Measures()
        self.links = Links()
        self.hub = Hub(
            log=self.store,
            live=restore.live(self.registry, self.opened, gateway=self._gateway, t=self.clock().ms),
            epoch=self.opened.meta["log_epoch"],
            gateway=self._gateway,
            limits=Limits(events.max_clients, events.max_clients_per_address),
            clock=lambda: self.clock().ms,
        )
        self.forwarding = Forwarding(self.config)
        self.pipeline = Pipeline(
            store=self.store,
            registry=self.registry,
            windows=self.windows,
            audience=Shown(self.hub),
            clock=self.clock,
            rules=self.forwarding.rules,
            interval_s=self.config.store.commit_interval_ms / 1000,
            measures=self.measures,
        )

    def _build_upkeep(self, ballast: Ballast) -> None:
        """What keeps the store small and the disk from filling up."""
        kept, meta = self.config.store, self.opened.meta
        self.disk = Disk(
            self.config.gateway.data_dir,
            ballast=ballast,
            size=partial(size_of, self.store.path),
            written=written_bytes,
            before=Room[meta.get("disk", Room.PLENTY.word).upper()],
            changed=self._room_changed,
        )
        self.upkeep = Upkeep(
            store=self.store,
            replay_ms=self.config.mqtt.replay_hours * 3_600_000,
            clock=self.clock,
            may_expire=self._may_expire,
            full=self.disk.full,
            before=meta.get("clock", "ok"),
            clock_told=partial(self._tell, "clock"),
        )
        self.rescue = Rescue(self.store, salvaging=bool(meta.get("salvage")))
        self.compactor = Compactor(
            store=self.store,
            bounds=Bounds(kept.readings_days, kept.summaries_days, kept.max_size_mb * 1_000_000),
            clock=self.clock,
            busy=lambda: self.pipeline.busy,
            may_expire=self._may_expire,
            held=lambda: self.disk.stored,
            full=self.disk.full,
            salvaging=lambda: self.rescue.salvaging,
        )

    def _build_revisions(self) -> None:
        """What is done again, since readings come late, get their time late or come back."""
        self.placing = Placing(store=self.store, pipeline=self.pipeline)
        self.revisions = Revisions(
            store=self.store,
            pipeline=self.pipeline,
            windows=self._lengths,
            lateness=self.config.summaries.lateness,
            clock=self.clock,
            measures=self.measures,
        )
        self.revisions.add(self.opened.dues)
        self.aftercare = Aftercare(
            rescue=self.rescue,
            pipeline=self.pipeline,
            revisions=self.revisions,
            windows=self._lengths,
            gateway=self._gateway,
        )

    def _build_devices(self) -> None:
        """What devices are told and asked, here and by way of the broker."""
        devices, registry, links = self.config.devices, self.registry, self.links
        orders = Orders(registry, store_id=self._store_id, send=links.send, room=links.room)
        orders.restore(restore.orders(registry, self.opened.commands))
        self.orders = orders
        self.reception = Reception(
            pipeline=self.pipeline,
            links=links,
            claims=Claims(registry, self.presence, orders, may_expire=self._may_expire),
            presence=self.presence,
            orders=orders,
            placing=self.placing,
            clock=self.clock,
            terms=Terms(self._store_id, devices.max_message, self.config.store.commit_interval_ms),
            window=devices.window,
            room=lambda: self.disk.room,
            open_door=devices.auth == "open",
        )
        self.forwarding.attach(
            store=self.store,
            opened=self.opened,
            pipeline=self.pipeline,
            orders=orders,
            tell=partial(self._tell, "outbox"),
            clock=self.clock,
        )

    def _build_alerts(self) -> None:
        self.alerts = Alerts(
            alert_rules(self.config.alerts),
            registry=self.registry,
            book=self.book,
            gateway=self._gateway,
            figures=lambda: Figures(self.disk.used_share, self.upkeep.outbox_age),
            well=alerts.well(self.opened.meta),
            now=self.clock(),
        )

    def _build_faces(self) -> None:
        """What people and programs see of the gateway."""
        bridge, access = self.forwarding.bridge, self.config.access
        self.facade = Facade(
            store=self.store,
            pipeline=self.pipeline,
            orders=self.orders,
            book=self.book,
            hub=self.hub,
            window=self.reception.window,
            disk=self.disk,
            broker=None if bridge is None else bridge.stats,
        )
        self.authority = Authority(
            restore.accounts(self.opened, access.session, now=self.clock()),
            pipeline=self.pipeline,
            clock=self.clock,
            cookie=f"gateway-{self._store_id[:4].hex()}",
            trust_loopback=access.trust_loopback,
            changed=self.hub.recheck,
            stored=self.aftercare.renew,
        )
        self.admin = Admin(
            pipeline=self.pipeline,
            links=self.links,
            orders=self.orders,
            facade=self.facade,
            rescue=self.rescue,
            authority=self.authority,
            replay=None if bridge is None else self.forwarding.replay,
        )

    def _attach(self) -> None:
        ticking = (self.presence, self.orders, self.placing, self.forwarding.acks, self.alerts)
        self.pipeline.attach(
            taker=Taker(self.orders.answered),
            due=self.revisions.add,
            ticks=[part.tick for part in ticking],
            outgoing=self.forwarding.wake,
            committed=self.disk.committed,
            judge=self._judge,
        )

    # -- what parts tell one another --------------------------------------------------------

    def _tell(self, name: str, state: str) -> None:
        """Tell everyone of a state of the gateway itself."""
        told = partial(alerts.change, book=self.book, gateway=self._gateway)
        self.pipeline.change(partial(told, name=name, state=state))

    def _room_changed(self, room: Room) -> None:
        """A device that used up its limit goes on only if it hears of the new one."""
        self._tell("disk", room.word)
        if room is not Room.FULL:
            self.links.renew_limits()

    def _judge(self, group: Group) -> None:
        """What readings turned is told by the next group, at once."""
        if self.alerts.judge(group):
            self.pipeline.change(self.book.flush)
