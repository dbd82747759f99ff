"""Who may connect, and what connections change: between the links and the pipeline."""

import logging
from collections.abc import Callable
from functools import partial

from aiohttp import web
from yarl import URL

from gateway.core.claims import Claim, Claims, sample
from gateway.core.clock import Now
from gateway.core.enrolment import token_hash
from gateway.core.facts import SchemaLearned
from gateway.core.group import Group
from gateway.core.layouts import layout_to_json, read_schema
from gateway.core.messages import Bye, Hello, Schema
from gateway.core.orders import Orders
from gateway.core.presence import ONLINE, Presence
from gateway.core.registry import Device, Registry, Stream
from gateway.core.room import Room, send_limit
from gateway.core.shapes import Burst
from gateway.core.uplink import Arrival
from gateway.errors import CloseCode, SessionError, WireError
from gateway.guard import prepare
from gateway.link import SUBPROTOCOL, Link, Terms
from gateway.links import Links
from gateway.pipeline import Pipeline
from gateway.placing import Placing
from gateway.waiting import Peer
from gateway.websocket import WebSocket

log = logging.getLogger(__name__)

BUDGET_BYTES = 64 * 1024 * 1024
MOST_SCHEMAS = 1024
WS_OVERHEAD = 65_536


class Reception:
    """Lets devices in, and carries what they say into the pipeline."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        links: Links,
        claims: Claims,
        presence: Presence,
        orders: Orders,
        placing: Placing,
        clock: Callable[[], Now],
        terms: Terms,
        window: int,
        room: Callable[[], Room],
        open_door: bool,
    ) -> None:
        self._pipeline = pipeline
        self._registry: Registry = pipeline.registry
        self._claims = claims
        self._presence = presence
        self._orders = orders
        self._placing = placing
        self._clock = clock
        self._terms = terms
        self._window = window
        self._room = room
        self._open = open_door
        self._links = links

    # -- the door ---------------------------------------------------------------------------

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /link`: authenticate, upgrade, and serve the link until it ends."""
        _refuse_foreign_origin(request)
        bearer = self._bearer(request)
        socket = _socket(request)
        try:
            guard = await prepare(socket, request, most=WS_OVERHEAD)
        except ConnectionError:  # the client went before it was answered
            return socket
        link = Link(
            WebSocket(socket, clock=self._clock),
            intake=self,
            door=self,
            terms=self._terms,
            clock=self._clock,
            bearer=bearer,
        )
        guard.follow = link.follow
        self._links.all.add(link)
        try:
            if socket.ws_protocol != SUBPROTOCOL:
                await link.part(CloseCode.VERSION, f"offer the subprotocol {SUBPROTOCOL}")
            else:
                await link.run()
        finally:
            self._links.all.discard(link)
        return socket

    def _bearer(self, request: web.Request) -> Device | None:
        """The device whose token the request carries; raises 401 for a wrong one."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if self._open or not scheme:
            return None
        device = self._registry.by_token.get(token_hash(token.strip()))
        if scheme.lower() != "bearer" or device is None:
            raise web.HTTPUnauthorized(
                text="the device token is wrong; make a new one with: gateway device rotate ID\n",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return device

    def admit(self, hello: Hello, bearer: Device | None) -> None:
        """Raise SessionError unless this HELLO may be accepted."""
        device = self._registry.devices.get(hello.device)
        if not self._open:
            holder = bearer
            if holder is None and hello.token is not None:
                holder = self._registry.by_token.get(token_hash(hello.token))
            if holder is None or holder is not device:
                raise SessionError(
                    CloseCode.UNAUTHENTICATED, f"no token of {hello.device} was given"
                )
        if device is not None and (device.disabled or device.removed):
            raise SessionError(CloseCode.DISABLED, f"{hello.device} is disabled")
        if self._pipeline.trouble is not None:
            raise SessionError(CloseCode.STORAGE, "the gateway cannot store readings now")

    # -- what links ask ---------------------------------------------------------------------

    def window(self) -> int:
        """Messages that a device may have under way: all together fit the memory budget."""
        share = BUDGET_BYTES // max(1, len(self._links.all)) // self._terms.max_message
        return max(1, min(self._window, share))

    def limit(self, committed: int, granted: int) -> int:
        """How far a device may send that has `committed` and was `granted` a limit before."""
        window = self.window()
        return send_limit(self._room(), committed=committed, granted=granted, window=window)

    async def claim(self, link: Link, hello: Hello) -> Claim:
        """Fence the device's older connection, let what it sent be committed, and settle."""
        older = self._links.current.get(hello.device)
        if older is not None and older is not link:
            older.fence()
        self._links.current[hello.device] = link
        settle = partial(self._settle, link, hello, self._clock())
        try:
            return await self._pipeline.submit(settle)
        finally:  # also if the newer connection broke or was refused: the older one is deaf
            if older is not None and older is not link:
                link.spawn(older.part(CloseCode.TAKEN_OVER, "a newer connection took over"))

    def _settle(self, link: Link, hello: Hello, at: Now, group: Group) -> Claim:
        claim = self._claims.settle(group, hello)
        if claim.stream is not None:
            if hello.mono_ms is not None:
                self._sample(group, claim.stream, hello.mono_ms, at=at)
            group.after.append(partial(self._welcomed, link, claim.device))
        return claim

    def _welcomed(self, link: Link, device: Device) -> None:
        """Once WELCOME is on its way, so is what waits for the device."""
        link.on_welcome = lambda: self._pipeline.change(
            lambda group: self._orders.resend(group, device)
        )

    def learn(self, stream: Stream, schema: Schema) -> None:
        """A schema that the stream did not have: known at once, durable with the next commit."""
        if len(stream.layouts) >= MOST_SCHEMAS:
            raise WireError(f"more than {MOST_SCHEMAS} schemas in an epoch")
        layout = read_schema(schema)
        number = self._registry.number("schema")
        stream.layouts[schema.sid] = layout
        stream.schema_ids[schema.sid] = number
        self._pipeline.post(
            SchemaLearned(
                number,
                stream.id,
                schema.sid,
                schema.fingerprint,
                schema.resolution,
                layout_to_json(layout),
            )
        )

    def take(self, peer: Peer, stream: Stream, arrival: Arrival | Burst) -> None:
        self._pipeline.take(peer, stream, arrival)

    def came(self, size: int, *, hurry: bool) -> None:
        self._pipeline.came(size, hurry=hurry)

    def sample(self, stream: Stream, device_ms: int) -> None:
        """TIMESYNC: one more sample of the boot's clock."""
        at = self._clock()
        self._pipeline.change(lambda group: self._sample(group, stream, device_ms, at=at))

    def _sample(self, group: Group, stream: Stream, device_ms: int, *, at: Now) -> None:
        if sample(group, stream, device_ms, at=at):
            self._placing.begin(stream.device, stream.boot, now=group.now)

    def handled(self, device: Device, seq: int) -> None:
        """DACK."""
        self._pipeline.change(lambda group: self._orders.handled(group, device, seq))

    def parted(self, link: Link, bye: Bye | None) -> None:
        """A connection ended; the device is gone unless a newer one took over."""
        device = self._registry.devices.get(link.name)
        if device is None or self._links.current.get(link.name) is not link:
            return
        del self._links.current[link.name]
        if bye is not None and link.stream is not None:
            self._pipeline.change(lambda group: self._presence.left(group, device, bye))
        elif device.state == ONLINE:
            self._presence.gone(device, self._clock())


def _refuse_foreign_origin(request: web.Request) -> None:
    """A page of another host must not open a link in a visitor's name."""
    origin = request.headers.get("Origin")
    if origin is None:
        return
    if URL(origin).host != URL(f"//{request.host}").host:
        raise web.HTTPForbidden(text=f"the origin {origin} is not this gateway\n")


def _socket(request: web.Request) -> web.WebSocketResponse:
    """Raises 426 for a request that is no WebSocket's."""
    socket = web.WebSocketResponse(
        protocols=(SUBPROTOCOL,),
        compress=False,
        autoping=False,
        max_msg_size=WS_OVERHEAD,
        timeout=2.0,
    )
    if not socket.can_prepare(request).ok:
        raise web.HTTPUpgradeRequired(
            text="this is the devices' WebSocket (sensorlink.v1)\n",
            headers={"Upgrade": "websocket"},
        )
    return socket
