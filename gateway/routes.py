"""The answers to `/api/...`."""

import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from aiohttp import web

from gateway.access import error
from gateway.api import DeviceInfo, Gateway, UnknownDevice
from gateway.core.acknowledging import parse_acknowledgement
from gateway.core.filters import BadQuery, Filter, check_window, choice, moment, name, read_query
from gateway.core.history import MAX_POINTS, History
from gateway.core.live import Newest
from gateway.core.order import parse_order
from gateway.core.readings import INT64_MAX, NS_PER_MS
from gateway.core.summary import dump
from gateway.core.tables import device_row, history_csv, loss_row, rejection_row

HOUR_MS = 3_600_000
LOSSES = 1000
REJECTIONS = 100
MAX_NUMBER = 2**63 - 1


def unix_ms() -> int:
    return time.time_ns() // NS_PER_MS


class Api:
    """Answers to `/api/...`, as methods that take a request."""

    def __init__(self, gateway: Gateway, *, clock: Callable[[], int] = unix_ms) -> None:
        self._gateway = gateway
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        device = "/api/devices/{id}"
        return [
            web.get("/api/latest", self.latest),
            web.get("/api/history", self.history),
            web.get("/api/summaries", self.summaries),
            web.get("/api/devices", self.devices),
            web.get(device, self.device),
            web.get(f"{device}/losses", self.losses),
            web.get(f"{device}/rejected", self.rejected),
            web.post(f"{device}/commands", self.put_command),
            web.get("/api/commands/{n}", self.command),
            web.get("/api/alerts", self.alerts),
            web.post("/api/alerts/{n}/ack", self.acknowledge),
        ]

    async def latest(self, request: web.Request) -> web.Response:
        _query(request)
        rows = ",".join(self._latest_row(newest) for newest in self._gateway.newest())
        return _json(f'{{"v":1,"now":{self._clock()},"series":[{rows}]}}')

    def _latest_row(self, newest: Newest) -> str:
        summary = self._gateway.live.newest_summary(newest.dev, newest.m)
        return f'{dump(newest._asdict())[:-1]},"summary":{summary or "null"}}}'

    async def history(self, request: web.Request) -> web.Response:
        found = _query(request, "device", "metric", "from", "to", "step", "format")
        device, metric = _required(found, "device"), _required(found, "metric")
        since, until = self._span(found)
        as_csv = choice(found, "format", ("json", "csv")) == "csv"
        history = History(since, until, _whole(found, "step", least=1))
        async for piece in self._gateway.readings(
            device=device,
            metric=metric,
            since_ns=min(since * NS_PER_MS, INT64_MAX),
            until_ns=min(until * NS_PER_MS, INT64_MAX),
        ):
            history.add(piece.t, piece.v)
        points = history.points()
        if as_csv:
            return _answer(history_csv(points, step=history.step), "text/csv")
        body = {"v": 1, "dev": device, "m": metric, "u": self._gateway.unit(device, metric)}
        gaps = await self._gaps(device, since, until, points=points)
        return _json(dump(body | {"step": history.step, "points": points, "gaps": gaps}))

    def _span(self, found: Mapping[str, Sequence[str]]) -> tuple[int, int]:
        end, begin = moment(found, "to"), moment(found, "from")
        until = self._clock() + 1 if end is None else -int(-end // 1)
        since = until - HOUR_MS if begin is None else int(begin)
        if since >= until:
            raise BadQuery(
                "to" if end is not None else "from", "leaves no time between from and to"
            )
        return max(0, since), until

    async def _gaps(
        self, device: str, since: int, until: int, *, points: Sequence[Sequence[Any]]
    ) -> list[list[Any]]:
        """Losses recorded within the times: from the point before each to when it was recorded."""
        if self._gateway.device(device) is None:
            return []
        losses = await self._gateway.losses(device, before=None, limit=LOSSES)
        times = [point[0] for point in points]
        gaps = []
        for loss in reversed(losses):
            if since <= loss.t < until:
                at = bisect_right(times, loss.t)
                gaps.append([times[at - 1] if at else since, loss.t, loss.reason])
        return gaps

    async def summaries(self, request: web.Request) -> web.Response:
        found = _query(request, "device", "metric", "window", "from", "to", "cursor")
        window = found.get("window")
        since, until = moment(found, "from"), moment(found, "to")
        try:
            rows, cursor = await self._gateway.summaries(
                device=_optional(found, "device"),
                metric=_optional(found, "metric"),
                window=None if window is None else check_window(window[0]),
                since_ms=None if since is None else -int(-since // 1),
                until_ms=None if until is None else -int(-until // 1),
                cursor=found.get("cursor", [None])[0],
                limit=MAX_POINTS,
            )
        except ValueError:
            raise BadQuery("cursor", "is none that an earlier answer gave") from None
        return _json(dump({"v": 1, "summaries": list(rows), "next": cursor}))

    async def devices(self, request: web.Request) -> web.Response:
        _query(request)
        rows = [device_row(device) for device in self._gateway.devices()]
        store, broker = self._gateway.store(), self._gateway.broker()
        body = {"v": 1, "devices": rows, "store": asdict(store)}
        return _json(dump(body | {"broker": None if broker is None else asdict(broker)}))

    async def device(self, request: web.Request) -> web.Response:
        _query(request)
        return _json(dump({"v": 1, **device_row(self._known(request))}))

    async def losses(self, request: web.Request) -> web.Response:
        found = _query(request, "cursor")
        device, before = self._known(request), _whole(found, "cursor", least=0)
        rows = await self._gateway.losses(device.id, before=before, limit=LOSSES)
        after = rows[-1].id if len(rows) == LOSSES else None
        return _json(dump({"v": 1, "losses": [loss_row(row) for row in rows], "next": after}))

    async def rejected(self, request: web.Request) -> web.Response:
        found = _query(request, "cursor")
        device, before = self._known(request), _whole(found, "cursor", least=0)
        rows = await self._gateway.rejections(device.id, before=before, limit=REJECTIONS)
        after = rows[-1].id if len(rows) == REJECTIONS else None
        shown = [rejection_row(row) for row in rows]
        return _json(dump({"v": 1, "rejected": shown, "next": after}))

    def _known(self, request: web.Request) -> DeviceInfo:
        device = self._gateway.device(request.match_info["id"])
        if device is None:
            raise UnknownDevice(request.match_info["id"])
        return device

    async def put_command(self, request: web.Request) -> web.Response:
        _query(request)
        device = self._known(request)
        n = await self._gateway.put_command(device.id, parse_order(await request.read()))
        return _answer(dump({"n": n}), "application/json", status=202)

    async def alerts(self, request: web.Request) -> web.Response:
        found = read_query(
            request.raw_path.partition("?")[2],
            known=("device", "metric"),
            repeated=("device", "metric"),
        )
        devices, metrics = frozenset(name(found, "device")), frozenset(name(found, "metric"))
        where = Filter(devices, metrics, kinds=frozenset({"alert"}))
        rows = ",".join(self._gateway.live.snapshot(where).alerts)
        return _json(f'{{"v":1,"now":{self._clock()},"alerts":[{rows}]}}')

    async def acknowledge(self, request: web.Request) -> web.Response:
        _query(request)
        asked = parse_acknowledgement(await request.read())
        told = await self._gateway.acknowledge(_number(request), by=asked.by, note=asked.note)
        return _json(dump(dict(told)))

    async def command(self, request: web.Request) -> web.Response:
        _query(request)
        n = _number(request)
        order = await self._gateway.command(n) if 0 < n <= MAX_NUMBER else None
        if order is None:
            return error(404, "unknown_command", "there is no command of this number", "n")
        keys = ("n", "dev", "op", "args", "state", "result", "created", "updated")
        return _json(dump({key: getattr(order, key) for key in keys}))


def _number(request: web.Request) -> int:
    """The number in the path; 0, which nothing has, if it is none."""
    text = request.match_info["n"]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _query(request: web.Request, *known: str) -> dict[str, list[str]]:
    return read_query(request.raw_path.partition("?")[2], known=known)


def _required(found: Mapping[str, Sequence[str]], parameter: str) -> str:
    value = _optional(found, parameter)
    if value is None:
        raise BadQuery(parameter, "is missing")
    return value


def _optional(found: Mapping[str, Sequence[str]], parameter: str) -> str | None:
    values = name(found, parameter)
    return values[0] if values else None


def _whole(found: Mapping[str, Sequence[str]], parameter: str, *, least: int) -> int | None:
    text = found.get(parameter, [None])[0]
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) >= least):
        raise BadQuery(parameter, f"must be a whole number from {least}")
    return int(text)


def _json(text: str) -> web.Response:
    return _answer(text, "application/json")


def _answer(text: str, content_type: str, *, status: int = 200) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.Response(status=status, text=text, content_type=content_type, headers=headers)
