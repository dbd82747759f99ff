"""The composition root: builds all parts, and knows in which order they start and stop."""

import asyncio
import gc
import logging
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain

from aiohttp import web

from gateway import mqtt, restore
from gateway.access import Access
from gateway.admin import Admin
from gateway.aftercare import Aftercare, until_damaged
from gateway.authority import Authority
from gateway.bridge import META_SESSION, Bridge
from gateway.compactor import Compactor
from gateway.config import Config
from gateway.config_alerts import rules as alert_rules
from gateway.control import Control, socket_path
from gateway.core import alerts
from gateway.core.accounts import Accounts
from gateway.core.acks import Acks
from gateway.core.alerting import Alerts
from gateway.core.claims import Claims
from gateway.core.clock import Now
from gateway.core.facts import OutboxPut
from gateway.core.gauging import Figures
from gateway.core.group import Group, Rules
from gateway.core.live import Live
from gateway.core.orders import Orders
from gateway.core.presence import ONLINE, Presence, status
from gateway.core.readings import NS_PER_MS
from gateway.core.registry import Registry
from gateway.core.room import Room
from gateway.core.take import Taker
from gateway.core.timekeeping import Timekeeper
from gateway.core.topics import Topics, Upstream
from gateway.core.windows import Window, Windows, parse_window
from gateway.disk import Ballast, Disk
from gateway.errors import ConfigError, StoreCorrupt, StoreFull, StoreUnavailable
from gateway.facade import Facade, Shown
from gateway.hub import Hub
from gateway.link import Terms
from gateway.links import Links
from gateway.listening import bind, listen
from gateway.measures import Measures
from gateway.pipeline import Pipeline
from gateway.placing import Placing
from gateway.reception import Reception
from gateway.requests import Requests
from gateway.revisions import Revisions
from gateway.store import Opened
from gateway.store.connect import reset_bug_warning
from gateway.store.rescue import Rescue
from gateway.store.retention import Bounds
from gateway.store.sqlite import SqliteStore
from gateway.subscriber import Limits
from gateway.systemd import Notifier
from gateway.upkeep import Upkeep, written_bytes
from gateway.web import make_app

log = logging.getLogger(__name__)

DATABASE = "gateway.db"
IDLE_S = 15.0
FAREWELL_S = 1.0
WATCH_S = 5.0
GC_THRESHOLDS = (20_000, 20, 50)


def machine_clock() -> Now:
    """The machine's clocks; the monotonic one goes on while the machine sleeps."""
    return Now(time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME))


@dataclass(frozen=True, slots=True)
class Parts:
    """All parts that have a life of their own, or a face to the outside."""

    clock: Callable[[], Now]
    registry: Registry
    windows: Windows
    hub: Hub
    pipeline: Pipeline
    presence: Presence
    links: Links
    reception: Reception
    revisions: Revisions
    rescue: Rescue
    aftercare: Aftercare
    facade: Facade
    authority: Authority
    admin: Admin
    upkeep: Upkeep
    compactor: Compactor
    disk: Disk
    measures: Measures
    acks: Acks
    alerts: Alerts
    bridge: Bridge | None


async def run(
    config: Config,
    *,
    sockets: Sequence[socket.socket] | None = None,
    machine: Callable[[], Now] = machine_clock,
) -> None:
    """Run the gateway until SIGTERM or SIGINT; `machine` reads the machine's clocks.

    Raises StoreError if the store cannot be opened, OSError if the address cannot be bound.
    """
    notifier = Notifier()
    stop = _stop_signals()
    config.gateway.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    ballast = Ballast(config.gateway.data_dir / "ballast")
    store, opened, parts = await _restored(config, machine, ballast)
    if (warning := reset_bug_warning()) is not None:
        log.info(warning)
    if config.mqtt.home_assistant:
        log.warning("[mqtt] home_assistant has no effect yet: nothing is announced")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        stack.callback(parts.rescue.close)
        stack.callback(parts.authority.passwords.close)
        await parts.disk.look()
        address = await _start(parts, config, sockets=sockets, stack=stack)
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(parts.pipeline.run(), name="pipeline"),
                tasks.create_task(parts.aftercare.run(unclean=not opened.clean), name="aftercare"),
                tasks.create_task(until_damaged(store.damaged), name="damage"),
                tasks.create_task(parts.upkeep.run(), name="upkeep"),
                tasks.create_task(parts.compactor.run(), name="compactor"),
                tasks.create_task(parts.disk.run(), name="disk"),
                tasks.create_task(_watch(notifier, parts.pipeline), name="watchdog"),
            ]
            bridging = None
            if parts.bridge is not None:
                bridging = tasks.create_task(parts.bridge.run(), name="bridge")
            _spare_the_collector()
            notifier.ready(f"listening on {address}")
            log.info("listening", extra={"url": address})
            await stop.wait()
            notifier.stopping()
            log.info("stopping")
            await _farewell(parts)
            if bridging is not None:
                await bridging
            parts.acks.hurry = True
            for task in running:
                task.cancel()
        await parts.pipeline.finish()
    log.info("stopped; everything acknowledged is on disk")


