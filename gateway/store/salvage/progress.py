"""How far a salvage is, and the next step that it takes."""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gateway.core import facts as f
from gateway.core.readings import NS_PER_MS
from gateway.store.catalogue import Catalogue
from gateway.store.damaged import Hole, Row

DAY_MS = 86_400_000
PIECE_ROWS = 256
PIECE_BYTES = 2**20

Dues = Callable[[int, NDArray[np.int64]], list[f.RevisionDue]]
"""The windows to summarise again for readings (series number, t in ns) that come back."""


@dataclass(frozen=True, slots=True)
class State:
    """How far the salvage is; kept as JSON in `meta`.

    file: the damaged database that was set aside; source: the one to read (a patched copy, if its
    first pages were lost). phase, at: what comes next. positions: committed seq by stream at the
    takeover. back, bad: what came back and what could not be read, by kind.
    """

    file: str
    source: str
    phase: str = "chunk"
    at: int = 0
    watermark_ns: int = 0
    positions: dict[str, int] = field(default_factory=dict)
    back: dict[str, int] = field(default_factory=dict)
    bad: dict[str, int] = field(default_factory=dict)

    def begun(self, conn: sqlite3.Connection) -> "State":
        """The state as of the new database that has just taken over."""
        mark = conn.execute("SELECT value FROM meta WHERE key = 'watermark_ns'").fetchone()
        positions = conn.execute("SELECT id, committed FROM stream").fetchall()
        return replace(
            self,
            watermark_ns=int(mark[0]) if mark else 0,
            positions={str(stream): committed for stream, committed in positions},
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, meta: dict[str, str]) -> "State | None":
        """What is to be salvaged, None if nothing is."""
        text = meta.get("salvage")
        return cls(**json.loads(text)) if text else None

    def tell(self, kind: str, back: int, bad: int) -> "State":
        """Count rows of a kind."""
        return replace(
            self,
            back={**self.back, kind: self.back.get(kind, 0) + back},
            bad={**self.bad, kind: self.bad.get(kind, 0) + bad} if bad else self.bad,
        )


@dataclass(slots=True)
class Piece:
    """Rows and facts for one transaction, and the state after it.

    sql: adds a row. size: bytes of the rows, if they may be large. whole: nothing is left of the
    phase.
    """

    state: State
    sql: str = ""
    rows: list[Row] = field(default_factory=list)
    facts: list[f.Fact] = field(default_factory=list)
    dues: set[f.RevisionDue] = field(default_factory=set)
    size: int = 0
    whole: bool = False

    @property
    def empty(self) -> bool:
        return not (self.rows or self.facts or self.dues)

    @property
    def full(self) -> bool:
        return max(len(self.rows), len(self.facts)) >= PIECE_ROWS or self.size >= PIECE_BYTES

    def tell(self, kind: str, back: int, bad: int) -> None:
        """See `State.tell`."""
        self.state = self.state.tell(kind, back, bad)

    def passed(self, number: int) -> None:
        """The row of that number needs no other look."""
        self.state = replace(self.state, at=number + 1)


@dataclass(slots=True)
class Salvage:
    """Reads `source` (the damaged database) for the database that `known` reads.

    now_ms: the day of losses whose own time is unknown.
    """

    source: sqlite3.Connection
    known: sqlite3.Connection
    dues: Dues
    now_ms: int
    catalogue: Catalogue = field(init=False)

    def __post_init__(self) -> None:
        self.catalogue = Catalogue(self.known)

    def dropped(self, what: str, n: int, *, t_ns: int | None = None) -> f.Dropped:
        """What damage cost: `n` messages or readings of a time, if that is known."""
        t = None if t_ns is None else t_ns // NS_PER_MS
        return f.Dropped((self.now_ms if t is None else t) // DAY_MS, "damage", what, n, t, t)


Phase = Callable[[Salvage, State], Iterator[Piece]]
"""Reads one table from where the state says."""


def gathered(
    state: State,
    found: Iterable[Row | Hole],
    *,
    take: Callable[[Piece, Row], None],
    lose: Callable[[Piece, Hole], None],
    sql: str = "",
) -> Iterator[Piece]:
    """Pieces of bounded size; `take` adds what a row holds, `lose` tells of a hole."""
    piece = Piece(state, sql)
    for row in found:
        if isinstance(row, Hole):
            lose(piece, row)
            continue
        take(piece, row)
        if piece.full:
            yield piece
            piece = Piece(piece.state, sql)
    yield piece
