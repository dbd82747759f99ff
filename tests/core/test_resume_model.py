"""Resume over real sessions of both ends: drops, lost ACKs, takeovers and lost counters.

The model is two sets: what the gateway committed, and what the device was told.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.messages import Ack, Event, Gap, Hello, Welcome
from gateway.core.resume import resume
from gateway.core.session import REFUSED, Duplicate, Role, Session, State

WINDOW = 4
QUEUE = 8


class Connection:
    """The two ends of one socket, and what is on its way up and down."""

    def __init__(self) -> None:
        self.device, self.gateway = Session(Role.DEVICE), Session(Role.GATEWAY)
        self.up: list[bytes] = []
        self.down: list[bytes] = []
        self.taken: list[tuple[int, int]] = []


class Life(RuleBasedStateMachine):
    """One device with a bounded queue, and a gateway that commits in its own time."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = 0
        self.lo, self.hi = 1, 0
        self.link: Connection | None = None
        self.fenced: list[Connection] = []
        self.committed: dict[int, int] = {}
        self.stored: list[tuple[int, int]] = []
        self.lost: list[tuple[int, int]] = []
        self.told: set[tuple[int, int]] = set()

    # -- the device -------------------------------------------------------------------------

    @rule()
    def measure(self) -> None:
        if self.hi - self.lo + 1 < QUEUE:
            self.hi += 1

    @rule()
    def connect(self) -> None:
        """Also while another connection is open: a takeover."""
        self._leave()
        self.link = Connection()
        self._hello()

    def _hello(self) -> None:
        assert self.link is not None
        epoch = self.epoch.to_bytes(8, "big")
        hello = Hello(version=[1, 0], device="d", epoch=epoch, lo=self.lo, hi=self.hi)
        self.link.up.append(self.link.device.send(hello))

    @precondition(lambda self: self.link is not None)
    @rule()
    def drop(self) -> None:
        self._leave()

    def _leave(self) -> None:
        """What the gateway took is still committed, before the next claim is settled."""
        if self.link is not None:
            self.fenced.append(self.link)
        self.link = None

    @rule()
    def lose_the_counter(self) -> None:
        """The device restarts with an empty queue and does not know that its epoch is used."""
        self.lo, self.hi = 1, 0
        self._leave()

    @precondition(lambda self: self._may_send())
    @rule(gap=st.integers(0, 2))
    def send(self, gap: int) -> None:
        assert self.link is not None
        seq = self.link.device.next
        last = min(seq + gap, self.hi)
        message = Gap(seq=seq, last=last, reason=1) if gap else Event(seq=seq, name="x")
        self.link.up.append(self.link.device.send(message))

    def _may_send(self) -> bool:
        link = self.link
        return (
            link is not None
            and link.device.state is State.LIVE
            and self.lo <= link.device.next <= min(self.hi, link.device.limit)
        )

    @precondition(lambda self: self.link is not None and self.link.down)
    @rule()
    def hear(self) -> None:
        assert self.link is not None
        match self.link.device.receive(self.link.down.pop(0)):
            case Welcome(state=3):
                self.epoch += 1
                self._hello()
            case Welcome(committed=committed) | Ack(committed=committed):
                self.told |= {(self.epoch, seq) for seq in range(self.lo, committed + 1)}
                self.lo = max(self.lo, committed + 1)
                self.hi = max(self.hi, committed)

    # -- the gateway ------------------------------------------------------------------------

    @precondition(lambda self: self.link is not None and self.link.up)
    @rule()
    def take(self) -> None:
        assert self.link is not None
        message = self.link.gateway.receive(self.link.up.pop(0))
        match message:
            case Hello():
                self._claim(message)
            case Event():
                self.link.taken.append((message.seq, message.seq))
            case Gap():
                self.link.taken.append((message.seq, message.last))
            case Duplicate():
                raise AssertionError("an honest device repeats nothing within a connection")

    def _claim(self, hello: Hello) -> None:
        """Drain what older connections sent, then settle."""
        assert self.link is not None
        epoch = int.from_bytes(hello.epoch, "big")
        for older in self.fenced:
            self._commit(older)
        self.fenced.clear()
        verdict = resume(self.committed.get(epoch), lo=hello.lo, hi=hello.hi)
        if verdict.state != REFUSED:
            if verdict.lost is not None:
                first, last = verdict.lost
                self.lost += [(epoch, seq) for seq in range(first, last + 1)]
            self.committed[epoch] = verdict.committed
        welcome = Welcome(
            version=[1, 0],
            store_id=bytes(8),
            state=verdict.state,
            committed=verdict.committed,
            limit=0 if verdict.state == REFUSED else verdict.committed + WINDOW,
            max_message=1024,
            unix_ms=0,
            ping_s=30,
        )
        self.link.down.append(self.link.gateway.send(welcome))

    @precondition(lambda self: self.link is not None and self.link.taken)
    @rule(acknowledged=st.booleans())
    def commit(self, acknowledged: bool) -> None:
        """Commit what was taken; the ACK goes out, or the process stops short of it."""
        assert self.link is not None
        self._commit(self.link)
        if acknowledged:
            committed = self.link.gateway.next - 1
            ack = Ack(committed=committed, limit=committed + WINDOW)
            self.link.down.append(self.link.gateway.send(ack))
        else:
            self.link = None

    def _commit(self, link: Connection) -> None:
        for first, last in link.taken:
            epoch = self._epoch_of(link)
            assert first == self.committed[epoch] + 1
            self.stored += [(epoch, seq) for seq in range(first, last + 1)]
            self.committed[epoch] = last
        link.taken.clear()

    def _epoch_of(self, link: Connection) -> int:
        """Epochs change on a connection only before its WELCOME, so the device's is the one."""
        return self.epoch if link is self.link or link in self.fenced else -1

    # -- what must hold ---------------------------------------------------------------------

    @invariant()
    def nothing_stands_twice(self) -> None:
        assert len(self.stored) == len(set(self.stored))
        assert not set(self.stored) & set(self.lost)

    @invariant()
    def whatever_was_acknowledged_is_stored_or_declared(self) -> None:
        assert self.told <= set(self.stored) | set(self.lost)

    @invariant()
    def no_limit_is_passed(self) -> None:
        if self.link is not None and self.link.gateway.state is State.LIVE:
            assert self.link.device.next <= self.link.device.limit + 1 + QUEUE


TestLife = Life.TestCase