async def _restored(
    config: Config, machine: Callable[[], Now], ballast: Ballast
) -> tuple[SqliteStore, Opened, Parts]:
    """The store, and all that it holds in memory again; a second try if it proves damaged."""
    database = config.gateway.data_dir / DATABASE
    for last in (False, True):
        store = SqliteStore(database, durability=config.store.durability)
        opened = await _open(store, ballast)
        parts = build(config, store=store, opened=opened, ballast=ballast, machine=machine)
        try:
            await _fold(parts, store, opened)
        except BaseException as error:
            parts.rescue.close()
            await store.close()
            if last or not isinstance(error, StoreCorrupt):
                raise
            log.error("%s: the database is set aside", error)
        else:
            break
    return store, opened, parts


async def _open(store: SqliteStore, ballast: Ballast) -> Opened:
    """Open the store; on a full disk in the room of the ballast."""
    try:
        return await store.open()
    except (StoreFull, StoreUnavailable):
        if not ballast.free():
            raise
    return await store.open()


def build(
    config: Config,
    *,
    store: SqliteStore,
    opened: Opened,
    ballast: Ballast,
    machine: Callable[[], Now] = machine_clock,
) -> Parts:
    """Put all parts together; nothing runs yet."""
    keeper = _keeper(opened)

    def clock() -> Now:
        return keeper.now(machine())

    def may_expire() -> bool:
        return keeper.may_expire

    def own_alert(name: str, state: str) -> None:
        """Tell of a state of the gateway itself."""
        told = partial(alerts.change, book=standing.book, gateway=config.gateway.id)
        pipeline.change(partial(told, name=name, state=state))

    registry, measures, links, presence = restore.registry(opened), Measures(), Links(), Presence()
    lengths = [parse_window(text) for text in config.summaries.windows]
    windows = _windows(config, opened, lengths)
    hub = _hub(config, store, opened, registry, clock=clock)
    upstream = _upstream(config)
    pipeline = Pipeline(
        store=store,
        registry=registry,
        windows=windows,
        audience=Shown(hub),
        clock=clock,
        rules=_rules(config, upstream, lambda: bridge),
        interval_s=config.store.commit_interval_ms / 1000,
        measures=measures,
    )
    upkeep = Upkeep(
        store=store,
        database=config.gateway.data_dir / DATABASE,
        replay_ms=config.mqtt.replay_hours * 3_600_000,
        clock=clock,
        may_expire=may_expire,
        full=lambda: disk.room is Room.FULL,
        before=opened.meta.get("clock", "ok"),
        clock_told=partial(own_alert, "clock"),
    )
    disk = Disk(
        config.gateway.data_dir,
        ballast=ballast,
        size=upkeep.size,
        written=written_bytes,
        before=Room[opened.meta.get("disk", Room.PLENTY.word).upper()],
        changed=partial(_room_changed, links, partial(own_alert, "disk")),
    )
    store_id = bytes.fromhex(opened.meta["store_id"])
    orders = Orders(registry, store_id=store_id, send=links.send, room=links.room)
    orders.restore(restore.orders(registry, opened.commands))
    revisions = Revisions(
        disk=store,
        pipeline=pipeline,
        windows=lengths,
        lateness=config.summaries.lateness,
        clock=clock,
        measures=measures,
    )
    revisions.add(opened.dues)
    placing = Placing(disk=store, pipeline=pipeline)
    rescue = Rescue(store, salvaging=bool(opened.meta.get("salvage")))
    reception = Reception(
        pipeline=pipeline,
        links=links,
        claims=Claims(registry, presence, orders, may_expire=may_expire),
        presence=presence,
        orders=orders,
        placing=placing,
        clock=clock,
        terms=Terms(store_id, config.devices.max_message, config.store.commit_interval_ms),
        window=config.devices.window,
        room=lambda: disk.room,
        open_door=config.devices.auth == "open",
    )
    requests = Requests(store=store, pipeline=pipeline, orders=orders, clock=clock)
    acks = Acks(pipeline.post)

    def replay(group: Group, since: int) -> None:
        acks.reopen(group, since)
        if bridge is not None:
            group.after.append(bridge.reopened)

    bridge = _bridge(
        config,
        upstream,
        opened,
        store=store,
        pipeline=pipeline,
        requests=requests,
        acks=acks,
        replay=replay,
        alert=partial(own_alert, "outbox"),
        clock=clock,
    )
    standing = Alerts(
        alert_rules(config.alerts),
        registry=registry,
        rows=opened.alerts,
        gateway=config.gateway.id,
        figures=lambda: Figures(disk.used_share, upkeep.outbox_age),
        well=alerts.well(opened.meta),
        now=clock(),
    )
    facade = Facade(
        store=store,
        pipeline=pipeline,
        orders=orders,
        book=standing.book,
        hub=hub,
        window=reception.window,
        disk=disk,
        broker=None if bridge is None else bridge.stats,
    )
    aftercare = Aftercare(
        rescue=rescue,
        pipeline=pipeline,
        revisions=revisions,
        windows=lengths,
        gateway=config.gateway.id,
    )
    authority = Authority(
        _accounts(config, opened, now=clock()),
        pipeline=pipeline,
        clock=clock,
        cookie=f"gateway-{opened.meta['store_id'][:8]}",
        trust_loopback=config.access.trust_loopback,
        changed=hub.recheck,
        stored=aftercare.renew,
    )
    pipeline.attach(
        taker=Taker(orders.answered),
        due=revisions.add,
        ticks=(presence.tick, orders.tick, placing.tick, acks.tick, standing.tick),
        outgoing=(lambda: None) if bridge is None else bridge.wake,
        committed=disk.committed,
        judge=partial(_judge, pipeline, standing),
    )
    presence.restore(list(registry.devices.values()), clock())
    parts = Parts(
        clock=clock,
        registry=registry,
        windows=windows,
        hub=hub,
        pipeline=pipeline,
        presence=presence,
        links=links,
        reception=reception,
        revisions=revisions,
        rescue=rescue,
        aftercare=aftercare,
        facade=facade,
        authority=authority,
        admin=Admin(
            pipeline=pipeline,
            links=links,
            orders=orders,
            facade=facade,
            rescue=rescue,
            authority=authority,
            replay=None if bridge is None else replay,
        ),
        upkeep=upkeep,
        compactor=Compactor(
            disk=store,
            bounds=_bounds(config),
            clock=clock,
            busy=lambda: pipeline.busy,
            may_expire=may_expire,
            held=upkeep.size,
            full=lambda: disk.room is Room.FULL,
            salvaging=lambda: rescue.salvaging,
        ),
        disk=disk,
        measures=measures,
        acks=acks,
        alerts=standing,
        bridge=bridge,
    )
    _measure(parts)
    return parts


