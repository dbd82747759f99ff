"""The bookkeeping of a spool against a list of numbers."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.queue import Loss, Queue

OPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 9)),
        st.tuples(st.just("drop"), st.just(0)),
        st.tuples(st.just("skip"), st.integers(1, 5)),
        st.tuples(st.just("free"), st.integers(0, 8)),
        st.tuples(st.just("renumber"), st.just(0)),
    ),
    max_size=60,
)


@dataclass
class Model:
    """Each number from lo on: the body that it holds, or None if it is lost."""

    lo: int = 1
    bodies: list[str | None] = field(default_factory=list)

    def apply(self, op: str, n: int) -> None:
        if op == "push":
            self.bodies.append(f"body {n}")
        elif op == "skip":
            self.bodies += [None] * n
        elif op == "drop":
            kept = [i for i, body in enumerate(self.bodies) if body]
            if kept:
                self.bodies[kept[0]] = None
        elif op == "free":
            n = min(n, len(self.bodies))
            self.bodies, self.lo = self.bodies[n:], self.lo + n
        else:
            self.bodies, self.lo = [body for body in self.bodies if body], 1


def apply(queue: Queue[str], op: str, n: int) -> Queue[str]:
    match op:
        case "push":
            queue.push(f"body {n}", readings=n, sid=n % 3)
        case "skip":
            queue.skip(queue.hi + n, loss=Loss.RESTART)
        case "drop":
            queue.drop(Loss.OVERFLOW)
        case "free":
            queue.free(min(queue.lo - 1 + n, queue.hi))
        case _:
            return queue.renumbered()
    return queue


@settings(max_examples=200, deadline=None)
@given(OPS)
def test_the_slots_tile_the_numbers_as_a_simple_model_says(ops: list[tuple[str, int]]) -> None:
    queue: Queue[str] = Queue()
    model = Model()
    for op, n in ops:
        queue = apply(queue, op, n)
        model.apply(op, n)
        spread: list[str | None] = []
        for slot in queue.slots:
            assert slot.seq == queue.lo + len(spread)
            assert slot.last == slot.seq or slot.body is None
            spread += [slot.body] * (slot.last - slot.seq + 1)
        assert (queue.lo, spread) == (model.lo, model.bodies)
        assert queue.hi == model.lo + len(model.bodies) - 1
        assert queue.kept == sum(body is not None for body in model.bodies)
        assert sum(queue.sids.values()) == queue.kept


@settings(max_examples=100, deadline=None)
@given(OPS, st.integers(0, 70))
def test_after_finds_what_occupies_the_next_number(ops: list[tuple[str, int]], seq: int) -> None:
    queue: Queue[str] = Queue()
    for op, n in ops:
        queue = apply(queue, op, n)
    found = queue.after(seq)
    if seq >= queue.hi or not queue.slots:
        assert found is None
    else:
        assert found is not None
        assert found.seq == max(seq + 1, queue.lo)


def test_dropped_messages_that_touch_become_one_loss_with_all_their_readings() -> None:
    queue: Queue[str] = Queue()
    for readings in (3, 4, 5):
        queue.push("x", readings=readings)
    queue.drop(Loss.OVERFLOW)
    queue.drop(Loss.OVERFLOW)
    first = queue.slots[0]
    assert (first.seq, first.last, first.readings, first.body) == (1, 2, 7, None)
    assert len(queue.slots) == 2


def test_a_loss_of_which_a_part_is_committed_keeps_its_share() -> None:
    queue: Queue[str] = Queue()
    for _ in range(4):
        queue.push("x", readings=10)
    for _ in range(4):
        queue.drop(Loss.OVERFLOW)
    queue.free(3)
    assert (queue.slots[0].seq, queue.slots[0].last, queue.slots[0].readings) == (4, 4, 10)


def test_an_unknown_number_of_lost_readings_stays_unknown() -> None:
    queue: Queue[str] = Queue()
    queue.skip(10, loss=Loss.RESTART)
    queue.skip(12, loss=Loss.OVERFLOW)
    assert [(s.seq, s.last, s.readings, s.loss) for s in queue.slots] == [
        (1, 12, None, Loss.RESTART)
    ]
