"""Bringing back what can be read of a damaged database, piece by piece.

A piece is read from the old database, checked, and written to the new one in the transaction that
also records how far the salvage is: everything comes back once, whenever it is interrupted.
"""

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.core import chunks
from gateway.core import facts as f
from gateway.core.downlink import FINAL
from gateway.core.entry import Entry
from gateway.core.readings import NS_PER_MS, Batch, Clock
from gateway.crashpoints import reached
from gateway.errors import StoreCorrupt
from gateway.store import blocks
from gateway.store.catalogue import Catalogue
from gateway.store.damaged import Hole, Row, both_ends, columns, walk
from gateway.store.journal import UNKNOWN_TIME, decode, pack, unpack
from gateway.store.schema_3 import stored_put
from gateway.store.statements import write
from gateway.store.takeover import insert, select, shared

DAY_MS = 86_400_000
PIECE_ROWS = 256
LAST = "losses"
"""The phase in which all is back, and what is lost is told."""
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
    """Rows and facts for one transaction, and the state after it."""

    state: State
    sql: str = ""
    rows: list[Row] = field(default_factory=list)
    facts: list[f.Fact] = field(default_factory=list)
    dues: set[f.RevisionDue] = field(default_factory=set)


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

    def pieces(self, state: State) -> Iterator[Piece]:
        """All that is left to do; after the last piece the phase is LAST."""
        if state.phase != LAST and not columns(self.source, "journal"):
            lost = self._dropped(None, "messages", 0)
            yield Piece(replace(state.tell("database", 0, 1), phase=LAST), facts=[lost])
            return
        while (phase := state.phase) != LAST:
            for piece in PHASES[phase](self, state):
                state = piece.state
                if piece.rows or piece.facts or piece.dues:
                    yield piece
            if state.phase == phase:
                state = replace(state, phase=_following(phase), at=0)
                yield Piece(state)

    # -- tables whose rows are taken as they are --------------------------------------------

    def rows(
        self, state: State, table: str, change: Callable[[dict[str, Any]], bool]
    ) -> Iterator[Piece]:
        """Rows by number; `change` may alter a row or refuse it."""
        names = shared(self.known, self.source, table)
        if not names:
            return
        sql = insert(table, names)
        piece = Piece(state, sql)
        for row in walk(self.source, select(table, names), state.at):
            if isinstance(row, Hole):
                piece.state = piece.state.tell(table, 0, 1)
                continue
            values = dict(zip(names, row, strict=True))
            if change(values):
                piece.rows.append(tuple(values.values()))
                piece.state = piece.state.tell(table, 1, 0)
            piece.state = replace(piece.state, at=row[0] + 1)
            if len(piece.rows) == PIECE_ROWS:
                yield piece
                piece = Piece(piece.state, sql)
        yield piece

    def small(self, state: State, table: str, key: str, fact: type[Any]) -> Iterator[Piece]:
        """A small table, in one piece that ends the phase: its rows add up."""
        names = columns(self.source, table)
        if names:
            fields = list(fact._fields)
            rows = [fact(*row) for row in both_ends(self.source, table, key, fields)]
            dues = {row for row in rows if isinstance(row, f.RevisionDue)}
            facts = [row for row in rows if row not in dues]
            state = replace(state.tell(table, len(rows), 0), phase=_following(state.phase))
            yield Piece(state, facts=facts, dues=dues)

    def summaries(self, state: State) -> Iterator[Piece]:
        """Summaries that were not made again meanwhile."""
        if not columns(self.source, "summary"):
            return
        names = list(f.SummaryMade._fields)
        piece = Piece(state)
        for row in self._summary_rows(names):
            if isinstance(row, Hole):
                piece.state = piece.state.tell("summary", 0, 1)
                continue
            made = f.SummaryMade(*row)
            if not self._summarised(made):
                piece.facts.append(made)
                piece.state = piece.state.tell("summary", 1, 0)
            if len(piece.facts) == PIECE_ROWS:
                yield piece
                piece = Piece(piece.state)
        yield piece

    def _summary_rows(self, names: list[str]) -> Iterator[Row | Hole]:
        """Before the third schema they had no numbers."""
        if "id" not in columns(self.source, "summary"):
            yield from both_ends(self.source, "summary", "window, t0, series", names)
            return
        for row in walk(self.source, select("summary", ["id", *names])):
            yield row if isinstance(row, Hole) else row[1:]

    def _summarised(self, made: f.SummaryMade) -> bool:
        sql = "SELECT 1 FROM summary WHERE window = ? AND t0 = ? AND series = ?"
        key = (made.window, made.t0, made.series)
        return self.known.execute(sql, key).fetchone() is not None

    def outbox(self, state: State) -> Iterator[Piece]:
        """What was not acknowledged, as far as that can be read: rather twice than never.

        Live states are left out: they are sent anew anyhow.
        """
        names, read = self._outbox_form()
        if not names:
            return
        gone = self._settled() | self._dead()
        piece = Piece(state)
        for row in walk(self.source, select("outbox", names), state.at):
            try:
                messages = [] if isinstance(row, Hole) else read(row)
            except (StoreCorrupt, ValueError, TypeError):
                messages = None
            if isinstance(row, Hole) or messages is None:
                piece.state = piece.state.tell("outbox", 0, 1)
                continue
            put = [one for one in messages if not (one.replaces or one.id in gone)]
            piece.facts += put
            piece.state = replace(piece.state.tell("outbox", len(put), 0), at=row[0] + 1)
            if len(piece.facts) >= PIECE_ROWS:
                yield piece
                piece = Piece(piece.state)
        yield piece

    def _outbox_form(self) -> tuple[list[str], Callable[[Row], list[f.OutboxPut]]]:
        """The columns to read, and how they are read: before the third schema a row was one."""
        names = columns(self.source, "outbox")
        if "body" in names:
            return ["id", "crc", "body"], lambda row: [
                blocks.message(one) for one in blocks.unpack(*row[1:])
            ]
        fields = list(f.OutboxPut._fields)
        return fields if names else [], lambda row: [stored_put(row)]

    def _settled(self) -> set[int]:
        """The numbers of what was acknowledged."""
        if "done" in columns(self.source, "outbox"):
            sql = "SELECT id FROM outbox WHERE id >= ? AND done IS NOT NULL ORDER BY id"
            return self._numbers(sql)
        if not columns(self.source, "outbox_done"):
            return set()
        runs = both_ends(self.source, "outbox_done", "id", ["first", "last"])
        return {number for first, last in runs for number in range(first, last + 1)}

    def _dead(self) -> set[int]:
        """The numbers of what was given up."""
        table = "outbox_refused" if columns(self.source, "outbox_refused") else "outbox"
        return self._numbers(f"SELECT id FROM {table} WHERE id >= ? AND dead = 1 ORDER BY id")  # noqa: S608

    def _numbers(self, sql: str) -> set[int]:
        return {row[0] for row in walk(self.source, sql) if not isinstance(row, Hole)}

    # -- readings ---------------------------------------------------------------------------

    def chunks(self, state: State) -> Iterator[Piece]:
        """Chunks whose checksum is right, under new numbers."""
        names = ["id", "series", "t_min_ns", "t_max_ns", "readings", "row", "crc", "body"]
        if not columns(self.source, "chunk"):
            return
        for row in walk(self.source, select("chunk", names), state.at):
            if isinstance(row, Hole):
                state = state.tell("chunk", 0, 1)
                yield Piece(state, facts=[self._dropped(None, "readings", 0)])
                continue
            state = replace(state, at=row[0] + 1)
            piece = self._chunk(state, row[1:], insert("chunk", names[1:]))
            state = piece.state
            yield piece

    def _chunk(self, state: State, row: Row, sql: str) -> Piece:
        series, t_min, _, readings, _, crc, body = row
        try:
            runs = _runs(crc, body)
            self._series_row(series)
        except (ValueError, TypeError, KeyError):
            n = readings if isinstance(readings, int) else 0
            lost = self._dropped(t_min, "readings", n)
            return Piece(state.tell("chunk", 0, 1), facts=[lost])
        piece = Piece(state.tell("chunk", 1, 0).tell("readings", readings, 0), sql, [row])
        for run in runs:
            if run.clock is not Clock.UNKNOWN and len(run.t):
                piece.dues.update(self.dues(series, run.t))
        return piece

    def _series_row(self, series: int) -> None:
        sql = "SELECT 1 FROM series JOIN device ON device.id = device WHERE series.id = ?"
        if self.known.execute(sql, (series,)).fetchone() is None:
            raise KeyError(series)

    def journal(self, state: State) -> Iterator[Piece]:
        """Journal rows whose checksum is right, without messages that nothing can decode."""
        names = shared(self.known, self.source, "journal")
        if not names:
            return
        sql = insert("journal", names)
        piece, size = Piece(state, sql), 0
        for row in walk(self.source, select("journal", names), state.at):
            if isinstance(row, Hole):
                n = 1 if row.next is None else row.next - row.first
                piece.facts.append(self._dropped(None, "messages", n))
                piece.state = piece.state.tell("journal", 0, n)
                continue
            self._journal_row(piece, dict(zip(names, row, strict=True)))
            piece.state = replace(piece.state, at=row[0] + 1)
            size += len(row[-1] or b"")
            if len(piece.rows) >= PIECE_ROWS or size >= PIECE_BYTES:
                yield piece
                piece, size = Piece(piece.state, sql), 0
        yield piece

    def _journal_row(self, piece: Piece, row: dict[str, Any]) -> None:
        try:
            entries = unpack(row["header"], row["body"], row["crc"])
        except (StoreCorrupt, TypeError):
            piece.facts.append(self._dropped(None, "messages", 1))
            piece.state = piece.state.tell("journal", 0, 1)
            return
        read = [(entry, self._read(piece, entry)) for entry in entries]
        good = [(entry, batch) for entry, batch in read if batch is not None]
        if good:
            row |= _columns([entry for entry, _ in good], [batch for _, batch in good])
            piece.rows.append(tuple(row.values()))
            piece.state = piece.state.tell("journal", 1, 0).tell("readings", row["readings"], 0)

    def _read(self, piece: Piece, entry: Entry) -> Batch | None:
        """The readings of a message, None if it cannot be decoded; what they make due is noted."""
        try:
            self.catalogue.device(entry.stream)
            batch = decode(entry, self.catalogue)
            found = [(self.catalogue.series(column.key), column.t) for column in batch.columns]
        except (StoreCorrupt, KeyError):
            piece.facts.append(self._dropped(None, "readings", entry.readings))
            piece.state = piece.state.tell("messages", 0, 1)
            return None
        if batch.clock is not Clock.UNKNOWN:
            for series, t in found:
                if len(t):
                    piece.dues.update(self.dues(series, t))
        return batch

    def _dropped(self, t_ns: int | None, what: str, n: int) -> f.Dropped:
        t = None if t_ns is None else t_ns // NS_PER_MS
        return f.Dropped((self.now_ms if t is None else t) // DAY_MS, "damage", what, n, t, t)


def _runs(crc: int, body: bytes) -> list[chunks.Run]:
    if zlib.crc32(body) != crc:
        raise ValueError("its checksum does not match")
    return chunks.decode(body)


def _columns(entries: list[Entry], batches: list[Batch]) -> dict[str, Any]:
    """The columns of a journal row, which its checksum does not cover, from its messages."""
    header, body, crc = pack(entries)
    spans = [batch.span() for batch in batches if batch.clock is not Clock.UNKNOWN]
    known = [span for span in spans if span is not None]
    return {
        "t_min_ns": min((low for low, _ in known), default=None),
        "t_max_ns": max((high for _, high in known), default=None),
        "readings": sum(entry.readings for entry in entries),
        "unknown_time": int(bool(header[0] & UNKNOWN_TIME)),
        "crc": crc,
        "header": header,
        "body": body,
    }


def _order(row: dict[str, Any]) -> bool:
    """Orders that were under way are not given again: nobody knows how far they came."""
    row["seq"] = None
    if row["state"] not in FINAL:
        row["state"] = "unknown"
    return True


def _all(_: dict[str, Any]) -> bool:
    return True


PHASES: dict[str, Callable[[Salvage, State], Iterator[Piece]]] = {
    "chunk": Salvage.chunks,
    "journal": Salvage.journal,
    "summary": Salvage.summaries,
    "revision_due": partial(
        Salvage.small, table="revision_due", key="t0, window, series", fact=f.RevisionDue
    ),
    "dropped": partial(Salvage.small, table="dropped", key="day, cause, what", fact=f.Dropped),
    "loss": partial(Salvage.rows, table="loss", change=_all),
    "rejected": partial(Salvage.rows, table="rejected", change=_all),
    "command": partial(Salvage.rows, table="command", change=_order),
    "outbox": Salvage.outbox,
}  # fmt: skip


def _following(phase: str) -> str:
    phases = [*PHASES, LAST]
    return phases[phases.index(phase) + 1]


_SPANS = """INSERT INTO span (block, t_min_ns, t_max_ns, unknown_time)
    SELECT id >> 8, min(t_min_ns), max(t_max_ns), max(unknown_time) FROM journal
    WHERE id >= ?1 << 8 AND id < (?1 + 1) << 8 GROUP BY id >> 8
    ON CONFLICT (block) DO UPDATE SET (t_min_ns, t_max_ns, unknown_time) =
    (excluded.t_min_ns, excluded.t_max_ns, excluded.unknown_time)"""


def apply(conn: sqlite3.Connection, piece: Piece) -> None:
    """Write a piece; the caller begins and ends the transaction."""
    reached("salvage.begun")
    if piece.rows:
        conn.executemany(piece.sql, piece.rows)
    if piece.state.phase == "journal":
        blocks = {(row[0] >> 8,) for row in piece.rows}
        conn.executemany(_SPANS, sorted(blocks))
    write(conn, [*piece.facts, *piece.dues, f.MetaSet("salvage", piece.state.to_json())])
    reached("salvage.written")