def _windows(config: Config, opened: Opened, lengths: Sequence[Window]) -> Windows:
    watermark = int(opened.meta.get("watermark_ns", 0))
    told = restore.told(opened, watermark)
    return Windows(lengths, config.summaries.lateness, watermark, told)


def _judge(pipeline: Pipeline, standing: Alerts, group: Group) -> None:
    """What readings turned is told by the next group, at once."""
    if standing.judge(group):
        pipeline.change(standing.book.flush)


def _room_changed(links: Links, tell: Callable[[str], None], room: Room) -> None:
    """Tell everyone; a device that used up its limit goes on only if it hears of the new one."""
    tell(room.word)
    if room is not Room.FULL:
        links.renew_limits()


def _accounts(config: Config, opened: Opened, *, now: Now) -> Accounts:
    accounts = Accounts(length=config.access.session)
    return accounts.restore(opened.users, opened.tokens, opened.sign_ins, now=now)


def _bounds(config: Config) -> Bounds:
    kept = config.store
    return Bounds(kept.readings_days, kept.summaries_days, kept.max_size_mb * 1_000_000)


def _keeper(opened: Opened) -> Timekeeper:
    """It goes on from the time that the last run trusted."""
    trusted = opened.meta.get("clock_ms")
    return Timekeeper(None if trusted is None else int(trusted) * NS_PER_MS)


