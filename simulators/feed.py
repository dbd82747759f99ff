"""Lets a made-up device measure in step with the time, connected or not."""

import asyncio

from simulators.clocks import true_now
from simulators.device import Device
from simulators.kinds.base import Kind

AT_ONCE = 8
BREATHER_S = 0.005


class Feed:
    """Puts what `kind` measures into the device's spool as soon as it is complete."""

    def __init__(self, kind: Kind, device: Device) -> None:
        self.kind = kind
        self.device = device
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._tick()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        """Take what is due; a long backlog is taken in pieces."""
        for _ in range(AT_ONCE):
            if self.kind.due > true_now():
                break
            for draft in self.kind.take(self.device.clock):
                self.device.offer(draft)
            if self.kind.restarts():
                self.device.crash()
        wait = max(BREATHER_S, (self.kind.due - true_now()) / 1e9)
        self._timer = asyncio.get_running_loop().call_later(wait, self._tick)
