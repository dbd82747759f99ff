"""What people see while devices run, and at the end."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from simulators.device import Device
from simulators.tally import Tally, summary, total

PLAIN_EVERY_S = 5.0
TROUBLES_SHOWN = 3


class Progress:
    """Shows how the devices fare: one live line on a terminal, else a line every few seconds."""

    def __init__(
        self, devices: Sequence[Device], tally: Tally, *, quiet: bool = False,
        stream: TextIO | None = None,
    ) -> None:  # fmt: skip
        self._devices = devices
        self._tally = tally
        self._quiet = quiet
        self._console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._shown: set[str] = set()
        self._next = time.monotonic() + PLAIN_EVERY_S
        self._started = time.monotonic()

    def __enter__(self) -> "Progress":
        if not self._quiet and self._console.is_terminal:
            self._live = Live(Text(self.line()), console=self._console, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def note(self, text: str) -> None:
        """Say something once, whatever else is shown."""
        if not self._quiet:
            self._console.print(text, markup=False)

    def update(self) -> None:
        """Show where things are; call it about once a second."""
        self._show_troubles()
        if self._quiet:
            return
        if self._live is not None:
            self._live.update(Text(self.line()), refresh=True)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + PLAIN_EVERY_S
            self.note(self.line())

    def line(self) -> str:
        """One line with everything."""
        counts = total(device.counts for device in self._devices)
        connected = sum(device.connected for device in self._devices)
        queued = sum(len(device.spool) for device in self._devices)
        latency = self._tally.latency_ms()
        ack = f"{latency['p50']:.0f}/{latency['p99']:.0f} ms" if latency else "–"
        return (
            f"{time.monotonic() - self._started:6.0f} s  "
            f"{connected}/{len(self._devices)} connected  sent {counts.sent}  "
            f"acknowledged {counts.acknowledged}  queued {queued}  lost {counts.lost}  "
            f"rejected {counts.rejected}  reconnects {counts.reconnects}  ack p50/p99 {ack}"
        )

    def finish(self) -> dict[str, Any]:
        """Show the summary; it comes back as plain values."""
        self._show_troubles()
        counts = total(device.counts for device in self._devices)
        queued = sum(len(device.spool) for device in self._devices)
        whole = summary(counts, self._tally, devices=len(self._devices), queued=queued)
        if not self._quiet:
            self._console.print(_table(whole))
        return whole

    def _show_troubles(self) -> None:
        """Say each new kind of trouble once; errors are said even when quiet."""
        for device, text in list(self._tally.troubles.items()):
            reason = text.partition("; next try")[0].replace(device, "…")
            if reason in self._shown or len(self._shown) >= 100:
                continue
            self._shown.add(reason)
            self._console.print(f"{device}: {text}", markup=False)
        if not self._tally.troubles:
            self._shown.clear()


def _table(whole: dict[str, Any]) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    latency = whole["ack_ms"]
    rows = {
        "devices": whole["devices"],
        "messages sent": f"{whole['sent']} (and {whole['resent']} again)",
        "acknowledged": f"{whole['acknowledged']} ({whole['acknowledged_readings']} readings)",
        "declared lost": f"{whole['lost']} ({whole['lost_readings']} readings)",
        "still queued": whole["queued"],
        "rejected": whole["rejected"],
        "reconnects": whole["reconnects"],
        "ack latency": "p50 {p50} ms, p99 {p99} ms, max {max} ms".format(**latency)
        if latency
        else "–",
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def write_summary(path: Path, whole: dict[str, Any], devices: Sequence[Device]) -> None:
    """The summary with each device's own counts, as JSON."""
    each = {
        device.name: {
            **device.counts.as_dict(),
            "queued": len(device.spool),
            "epoch": device.spool.epoch.hex(),
        }
        for device in devices
    }
    path.write_text(json.dumps({**whole, "by_device": each}, indent=1) + "\n")
