"""What comes back of tables whose rows are taken as they are: each row, or a whole small table."""

import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from gateway.core import facts as f
from gateway.core.downlink import FINAL
from gateway.store.damaged import Hole, Row, both_ends, columns, walk
from gateway.store.salvage.progress import Phase, Piece, Salvage, State, gathered
from gateway.store.takeover import insert, select, shared

Change = Callable[[dict[str, Any]], None]


def rows(table: str, change: Change = lambda _: None) -> Phase:
    """Rows by number; `change` may alter a row."""
    return partial(_rows, table=table, change=change)


def _rows(salvage: Salvage, state: State, *, table: str, change: Change) -> Iterator[Piece]:
    names = shared(salvage.known, salvage.source, table)
    if not names:
        return

    def take(piece: Piece, row: Row) -> None:
        values = dict(zip(names, row, strict=True))
        change(values)
        piece.rows.append(tuple(values.values()))
        piece.tell(table, 1, 0)
        piece.passed(row[0])

    found = walk(salvage.source, select(table, names), state.at)
    yield from gathered(
        state, found, take=take, lose=partial(lose, table=table), sql=insert(table, names)
    )


def lose(piece: Piece, _: Hole, *, table: str) -> None:
    """Nobody knows how many rows a hole had."""
    piece.tell(table, 0, 1)


def stopped(order: dict[str, Any]) -> None:
    """Orders that were under way are not given again: nobody knows how far they came."""
    order["seq"] = None
    if order["state"] not in FINAL:
        order["state"] = "unknown"


def small(table: str, *, key: str, fact: type[Any]) -> Phase:
    """A small table, in one piece: its rows add up."""
    return partial(_small, table=table, key=key, fact=fact)


def _small(
    salvage: Salvage, state: State, *, table: str, key: str, fact: type[Any]
) -> Iterator[Piece]:
    if columns(salvage.source, table):
        found = both_ends(salvage.source, table, key, list(fact._fields))
        made = [fact(*row) for row in found]
        dues = {one for one in made if isinstance(one, f.RevisionDue)}
        facts = [one for one in made if one not in dues]
        yield Piece(state.tell(table, len(made), 0), facts=facts, dues=dues, whole=True)


def summaries(salvage: Salvage, state: State) -> Iterator[Piece]:
    """Summaries that were not made again meanwhile."""

    def take(piece: Piece, row: Row) -> None:
        made = f.SummaryMade(*row)
        if not _summarised(salvage.known, made):
            piece.facts.append(made)
            piece.tell("summary", 1, 0)

    if columns(salvage.source, "summary"):
        yield from gathered(
            state, _summaries(salvage.source), take=take, lose=partial(lose, table="summary")
        )


def _summaries(source: sqlite3.Connection) -> Iterator[Row | Hole]:
    """Before the third schema they had no numbers."""
    names = list(f.SummaryMade._fields)
    if "id" not in columns(source, "summary"):
        yield from both_ends(source, "summary", "window, t0, series", names)
        return
    for row in walk(source, select("summary", ["id", *names])):
        yield row if isinstance(row, Hole) else row[1:]


def _summarised(known: sqlite3.Connection, made: f.SummaryMade) -> bool:
    sql = "SELECT 1 FROM summary WHERE window = ? AND t0 = ? AND series = ?"
    return known.execute(sql, (made.window, made.t0, made.series)).fetchone() is not None
