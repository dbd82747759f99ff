"""Power cuts: the writes of a recorded run, of which each cut keeps what a disk may have kept.

`strace` writes down every call of a gateway under load that changes a file of data_dir. A cut is
the moment before a sync completes: of each file everything up to its own last completed sync is
there; of what was written since, a random part is missing, torn at a sector of 512 bytes, or there
although older writes are not. Names are kept in the order of their changes: of those that no sync
of the folder followed, the first few survive. A file that was renamed before it was synced may
thus have its new name, and little of its content.
"""

import asyncio
import random
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gateway.store.connect import Durability
from gateway.store.sqlite import SqliteStore
from tests.faults.campaign import CONFIG, Report, Scene
from tests.faults.checker import check
from tests.faults.ledger import Ledger
from tests.processes import PATIENCE_S

SECTOR = 512
NAMING = ("openat", "unlink", "unlinkat", "rename", "renameat", "renameat2")
CALLS = ",".join(("pwrite64", "write", "ftruncate", "fdatasync", "fsync", *NAMING))
STRACE = ("strace", "-ff", "-ttt", "-T", "-y", "-xx", "-s", "20000000", "-e", f"trace={CALLS}")
LINE = re.compile(r"(?P<at>[0-9.]+) (?P<call>\w+)\((?P<args>.*)\) += (?P<result>-?\d+)(?P<rest>.*)")
TOOK = re.compile(r"<([0-9.]+)>$")
FILE = re.compile(r"\d+<((?:\\x[0-9a-f]{2})+)>")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
FORGOTTEN = ("-shm", ".lock", ".sock")
"""Files that hold nothing that must survive."""


class Write(NamedTuple):
    """One change: data at `offset`, or a truncation to `offset` if data is None."""

    offset: int
    data: bytes | None


class Event(NamedTuple):
    """A call that changed something or synced. at, done: Unix s. to: the new name of a file."""

    at: float
    done: float
    call: str
    name: str
    write: Write | None = None
    to: str = ""


