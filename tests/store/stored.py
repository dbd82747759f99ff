"""Databases that releases wrote, and what those releases said of them (databases/README.md)."""

import io
import json
import lzma
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from gateway.store.export import pieces, to_jsonl
from gateway.store.sql import register

FOLDER = Path(__file__).parent / "databases"
NAMES = sorted(path.name.removesuffix(".db.xz") for path in FOLDER.glob("*.db.xz"))
Reading = tuple[Any, ...]


def unpacked(name: str, folder: Path) -> Path:
    """The database, with its WAL if it has one, as files in a folder that is made."""
    folder.mkdir()
    path = folder / "gateway.db"
    for suffix in ("", "-wal"):
        packed = FOLDER / f"{name}.db{suffix}.xz"
        if packed.exists():
            path.with_name(path.name + suffix).write_bytes(lzma.decompress(packed.read_bytes()))
    return path


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as conn:
        register(conn)
        return conn.execute(sql).fetchall()


def schema_of(path: Path) -> int:
    return int(ask(path, "SELECT max(number) FROM migration")[0][0])


def exported_then(name: str) -> Counter[Reading]:
    """What the release exported."""
    return _readings(lzma.decompress((FOLDER / f"{name}.jsonl.xz").read_bytes()))


def exported_now(path: Path) -> Counter[Reading]:
    out = io.BytesIO()
    to_jsonl(pieces(path), out)
    return _readings(out.getvalue())


def _readings(lines: bytes) -> Counter[Reading]:
    """Each reading with its value as text: 1, 1.0, true and -0.0 are different ones."""
    return Counter(
        (one["dev"], one["m"], one["t"], one.get("raw"), one.get("boot"), repr(one["v"]))
        for one in map(json.loads, lines.splitlines())
    )
