"""What waits for one slow subscriber: bounded, in order, summaries conflated to their newest."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from gateway.core import sse
from gateway.core.facts import EventLogged
from gateway.core.lines import line
from gateway.core.live import SummaryKey, summary_key, summary_start

MAX_EVENTS = 256
MAX_BYTES = 256 * 1024
MAX_KEYS = 2000
MAX_URGENT = 64
HARD_BYTES = 8 * MAX_BYTES
"""Distinct summaries may pass MAX_BYTES, as they may pass MAX_EVENTS, but never this."""


@dataclass(slots=True, eq=False)
class Item:
    """A logged event on its way out, shared by all subscribers and rendered once per format."""

    event: EventLogged
    epoch: str
    key: SummaryKey | None = None
    start: float = 0
    _rendered: dict[bool, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, event: EventLogged, epoch: str) -> "Item":
        key = summary_key(event)
        return cls(event, epoch, key, 0 if key is None else summary_start(event))

    def render(self, *, text: bool, skipped: int = 0) -> bytes:
        """The bytes of the event; `skipped` older ones of its key gave way to it."""
        if skipped:
            return self._render(text=text, skipped=skipped)
        if text not in self._rendered:
            self._rendered[text] = self._render(text=text, skipped=0)
        return self._rendered[text]

    def _render(self, *, text: bool, skipped: int) -> bytes:
        data = self.event.payload
        if skipped:
            data = f'{data[:-1]},"skipped":{skipped}}}'
        if text:
            data = line(self.event.kind, data)
        ident = sse.format_id(self.epoch, self.event.id)
        return sse.render(self.event.kind, data, ident=ident)


class Backlog:
    """The queue of one subscriber, in the order of the log.

    At its bound (MAX_EVENTS, or the number of distinct keys queued if that is more, or MAX_BYTES)
    all queued summaries of a key collapse into its newest. What was never doubled costs nothing
    to keep, so each collapse is paid for by the pushes before it.
    """

    def __init__(self, *, head: int, text: bool = False) -> None:
        self._text = text
        self.clear(head)

    def clear(self, head: int) -> None:
        """Forget everything queued: the subscriber knows the log up to `head` by other means."""
        self.head = head
        self.missed = 0
        self._items: OrderedDict[int, Item] = OrderedDict()
        self._of_key: dict[SummaryKey, deque[int]] = {}
        self._doubled: set[SummaryKey] = set()
        self._skipped: dict[int, int] = {}
        self._urgent = 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def cursor(self) -> int:
        """The newest seq with nothing undelivered before it or at it."""
        return next(iter(self._items)) - 1 if self._items else self.head

    def push(self, item: Item) -> bool:
        """Queue an event newer than all before; False if the subscriber has to be cut."""
        seq = self.head = item.event.id
        self._items[seq] = item
        self._bytes += len(item.render(text=self._text))
        if item.key is None:
            self._urgent += 1
        else:
            seqs = self._of_key.setdefault(item.key, deque())
            seqs.append(seq)
            if len(seqs) > 1:
                self._doubled.add(item.key)
        if self._full and self._doubled:
            self._collapse()
        return not self._hopeless

    @property
    def _full(self) -> bool:
        bound = max(MAX_EVENTS, min(len(self._of_key), MAX_KEYS))
        return len(self._items) > bound or self._bytes > MAX_BYTES

    @property
    def _hopeless(self) -> bool:
        return self._urgent > MAX_URGENT or len(self._of_key) > MAX_KEYS or self._bytes > HARD_BYTES

    def _collapse(self) -> None:
        for key in self._doubled:
            seqs = self._of_key[key]
            newest = max(seqs, key=lambda seq: (self._items[seq].start, seq))
            count = self._skipped.get(newest, 0)
            for seq in seqs:
                if seq != newest:
                    count += 1 + self._skipped.pop(seq, 0)
                    self._bytes -= len(self._items.pop(seq).render(text=self._text))
            self.missed += len(seqs) - 1
            self._skipped[newest] = count
            self._of_key[key] = deque((newest,))
        self._doubled.clear()

    def take(self, size: int) -> list[bytes]:
        """Take events from the front until they hold `size` bytes, at least one if any waits."""
        taken: list[bytes] = []
        while self._items and size > 0:
            seq, item = self._items.popitem(last=False)
            self._bytes -= len(item.render(text=self._text))
            self._uncount(seq, item.key)
            taken.append(item.render(text=self._text, skipped=self._skipped.pop(seq, 0)))
            size -= len(taken[-1])
        return taken

    def _uncount(self, seq: int, key: SummaryKey | None) -> None:
        if key is None:
            self._urgent -= 1
            return
        seqs = self._of_key[key]
        seqs.remove(seq)
        if len(seqs) < 2:
            self._doubled.discard(key)
        if not seqs:
            del self._of_key[key]