@dataclass(slots=True)
class File:
    """A file as the disk surely has it, and what it may have of the newer writes."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Write] = field(default_factory=list)

    def sync(self) -> None:
        for write in self.pending:
            apply(self.durable, write)
        self.pending.clear()


Naming = dict[str, File | None]
"""What one call made of names; None: the name is gone."""


@dataclass(slots=True)
class Folder:
    """The names that the disk surely has, and the newer changes in order, each whole or not."""

    durable: dict[str, File] = field(default_factory=dict)
    pending: list[Naming] = field(default_factory=list)

    def names(self, changes: int | None = None) -> dict[str, File]:
        """The names after the first so many changes (None: all)."""
        found: Naming = dict(self.durable)
        for change in self.pending[:changes]:
            found |= change
        return {name: file for name, file in found.items() if file is not None}

    def sync(self) -> None:
        self.durable = self.names()
        self.pending.clear()


class Cut(NamedTuple):
    """The disk when the power fails at `at`, while the sync of `name` has not completed."""

    at: float
    name: str
    folder: Folder


def apply(content: bytearray, write: Write) -> None:
    if write.data is None:
        del content[write.offset :]
        return
    if len(content) < write.offset:
        content.extend(bytes(write.offset - len(content)))
    content[write.offset : write.offset + len(write.data)] = write.data


# The recording ------------------------------------------------------------------------------


async def record(
    folder: Path, seed: int, *, seconds: float, durability: Durability = "full"
) -> tuple[list[Event], Ledger]:
    """Run a gateway under load and under strace from its very first start, to a clean stop."""
    scene = Scene(folder, seed, config=CONFIG + f'durability = "{durability}"\n')
    gateway = scene.gateway
    trace = folder / "trace"
    trace.mkdir()
    gateway.launch(*STRACE, "-o", str(trace / "t"))
    try:
        await asyncio.to_thread(gateway.wait_until_ready)
        async with scene.load(subscribers=False):
            await asyncio.sleep(seconds)
    finally:
        assert gateway.process is not None
        # strace passes no signal on: its child is told itself.
        subprocess.run(["pkill", "-TERM", "-P", str(gateway.process.pid)], check=True)
        await asyncio.to_thread(gateway.process.wait, PATIENCE_S)
    scene.ledger.listeners.clear()
    return events(trace, scene.database.parent), scene.ledger


def events(trace: Path, data: Path) -> list[Event]:
    """What the recording says about files of `data`, in order."""
    found = [
        event for path in trace.iterdir() for event in _read(path.read_text(), str(data.resolve()))
    ]
    return sorted(found, key=lambda event: event.at)


def _read(text: str, data: str) -> Iterator[Event]:
    appended: dict[str, int] = {}
    for line in text.splitlines():
        found = LINE.match(line)
        if found is None or int(found["result"]) < 0:
            continue
        call, args = found["call"], found["args"]
        at = float(found["at"])
        took = TOOK.search(found["rest"])
        done = at + float(took[1] if took else 0)
        texts = TEXT.findall(args)
        by_name = call in NAMING
        file = None if by_name else FILE.match(args)
        path = _text(texts[0]) if by_name else _text(file[1]) if file else ""
        if path == data and call in ("fsync", "fdatasync"):
            yield Event(at, done, "syncdir", "")
        if not path.startswith(f"{data}/") or path.endswith(FORGOTTEN):
            continue
        name = path.removeprefix(f"{data}/")
        if name.endswith(" (deleted)"):
            continue
        if by_name:
            yield from _named(Event(at, done, call.removesuffix("at"), name), args, texts, data)
            if call == "openat" and "O_TRUNC" in args:
                appended[name] = 0
        elif call == "pwrite64":
            content = _bytes(texts[0])[: int(found["result"])]
            yield Event(at, done, "write", name, Write(int(args.rpartition(", ")[2]), content))
        elif call == "write":
            content = _bytes(texts[0])[: int(found["result"])]
            yield Event(at, done, "write", name, Write(appended.get(name, 0), content))
            appended[name] = appended.get(name, 0) + len(content)
        elif call == "ftruncate":
            size = int(args.rpartition(", ")[2])
            yield Event(at, done, "write", name, Write(size, None))
        else:
            yield Event(at, done, "fsync", name)


def _named(event: Event, args: str, texts: list[str], data: str) -> Iterator[Event]:
    """What a call made of names."""
    if event.call == "open":
        if "O_CREAT" in args:
            yield event._replace(call="create")
        if "O_TRUNC" in args:
            yield event._replace(call="write", write=Write(0, None))
    elif event.call.startswith("rename"):
        to = _text(texts[1]).removeprefix(f"{data}/")
        yield event._replace(call="rename", to=to)
    else:
        yield event


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _text(text: str) -> str:
    return _bytes(text).decode()


# The cuts -----------------------------------------------------------------------------------


def cuts(recording: Sequence[Event]) -> Iterator[Cut]:
    """A cut before every sync completes, and one at the end. The folder may not be changed."""
    folder = Folder()
    for event in recording:
        if event.call in ("fsync", "syncdir"):
            yield Cut(event.at, event.name, folder)
        _follow(folder, event, folder.names().get(event.name))
    if recording:
        yield Cut(recording[-1].done, "", folder)


def _follow(folder: Folder, event: Event, file: File | None) -> None:
    if event.call == "syncdir":
        folder.sync()
    elif file is None:
        if event.call in ("create", "write"):
            file = File()
            folder.pending.append({event.name: file})
    elif event.call == "fsync":
        file.sync()
    elif event.call == "unlink":
        folder.pending.append({event.name: None})
    elif event.call == "rename":
        folder.pending.append({event.name: None, event.to: file})
    if event.write is not None and file is not None:
        file.pending.append(event.write)


def lay_out(cut: Cut, place: Path, rng: random.Random) -> None:
    """Write the files as the disk may have them."""
    for name, file in cut.folder.names(rng.randint(0, len(cut.folder.pending))).items():
        content = bytearray(file.durable)
        for write in _survivors(file.pending, rng):
            apply(content, write)
        (place / name).write_bytes(content)


def _survivors(pending: Sequence[Write], rng: random.Random) -> Iterator[Write]:
    """Some of the writes, whole or in part: none, all, up to some point, or any of them."""
    share = rng.choice((0.0, 0.5, 0.9, 1.0))
    until = rng.randint(0, len(pending)) if rng.random() < 0.5 else len(pending)
    for write in pending[:until]:
        if rng.random() >= share:
            continue
        if write.data is None or rng.random() < 0.8:
            yield write
            continue
        for at in range(0, len(write.data), SECTOR):
            if rng.random() < 0.5:
                yield Write(write.offset + at, write.data[at : at + SECTOR])


async def survive(
    cut: Cut, ledger: Ledger, folder: Path, rng: random.Random, report: Report
) -> None:
    """Lay the cut out, let the store open it as a start does, and check it."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    lay_out(cut, folder, rng)
    store = SqliteStore(folder / "gateway.db")
    try:
        await store.open()
        await store.close()
        assert not list(folder.glob("*.damaged-*")), "it was taken for damage"
    except Exception as error:  # noqa: BLE001 - any of them is a finding
        report.verdict.found.append(f"cut at {cut.at} in {cut.name}: {error!r}")
        report.add(type(report.verdict)(damaged=1), cuts=1)
        return
    verdict = check(folder / "gateway.db", ledger, at=cut.at)
    verdict.found = [
        f"cut at {cut.at} before the sync of {cut.name}: {text}" for text in verdict.found
    ]
    report.add(verdict, cuts=1)
