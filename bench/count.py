"""A guard against regressions that needs no clock: `python -m bench.count [--renew]`.

Counts what the interpreter does for a message on fixed work (bench/fixed.py): bytecodes in the
gateway's own code, and calls from it into C. The counts are the same at every run, and are
compared with bench/baseline.json; more than 10 % above it is a failure. What happens inside numpy,
cbor2 and SQLite is not seen: that needs `make bench`. A change that costs more on purpose renews
the baseline with --renew, and says why in its commit.
"""

import asyncio
import json
import os
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import click

import gateway
from bench.fixed import CASES, Case, Work

BASELINE = Path(__file__).with_name("baseline.json")
OURS = str(Path(gateway.__file__).parent)
HANDOVER = str(Path(OURS, "store", "threads.py"))
"""A thread that waits for work does that before or after the count begins, by chance."""
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
TOLERANCE = 0.10
WARM, TURNS = 3, 5
MEMORY = "/dev/shm"


class Counter:
    """Counts while `on`."""

    def __init__(self) -> None:
        self.on = False
        self.bytecodes = self.calls = 0
        self._ours: dict[str, bool] = {}

    def install(self) -> None:
        """For this thread and for all that will be started."""
        for module in (sys, threading):
            module.settrace(self._called)
            module.setprofile(self._profiled)

    def remove(self) -> None:
        for module in (sys, threading):
            module.settrace(None)  # type: ignore[arg-type]
            module.setprofile(None)

    def _is_ours(self, frame: FrameType) -> bool:
        file = frame.f_code.co_filename
        if file not in self._ours:
            self._ours[file] = file.startswith(OURS) and file != HANDOVER
        return self._ours[file]

    def _called(self, frame: FrameType, _: str, __: Any) -> Any:
        if not self._is_ours(frame):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._stepped

    def _stepped(self, _: FrameType, event: str, __: Any) -> Any:
        if event == "opcode" and self.on:
            self.bytecodes += 1
        return self._stepped

    def _profiled(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "c_call" and self.on and self._is_ours(frame):
            self.calls += 1


async def count(case: Case) -> dict[str, float]:
    """Bytecodes and calls into C for each message."""
    counter = Counter()
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        work = Work(case, Path(name))
        counter.install()
        try:
            await work.open()
            for turn in range(WARM + TURNS):
                counter.on = turn >= WARM
                await work.turn()
            counter.on = False
        finally:
            counter.remove()
        acknowledged = await work.close()
    expected = case.devices * case.messages * (WARM + TURNS)
    assert acknowledged == expected, f"{case.name}: {acknowledged} of {expected} acknowledged"
    messages = case.devices * case.messages * TURNS
    return {
        "bytecodes": round(counter.bytecodes / messages, 1),
        "calls": round(counter.calls / messages, 2),
    }


def compare(found: dict[str, Any], baseline: dict[str, Any]) -> list[str]:
    """What is too much, in words."""
    worse = []
    for name, counts in found.items():
        for what, number in counts.items():
            before = baseline.get(name, {}).get(what)
            if before is None:
                worse.append(f"{name}: no baseline")
            elif number > before * (1 + TOLERANCE):
                worse.append(
                    f"{name}: {number:,} {what} a message, {number / before - 1:+.0%} over"
                    f" {before:,} of the baseline"
                )
    return worse


@click.command()
@click.option("--renew", is_flag=True, help="Write the counts of this run into the baseline.")
def main(*, renew: bool) -> None:
    """Count, and compare with the baseline."""
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets must be the same, too
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "bench.count", *sys.argv[1:]])
    found = {case.name: asyncio.run(count(case)) for case in CASES}
    known = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    for name, counts in found.items():
        print(f"{name:36} {counts['bytecodes']:10,.1f} bytecodes {counts['calls']:8,.2f} calls")
    if renew:
        BASELINE.write_text(json.dumps(known | {VERSION: found}, indent=2) + "\n")
        print(f"the baseline of Python {VERSION} is renewed: {BASELINE}")
    elif VERSION not in known:
        raise SystemExit(f"no baseline for Python {VERSION}: make one with --renew")
    elif worse := compare(found, known[VERSION]):
        raise SystemExit(
            "\n".join(worse) + "\nMake it cheaper; or, if it is worth that, say so in the commit"
            " and renew the baseline: python -m bench.count --renew"
        )
    else:
        print("no case does more than 10 % over the baseline")


if __name__ == "__main__":
    main()