def _hub(
    config: Config,
    store: SqliteStore,
    opened: Opened,
    registry: Registry,
    *,
    clock: Callable[[], Now],
) -> Hub:
    limits = Limits(
        clients=config.events.max_clients,
        clients_per_address=config.events.max_clients_per_address,
    )
    return Hub(
        log=store,
        live=Live(
            chain(
                alerts.kept(opened.meta, gateway=config.gateway.id, t=clock().ms),
                restore.shown(registry, opened),
            ),
            head=opened.highest["event"],
        ),
        epoch=opened.meta["log_epoch"],
        gateway=config.gateway.id,
        limits=limits,
        clock=lambda: clock().ms,
    )


def _upstream(config: Config) -> Upstream | None:
    if config.mqtt.url is None:
        return None
    return Upstream(Topics(config.mqtt.root, config.gateway.id))


def _rules(config: Config, upstream: Upstream | None, bridge: Callable[[], Bridge | None]) -> Rules:
    """The bridge is built after the pipeline that these rules are for, hence the callable."""

    def accepting() -> bool:
        found = bridge()
        return found is None or found.accepting

    def turned_away(rows: int) -> None:
        if (found := bridge()) is not None:
            found.rejected(rows)

    return Rules(
        config.devices.max_skew,
        upstream,
        config.mqtt.forward_readings,
        accepting,
        turned_away,
    )


def _bridge(
    config: Config,
    upstream: Upstream | None,
    opened: Opened,
    *,
    store: SqliteStore,
    pipeline: Pipeline,
    requests: Requests,
    acks: Acks,
    replay: Callable[[Group, int], None],
    alert: Callable[[str], None],
    clock: Callable[[], Now],
) -> Bridge | None:
    if upstream is None:
        return None
    registry = pipeline.registry

    def statuses() -> Iterator[OutboxPut]:
        for device in registry.devices.values():
            if device.since and not device.removed:
                yield upstream.status(0, device.since, status(device))

    return Bridge(
        config=config.mqtt,
        upstream=upstream,
        epoch=opened.meta["log_epoch"],
        outbox=store,
        commands=requests,
        post=acks.post,
        number=lambda: registry.number("outbox"),
        statuses=statuses,
        reopen=lambda since: pipeline.change(lambda group: replay(group, since)),
        alert=alert,
        clock=clock,
        connect=mqtt.connect,
        session=opened.meta.get(META_SESSION),
        full=opened.meta.get("outbox") == "full",
    )


