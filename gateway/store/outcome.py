"""Whether a commit that failed was stored all the same: its facts' own numbers tell."""

import secrets
import sqlite3
from collections.abc import Sequence
from typing import Any

from gateway.core import facts as f

_NUMBERED: dict[type, str] = {
    f.JournalRow: "SELECT 1 FROM journal WHERE id = ?",
    f.EventLogged: "SELECT 1 FROM event WHERE id = ?",
    f.OutboxPut: "SELECT 1 FROM outbox WHERE id = ?",
    f.Loss: "SELECT 1 FROM loss WHERE id = ?",
    f.Rejection: "SELECT 1 FROM rejected WHERE id = ?",
    f.SchemaLearned: "SELECT 1 FROM schema WHERE id = ?",
    f.StreamOpened: "SELECT 1 FROM stream WHERE id = ?",
    f.CommandPut: "SELECT 1 FROM command WHERE n = ?",
}
_COUNTING = (f.OutboxRefused, f.Dropped)
"""Facts without a number that must not be applied twice; with all others it does no harm."""
_MARKED = "SELECT 1 FROM meta WHERE key = 'commit' AND value = ?"


class Attempt:
    """A group of facts on its way to the disk, where it is known by a row of its own.

    No number is given out twice, the newest row of a table is never pruned, and a group is stored
    whole or not at all: if that row is there, so is the group.
    rows: what to write; a group that only counts gets a mark for a row.
    """

    def __init__(self, facts: Sequence[f.Fact]) -> None:
        self.facts = facts
        self.rows = facts
        self._query, self._key = _trace(facts) or (_MARKED, "")
        if self._query == _MARKED and any(isinstance(fact, _COUNTING) for fact in facts):
            self._key = secrets.token_hex(8)
            self.rows = [*facts, f.MetaSet("commit", str(self._key))]

    def is_stored(self, conn: sqlite3.Connection) -> bool:
        """Whether an earlier try stored the group; False if storing it again does no harm."""
        return conn.execute(self._query, (self._key,)).fetchone() is not None


def _trace(facts: Sequence[f.Fact]) -> tuple[str, int | str] | None:
    """The query for the newest row of one kind; None if no fact has a number (they rise)."""
    newest: dict[type, Any] = {}
    for fact in facts:
        if type(fact) in _NUMBERED:
            newest[type(fact)] = fact
    return next(((_NUMBERED[kind], fact[0]) for kind, fact in newest.items()), None)
