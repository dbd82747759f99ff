"""This very machine as a device. Nothing here is made up: every value is what psutil says."""

import re
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from gateway.core.messages import Data, Event, Schema
from simulators.body import OK, UNNUMBERED, UNSUPPORTED, Draft, Outcome
from simulators.kinds.base import FLOAT64, column, field, schema

Gauge = tuple[str, str, Callable[[], float]]
NO_SENSORS = "this machine shows no thermal sensors"


def host_id() -> str:
    """`host-` and the hostname, as far as a device id may hold it."""
    return "host-" + re.sub(r"[^A-Za-z0-9._:-]", "-", socket.gethostname())[:59]


def default_state() -> Path:
    """Where the spool of this machine lies."""
    return Path.home() / ".local" / "state" / "sensor-gateway"


def temperatures() -> dict[str, float]:
    """Metric to degrees Celsius of every thermal sensor that can be read."""
    read = getattr(psutil, "sensors_temperatures", dict)
    found: dict[str, float] = {}
    for chip, sensors in read().items():
        for index, sensor in enumerate(sensors):
            label = sensor.label or str(index)
            name = re.sub(r"[^A-Za-z0-9]+", "_", f"{chip}_{label}").strip("_").lower()
            found[f"temperature_{name}"[:64]] = float(sensor.current)
    return found


class Rate:
    """Per second growth of a counter, from one asking to the next."""

    def __init__(self, read: Callable[[], float], clock: Callable[[], float]) -> None:
        self._read = read
        self._clock = clock
        self._before = (clock(), read())

    def __call__(self) -> float:
        (t0, v0), (t1, v1) = self._before, (self._clock(), self._read())
        self._before = (t1, v1)
        return max(0.0, v1 - v0) / (t1 - t0) if t1 > t0 else 0.0


def _disk(key: str) -> Callable[[], float]:
    return lambda: float(getattr(psutil.disk_io_counters(), key, 0))


def _net(key: str) -> Callable[[], float]:
    return lambda: float(getattr(psutil.net_io_counters(), key, 0))


def gauges(clock: Callable[[], float] = time.monotonic) -> list[Gauge]:
    """All that can be read besides temperatures: metric, SenML unit, how to read it."""
    psutil.cpu_percent()
    return [
        ("cpu", "%", psutil.cpu_percent),
        ("load_1m", "1", lambda: psutil.getloadavg()[0]),
        ("load_5m", "1", lambda: psutil.getloadavg()[1]),
        ("load_15m", "1", lambda: psutil.getloadavg()[2]),
        ("memory_used", "B", lambda: float(psutil.virtual_memory().used)),
        ("memory_available", "B", lambda: float(psutil.virtual_memory().available)),
        ("swap_used", "B", lambda: float(psutil.swap_memory().used)),
        ("disk_used", "B", lambda: float(psutil.disk_usage("/").used)),
        ("disk_free", "B", lambda: float(psutil.disk_usage("/").free)),
        ("disk_read", "B/s", Rate(_disk("read_bytes"), clock)),
        ("disk_write", "B/s", Rate(_disk("write_bytes"), clock)),
        ("net_received", "B/s", Rate(_net("bytes_recv"), clock)),
        ("net_sent", "B/s", Rate(_net("bytes_sent"), clock)),
        ("uptime", "s", lambda: time.time() - psutil.boot_time()),
    ]


class Host:
    """The machine's gauges and thermal sensors as one schema."""

    nap_s: float | None = None

    def __init__(self) -> None:
        self._gauges = gauges()
        self.sensors = sorted(temperatures())[:40]
        self.fields = [
            *(field(name, unit, kind=FLOAT64) for name, unit, _ in self._gauges),
            *(field(name, "Cel", kind=FLOAT64) for name in self.sensors),
        ]
        made = schema(1, *self.fields)
        # The sensors may be others after the next start: the sid follows what it means.
        sid = 1 + int.from_bytes(made.fingerprint) % 65_535
        self._sid = sid
        self.schemas: Mapping[int, Schema] = {sid: schema(sid, *self.fields)}

    def measure(self) -> Draft:
        """Read everything once. A sensor that cannot be read is missing."""
        t = time.time_ns() // 1_000_000
        values = [read() for _, _, read in self._gauges]
        seen = temperatures() if self.sensors else {}
        values += [seen.get(name, float("nan")) for name in self.sensors]
        columns = [column([v], f) for v, f in zip(values, self.fields, strict=True)]
        message = Data(
            seq=UNNUMBERED, sid=self._sid, t0=t, step=None, columns=columns, valid=None, clock=0
        )
        return Draft(message, sum(v == v for v in values))  # noqa: PLR0124

    def started(self) -> Draft:
        """An event for the log."""
        detail = {"boot_time": int(psutil.boot_time()), "cpus": psutil.cpu_count() or 1}
        return Draft(Event(seq=UNNUMBERED, name="started", detail=detail))

    def act(self, op: int | str, args: Any) -> Outcome:  # noqa: ARG002
        """A machine is not rebooted from afar; it can only say who it is."""
        if op == "identify":
            return Outcome(OK, {"hostname": socket.gethostname()})
        return Outcome(UNSUPPORTED)

    def configure(self, document: Any) -> None:
        """Nothing can be set."""