def _measure(parts: Parts) -> None:
    """Name what `/metrics` reads from memory."""
    measures, devices = parts.measures, parts.registry.devices
    measures.gauge("subscribers", "Clients of the event stream", lambda: parts.hub.clients)
    authority = parts.authority
    measures.gauge("sign_ins", "Browsers that are signed in", lambda: authority.signed_in)
    measures.gauge("sign_ins_refused", "Since the start", lambda: authority.refused)
    measures.gauge("links", "Open connections of devices", lambda: len(parts.links.all))
    measures.gauge(
        "revisions_due", "Windows that wait for a revision", lambda: len(parts.revisions)
    )
    measures.gauge("series", "Known series", lambda: len(parts.registry.series))
    measures.gauge(
        "devices_online",
        "Devices that are online",
        lambda: sum(device.state == ONLINE for device in devices.values()),
    )
    measures.gauge("devices", "Known devices", lambda: len(devices))
    measures.gauge(
        "lost_readings",
        "Readings declared lost by devices",
        lambda: sum(device.lost_readings for device in devices.values()),
    )
    if (bridge := parts.bridge) is not None:
        measures.gauge(
            "mqtt_connected", "1 if the broker is connected", lambda: bridge.stats.connected
        )
        measures.gauge("mqtt_in_flight", "Messages without PUBACK", lambda: bridge.stats.in_flight)
        measures.gauge("mqtt_acknowledged", "PUBACKs since the start", lambda: bridge.stats.acked)
        measures.gauge(
            "mqtt_dropped", "Rows given up, the outbox being full", lambda: bridge.stats.dropped
        )
        measures.gauge(
            "mqtt_turned_away", "Rows not put for that reason", lambda: bridge.stats.rejected
        )
    book = parts.alerts.book
    measures.gauge("alerts_open", "Alerts that are open", lambda: book.in_force)
    measures.gauge(
        "alerts_unacknowledged",
        "Those of them that nobody acknowledged",
        lambda: book.unacknowledged,
    )
    measures.gauge("ready", "1 if /readyz says so", lambda: parts.facade.not_ready() is None)
    parts.upkeep.measure(parts.measures)
    parts.disk.measure(parts.measures)


async def _fold(parts: Parts, store: SqliteStore, opened: Opened) -> None:
    """Fold again what open windows need from the disk."""
    settled = int(opened.meta.get("settled_row", 0))
    begun = time.monotonic()
    await restore.fold(store, parts.registry, parts.windows, settled=settled, alerts=parts.alerts)
    if opened.highest["journal"] > settled:
        parts.pipeline.folded(opened.highest["journal"])
    log.info(
        "folded the stored readings",
        extra={
            "from_row": settled + 1,
            "to_row": opened.highest["journal"],
            "seconds": round(time.monotonic() - begun, 3),
            "clean": opened.clean,
        },
    )


async def _start(
    parts: Parts,
    config: Config,
    *,
    sockets: Sequence[socket.socket] | None,
    stack: AsyncExitStack,
) -> str:
    """Open the doors: HTTP with the devices' link, and the control socket. Returns the URL."""
    app = make_app(
        gateway=parts.facade,
        events=parts.hub.serve,
        metrics=parts.measures.registry,
        access=Access.of(
            config.listen.host,
            config.listen.hosts,
            origins=config.access.origins,
            doors=parts.authority,
        ),
        clock=lambda: parts.clock().ms,
    )
    app.router.add_get("/link", parts.reception.serve)
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=IDLE_S,
        shutdown_timeout=FAREWELL_S,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    tls = _tls(config)
    await listen(runner, sockets or await bind(config.listen.host, config.listen.port), tls=tls)
    control = Control(socket_path(config.gateway.data_dir), parts.admin.commands())
    await control.start()
    stack.push_async_callback(control.close)
    host, port = runner.addresses[0][:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'http' if tls is None else 'https'}://{shown}:{port}"


def _tls(config: Config) -> ssl.SSLContext | None:
    if config.listen.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.listen.tls_cert, config.listen.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError("listen.tls_cert", f"cannot be used: {error}") from None
    return context


async def _farewell(parts: Parts) -> None:
    """Tell devices and subscribers that the gateway goes, before anything is closed."""
    if parts.bridge is not None:
        parts.bridge.stop()
    parts.links.close()
    await parts.hub.close()


async def _watch(notifier: Notifier, pipeline: Pipeline) -> None:
    """Feed systemd's watchdog as long as the pipeline turns."""
    period = notifier.watchdog_interval or WATCH_S
    seen = -1
    while True:
        if pipeline.turns != seen:
            seen = pipeline.turns
            notifier.alive()
        await asyncio.sleep(period / 2 if notifier.watchdog_interval else WATCH_S)


def _spare_the_collector() -> None:
    """Let garbage be looked for less often, and not among what stays until the end.

    A full collection stops everything for as long as it takes to look at all objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _stop_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
