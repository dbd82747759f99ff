"""Bringing back what can be read of a damaged database, piece by piece.

A piece is read from the old database, checked, and written to the new one in the transaction that
also records how far the salvage is: everything comes back once, whenever it is interrupted.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace

from gateway.core import facts as f
from gateway.crashpoints import reached
from gateway.store.damaged import columns
from gateway.store.salvage.outbox import outbox
from gateway.store.salvage.progress import Dues, Phase, Piece, Salvage, State
from gateway.store.salvage.readings import chunked, journalled, renew_spans
from gateway.store.salvage.tables import rows, small, stopped, summaries
from gateway.store.statements import write

__all__ = ["LAST", "Dues", "Piece", "Salvage", "State", "apply", "pieces"]

LAST = "losses"
"""The phase in which all is back, and what is lost is told."""
PHASES: dict[str, Phase] = {
    "chunk": chunked,
    "journal": journalled,
    "summary": summaries,
    "revision_due": small("revision_due", key="t0, window, series", fact=f.RevisionDue),
    "dropped": small("dropped", key="day, cause, what", fact=f.Dropped),
    "loss": rows("loss"),
    "rejected": rows("rejected"),
    "command": rows("command", stopped),
    "outbox": outbox,
}


def pieces(salvage: Salvage, state: State) -> Iterator[Piece]:
    """All that is left to do; after the last piece the phase is LAST."""
    if state.phase != LAST and not columns(salvage.source, "journal"):
        lost = salvage.dropped("messages", 0)
        yield Piece(replace(state.tell("database", 0, 1), phase=LAST), facts=[lost])
        return
    while (phase := state.phase) != LAST:
        for piece in PHASES[phase](salvage, state):
            if piece.whole:
                piece.state = _next_phase(piece.state)
            state = piece.state
            if not piece.empty:
                yield piece
        if state.phase == phase:
            state = _next_phase(state)
            yield Piece(state)


def _next_phase(state: State) -> State:
    phases = [*PHASES, LAST]
    return replace(state, phase=phases[phases.index(state.phase) + 1], at=0)


def apply(conn: sqlite3.Connection, piece: Piece) -> None:
    """Write a piece; the caller begins and ends the transaction."""
    reached("salvage.begun")
    if piece.rows:
        conn.executemany(piece.sql, piece.rows)
    if piece.state.phase == "journal":
        renew_spans(conn, piece.rows)
    write(conn, [*piece.facts, *piece.dues, f.MetaSet("salvage", piece.state.to_json())])
    reached("salvage.written")
