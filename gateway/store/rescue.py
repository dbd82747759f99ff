"""What a store that is open does beside its work: precautions, the rest of a check, a salvage."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from gateway.crashpoints import reached
from gateway.errors import StoreCorrupt
from gateway.store import backup, files, starting
from gateway.store.connect import open_reader, translated
from gateway.store.damaged import open_damaged
from gateway.store.gaps import Gap, gaps
from gateway.store.salvage import Dues, Piece, Salvage, State, apply, pieces
from gateway.store.sqlite import SqliteStore

T = TypeVar("T")

REST_S = 0.02


class Rescue:
    """Reads on one thread of its own; writes through the store.

    salvaging: a salvage is under way.
    """

    def __init__(self, store: SqliteStore, *, salvaging: bool = False) -> None:
        self.salvaging = salvaging
        self._store = store
        self._path = store.path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-rescue")
        self._ending = False

    def close(self) -> None:
        """Give up what is under way."""
        self._ending = True
        self._thread.shutdown(cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        with translated(self._path), files.reported(self._path):
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def backup(self, to: Path, *, force: bool) -> int:
        """See `backup.backup`."""
        return await self._run(lambda: backup.backup(self._path, to, force=force))

    async def keep_precautions(self) -> None:
        """Renew the copies of the schema's pages and of the catalogue."""
        await self._run(lambda: starting.keep_catalogue(self._path))
        await self._store.on_writer(lambda conn: starting.keep_schema(conn, self._path))

    async def check(self) -> None:
        """Look through the whole database; raises StoreCorrupt if it is damaged."""
        problem = await self._run(self._checked)
        if problem is not None:
            starting.suspect(self._path)
            raise StoreCorrupt(f"{self._path} is damaged ({problem})")

    def _checked(self) -> str | None:
        with closing(open_reader(self._path)) as conn:
            return starting.full_check(conn, lambda: self._ending)[0]

    async def state(self) -> State | None:
        """The salvage that is under way, if one is."""
        return await self._run(self._state)

    def _state(self) -> State | None:
        with closing(open_reader(self._path)) as conn:
            return State.of(dict(conn.execute("SELECT key, value FROM meta").fetchall()))

    async def salvage(self, state: State, dues: Dues) -> AsyncIterator[Piece]:
        """Bring back what can be read, a piece at a time; each is durable when it is given."""
        with self._salvage(state, dues) as salvage:
            found = pieces(salvage, state)
            while (piece := await self._run(lambda: next(found, None))) is not None:
                await self._store.change(partial(_apply, piece))
                reached("salvage.committed")
                yield piece
                await asyncio.sleep(REST_S)

    async def gaps(self, state: State) -> list[Gap]:
        """The messages that the damage cost."""
        with self._salvage(state, lambda *_: []) as salvage:
            found = gaps(salvage.source, salvage.known, state.positions)
            return await self._run(lambda: list(found))

    @contextmanager
    def _salvage(self, state: State, dues: Dues) -> Iterator[Salvage]:
        source = self._path.with_name(state.source)
        now = time.time_ns() // 10**6
        with closing(open_damaged(source)) as old, closing(open_reader(self._path)) as known:
            yield Salvage(old, known, dues, now)

    async def forget(self) -> None:
        """Once all is back: delete the patched copy, if there is one; what was set aside stays."""
        self.salvaging = False
        await self._run(lambda: files.remove(files.beside(self._path, files.PATCHED)))


def _apply(piece: Piece, conn: sqlite3.Connection) -> None:
    apply(conn, piece)
