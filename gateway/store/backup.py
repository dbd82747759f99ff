"""Backups: a copy of the database as it is at one moment, and putting one back."""

import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

from gateway.crashpoints import reached
from gateway.errors import StoreCorrupt, StoreError, StoreUnavailable
from gateway.store import files
from gateway.store.connect import open_reader, open_writer, translated
from gateway.store.migrations import APPLICATION_ID, check, migrate, new_epoch

_PREPARE = (
    # What was sent may have been done: rather not at all than twice. Numbers belong to the store.
    """UPDATE command SET state = 'unknown'
        WHERE state IN ('queued', 'sent', 'handled', 'accepted')""",
    "UPDATE command SET seq = NULL",
    # Those that were ended since the backup must not come back.
    "DELETE FROM sign_in",
    "UPDATE meta SET value = '1' WHERE key = 'clean'",
)


def backup(path: Path, to: Path, *, force: bool = False) -> int:
    """Write the database at `path` as it is now to the new file `to`; give its size in bytes.

    It may be written to meanwhile. Raises StoreError; then there is no new file, or the old one.
    """
    if to.exists() and (not force or to.samefile(path)):
        raise StoreError(f"{to} exists already: choose another name, or overwrite it with --force")
    part = files.beside(to, ".part")
    with files.reported(to), translated(path):
        try:
            files.remove(part)
            reached("backup.begun")
            with closing(open_reader(path)) as conn:
                conn.execute("VACUUM INTO ?", (os.fspath(part),))
            reached("backup.copied")
            _check(part)
            part.chmod(0o600)
            files.sync(part)
            reached("backup.synced")
            part.replace(to)
            reached("backup.placed")
            files.sync(to.absolute().parent)
        finally:
            files.remove(part)
    return to.stat().st_size


def restore(path: Path, file: Path) -> Path | None:
    """Put a copy of `file` in the place of the database, which is set aside; say where it is.

    The caller holds the writer's lock. Event ids and downlink numbers of the future must not be
    taken for those that were given out since the backup: the log and the store get new names.
    """
    with files.reported(file):
        files.finish(path)
        if not file.is_file():
            raise StoreUnavailable(f"{file} is no file")
        _check(file)
        new = files.beside(path, files.NEW)
        files.copy(file, new)
        reached("restore.copied")
        with translated(new), closing(open_writer(new, "full")) as conn:
            migrate(conn)
            renew(conn)
        reached("restore.built")
        aside = files.free_name(path, "replaced")
        present = path.exists()
        files.replace(path, aside)
    return aside if present else None


def renew(conn: sqlite3.Connection) -> None:
    """Give the store and its event log new names, and leave no command to be run again."""
    conn.execute("BEGIN IMMEDIATE")
    for statement in _PREPARE:
        conn.execute(statement)
    names = (("store_id", secrets.token_hex(8)), ("log_epoch", new_epoch()))
    conn.executemany("UPDATE meta SET value = ?2 WHERE key = ?1", names)
    reached("restore.renewed")
    conn.execute("COMMIT")


def _check(file: Path) -> None:
    """Raises StoreError unless the file is a sound database of a gateway, not a newer one."""
    with translated(file), closing(open_reader(file)) as conn:
        (mark,) = conn.execute("PRAGMA application_id").fetchone()
        if mark != APPLICATION_ID or not check(conn):
            raise StoreError(f"{file} is not a gateway's database")
        (found,) = conn.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise StoreCorrupt(f"{file} is damaged ({' '.join(found.split())})")
