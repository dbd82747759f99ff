"""What a HELLO changes: the stream it resumes, the loss it reveals, who is present."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.core import facts as f
from gateway.core.clock import BootClock, Now
from gateway.core.group import Group
from gateway.core.messages import Hello
from gateway.core.orders import Orders, Request
from gateway.core.presence import Presence
from gateway.core.registry import Device, Registry, Stream
from gateway.core.resume import Verdict, resume
from gateway.core.session import NEW, REFUSED
from gateway.errors import WireError

STREAM_KEPT_MS = 30 * 86_400_000
UNDECLARED = 0
"""The reason of a loss that was found at HELLO, not declared by a GAP."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A stream claimed by a connection: what WELCOME says of it."""

    device: Device
    stream: Stream | None
    verdict: Verdict
    wanted: list[int]


class Claims:
    """Settles HELLOs, each inside the group in whose order it came."""

    def __init__(
        self,
        registry: Registry,
        presence: Presence,
        orders: Orders,
        *,
        may_expire: Callable[[], bool] = lambda: True,
    ) -> None:
        self._registry = registry
        self._presence = presence
        self._orders = orders
        self._may_expire = may_expire

    def settle(self, group: Group, hello: Hello) -> Claim:
        """Everything that the device's earlier connection sent stands in this group or before.

        Raises WireError if a schema's fingerprint changed within the epoch.
        """
        device = group.device(hello.device)
        stream = self._stream(group, device, hello.epoch)
        committed = None if stream is None else group.moved.get(stream.id, stream.committed)
        verdict = resume(committed, lo=hello.lo, hi=hello.hi)
        if verdict.state == REFUSED:
            return Claim(device, None, verdict, [])
        if stream is None:
            stream = self._open(group, device, hello, verdict)
        wanted = _wanted(stream, hello)
        if verdict.lost is not None:
            group.lose(stream, verdict.lost, reason=UNDECLARED, readings=None)
            group.moved[stream.id] = verdict.committed
        self._attach(group, stream, hello)
        return Claim(device, stream, verdict, wanted)

    def _stream(self, group: Group, device: Device, epoch: bytes) -> Stream | None:
        stream = device.streams.get(epoch)
        if stream is None or not self._may_expire():
            return stream
        if group.now.ms - stream.touched > STREAM_KEPT_MS:
            self._forget(group, stream)
            return None
        return stream

    def _open(self, group: Group, device: Device, hello: Hello, verdict: Verdict) -> Stream:
        assert verdict.state == NEW
        number = self._registry.number("stream")
        stream = Stream(number, device, hello.epoch, verdict.committed, group.now.ms)
        self._registry.add_stream(stream)
        group.add(
            f.StreamOpened(number, device.id, hello.epoch.hex(), verdict.committed, group.now.ms)
        )
        for old in self._registry.surplus_streams(stream):
            self._forget(group, old)
        return stream

    def _forget(self, group: Group, stream: Stream) -> None:
        self._registry.forget_stream(stream)
        group.add(f.StreamForgotten(stream.id))

    def _attach(self, group: Group, stream: Stream, hello: Hello) -> None:
        device = stream.device
        device.stream = stream
        stream.touched = group.now.ms
        stream.boot = hello.boot or hello.epoch
        device.applied_version = hello.config_version
        self._presence.arrived(group, device)
        self._orders.position(group, device, hello.position)
        self._renew_config(group, device)

    def _renew_config(self, group: Group, device: Device) -> None:
        """Queue the configuration again if the device runs another version.

        A queue that is full has to drain first: the next HELLO asks again.
        """
        downlink, version = device.downlink, device.config_version
        if version in (None, device.applied_version) or downlink.configures(version):
            return
        if downlink.full:
            return
        args = {"version": device.config_version, "document": device.config}
        self._orders.put(group, Request(device.name, None, args))


def sample(group: Group, stream: Stream, device_ms: int, *, at: Now) -> bool:
    """Learn that the device's clock said `device_ms` in what was received at `at`.

    True if readings wait for this boot's time, and it is known now.
    """
    device, boot = stream.device, stream.boot
    clock = device.boots.setdefault(boot, BootClock())
    clock.sample(at, device_ms)
    device.clock_error_ns = error = clock.error()
    if not group.now.sure:
        return False
    offset = clock.offset(group.now)
    if boot in device.unplaced:
        return True
    if boot not in device.placed:
        group.add(f.BootSeen(device.id, boot.hex(), offset, error, group.now.ms))
    return False


def _wanted(stream: Stream, hello: Hello) -> list[int]:
    """Schemas that the device still has data of, and we lack."""
    queued = hello.schemas or {}
    for sid, fingerprint in queued.items():
        layout = stream.layouts.get(sid)
        if layout is not None and layout.fingerprint != fingerprint:
            raise WireError(f"the fingerprint of schema {sid} changed within the epoch")
    return sorted(sid for sid in queued if sid not in stream.layouts)
