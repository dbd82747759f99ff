"""Rows of the JSON API and of CSV."""

import csv
import io
from collections.abc import Sequence
from typing import Any, Protocol

from gateway.core.facts import Loss, Rejection


class _Device(Protocol):
    @property
    def losses(self) -> Sequence[Loss]: ...


_PLAIN = (
    *("id", "state", "since", "until", "last_seen", "epoch", "committed", "window"),
    *("lost_readings", "rejected", "clock_error_ms", "schemas", "config_version"),
)


def device_row(device: _Device) -> dict[str, Any]:
    """A device (`api.DeviceInfo`) as JSON shows it."""
    row = {key: getattr(device, key) for key in _PLAIN}
    return row | {"losses": [loss_row(loss) for loss in device.losses]}


def loss_row(loss: Loss) -> dict[str, Any]:
    """A declared loss: sequence numbers `from` to `to`, within the stream `epoch`."""
    return {
        "from": loss.first,
        "to": loss.last,
        "reason": loss.reason,
        "readings": loss.readings,
        "t": loss.t,
        "epoch": loss.epoch,
    }


def rejection_row(rejection: Rejection) -> dict[str, Any]:
    """A rejected message; `body` is its bytes in hexadecimal."""
    return {
        "epoch": rejection.epoch,
        "seq": rejection.seq,
        "code": rejection.code,
        "reason": rejection.reason,
        "t": rejection.t,
        "body": rejection.body.hex(),
    }


def history_csv(points: Sequence[Sequence[Any]], *, step: int | None) -> str:
    """Points of `core.history` with a line of names; t in Unix ms."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\r\n")
    lines.writerow(("t", "value") if step is None else ("t", "min", "mean", "max", "n"))
    lines.writerows(points)
    return out.getvalue()
