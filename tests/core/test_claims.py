"""What a HELLO changes, settled in groups that are never committed: no disk, no clock."""

import pytest

from gateway.core import facts as f
from gateway.core.claims import STREAM_KEPT_MS, Claim, Claims, sample
from gateway.core.clock import Now
from gateway.core.downlink import MOST_WAITING
from gateway.core.group import Group, Rules
from gateway.core.layouts import read_schema
from gateway.core.messages import Hello, Schema
from gateway.core.orders import Orders, Request
from gateway.core.presence import ONLINE, Presence
from gateway.core.registry import STREAMS_KEPT, Registry
from gateway.core.session import GAP, NEW, REFUSED, RESUMED
from gateway.core.windows import Windows, parse_window
from gateway.errors import WireError

STORE = b"12345678"
START_MS = 1_732_380_000_000
TABLES = ("device", "stream", "event", "outbox", "command", "loss", "schema")


class Site:
    """Everything that a claim touches, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.registry.begin_numbers(dict.fromkeys(TABLES, 0))
        self.windows = Windows([parse_window("10s")], 0, 0)
        self.orders = Orders(
            self.registry, store_id=STORE, send=lambda *_: None, room=lambda _: None
        )
        self.claims = Claims(self.registry, Presence(), self.orders)
        self.ms = START_MS

    def group(self) -> Group:
        now = Now(self.ms * 10**6, self.ms * 10**6)
        return Group(self.registry, self.windows, now=now, rules=Rules(0))

    def settle(self, epoch: int, lo: int = 1, hi: int = 0, **more: object) -> tuple[Claim, Group]:
        group = self.group()
        hello = Hello(version=[1, 0], device="d", epoch=bytes([epoch] * 8), lo=lo, hi=hi, **more)
        claim = self.claims.settle(group, hello)
        for stream, committed in group.moved.items():
            if stream in self.registry.streams:
                self.registry.streams[stream].committed = committed
        return claim, group


def of(group: Group, kind: type) -> list[f.Fact]:
    return [fact for fact in group.facts if isinstance(fact, kind)]


def test_a_new_device_comes_online_with_a_stream() -> None:
    claim, group = Site().settle(1, 5, 9)
    assert (claim.verdict.state, claim.verdict.committed) == (NEW, 4)
    assert [type(fact) for fact in group.facts] == [
        f.DeviceAdded, f.StreamOpened, f.DevicePresence, f.EventLogged
    ]  # fmt: skip
    assert claim.device.state == ONLINE


def test_a_known_epoch_resumes_and_opens_nothing() -> None:
    site = Site()
    first, _ = site.settle(1, 5, 9)
    again, group = site.settle(1, 5, 9)
    assert again.stream is first.stream
    assert again.verdict.state == RESUMED
    assert not of(group, f.StreamOpened)


def test_what_an_earlier_connection_sent_in_this_group_counts() -> None:
    site = Site()
    claim, _ = site.settle(1)
    assert claim.stream is not None
    group = site.group()
    group.moved[claim.stream.id] = 3
    hello = Hello(version=[1, 0], device="d", epoch=bytes([1] * 8), lo=1, hi=5)
    assert site.claims.settle(group, hello).verdict.committed == 3


def test_a_gap_is_stored_and_moves_the_stream() -> None:
    site = Site()
    site.settle(1)
    claim, group = site.settle(1, 7, 9)
    assert (claim.verdict.state, claim.verdict.committed) == (GAP, 6)
    (loss,) = of(group, f.Loss)
    assert isinstance(loss, f.Loss)
    assert (loss.first, loss.last, loss.readings) == (1, 6, None)


def test_a_lost_counter_changes_nothing() -> None:
    site = Site()
    site.settle(1, 9, 9)
    claim, group = site.settle(1, 1, 2)
    assert (claim.verdict.state, claim.stream) == (REFUSED, None)
    assert not group.facts


def test_eight_epochs_are_kept() -> None:
    site = Site()
    for epoch in range(STREAMS_KEPT + 3):
        claim, _ = site.settle(epoch)
        site.ms += 1
    assert len(claim.device.streams) == STREAMS_KEPT
    assert bytes([2] * 8) not in claim.device.streams


def test_a_new_stream_is_kept_though_the_clock_was_set_back() -> None:
    site = Site()
    for epoch in range(STREAMS_KEPT):
        site.settle(epoch)
    site.ms -= 50 * 365 * 86_400_000
    claim, _ = site.settle(99)
    assert claim.stream is not None
    assert claim.stream.id in site.registry.streams
    assert site.settle(99)[0].verdict.state == RESUMED


def test_an_epoch_expires() -> None:
    site = Site()
    site.settle(1, 4, 3)
    site.ms += STREAM_KEPT_MS + 1
    claim, group = site.settle(1, 4, 3)
    assert claim.verdict.state == NEW
    assert len(of(group, f.StreamForgotten)) == 1


def test_schemas_that_are_lacking_are_wanted_and_none_may_change() -> None:
    site = Site()
    claim, _ = site.settle(1, schemas={3: b"aaaa", 2: b"bbbb"})
    assert claim.wanted == [2, 3]
    assert claim.stream is not None
    schema = Schema(sid=3, fields=[{0: "m", 2: 86}], fingerprint=b"aaaa")
    claim.stream.layouts[3] = read_schema(schema)
    assert site.settle(1, schemas={3: b"aaaa", 2: b"bbbb"})[0].wanted == [2]
    with pytest.raises(WireError):
        site.settle(1, schemas={3: b"zzzz"})


def configured(site: Site) -> None:
    site.settle(1)
    args = {"version": 1, "document": {"a": 1}}
    site.orders.put(site.group(), Request("d", None, args))
    downlink = site.registry.devices["d"].downlink
    downlink.number(next(downlink.due()))
    downlink.handle(1)


def test_a_configuration_that_is_not_applied_is_queued_once_more() -> None:
    site = Site()
    configured(site)
    assert len(of(site.settle(1)[1], f.CommandPut)) == 1
    assert not of(site.settle(1)[1], f.CommandPut)
    assert not of(site.settle(1, config_version=1)[1], f.CommandPut)


def test_a_full_queue_does_not_keep_a_device_out() -> None:
    site = Site()
    configured(site)
    for n in range(MOST_WAITING):
        site.orders.put(site.group(), Request("d", f"op-{n}"))
    claim, group = site.settle(1)
    assert claim.verdict.state == RESUMED
    assert not of(group, f.CommandPut)


def test_a_clock_is_stored_and_says_whether_readings_wait_for_it() -> None:
    site = Site()
    claim, group = site.settle(1)
    assert claim.stream is not None
    claim.stream.boot = b"bootboot"
    assert not sample(group, claim.stream, 5, at=group.now)
    (seen,) = of(group, f.BootSeen)
    assert isinstance(seen, f.BootSeen)
    assert seen.offset_ns == group.now.unix - 5_000_000
    claim.device.unplaced.add(b"bootboot")
    assert sample(site.group(), claim.stream, 6, at=group.now)
