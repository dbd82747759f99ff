"""The long form of the campaign: `make soak SECONDS=1800 SEED=1`.

Rounds of kills, crashes at every named step and power cuts follow one another until the time is
over, each round on a new store and with a seed of its own. The first round of each kind is always
finished. A breach keeps its folder, and ends the campaign with exit code 1.
"""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.faults.campaign import Report, kills
from tests.faults.powercut import cuts, record, survive
from tests.faults.triggers import TRIGGERS, crash_at_all

ATTACKS = 24
CUT_SEEDS = 2

Round = Callable[[Path, int], Awaitable[Report]]


async def killing(folder: Path, seed: int) -> Report:
    return await kills(folder, seed, attacks=ATTACKS, broker=seed % 2 == 0, checks=2)


async def crashing(folder: Path, seed: int) -> Report:
    """Every step that a gateway under load reaches; tests have the others."""
    report = Report()
    for group in sorted(TRIGGERS):
        place = folder / group
        place.mkdir()
        report.merge(await crash_at_all(place, group, seed=seed, long=True))
    return report


async def cutting(folder: Path, seed: int) -> Report:
    """Every sync of a recorded run, with several seeds."""
    recording, ledger = await record(folder, seed, seconds=2)
    report, rng = Report(), random.Random(seed)
    for cut in cuts(recording):
        for _ in range(CUT_SEEDS):
            await survive(cut, ledger, folder / "cut", rng, report)
    return report


ROUNDS: tuple[tuple[str, Round], ...] = (
    ("kills", killing),
    ("power cuts", cutting),
    ("kills", killing),
    ("crash points", crashing),
)


async def soak(seconds: float, seed: int, keep: Path) -> Report:
    """Rounds until the time is over. Progress goes to stdout, a line a round."""
    begun, total, number = time.monotonic(), Report(), 0
    while number < len(ROUNDS) or time.monotonic() - begun < seconds:
        name, play = ROUNDS[number % len(ROUNDS)]
        folder = keep / f"{number}"
        folder.mkdir()
        total.merge(await _played(play, folder, seed + number))
        passed = time.monotonic() - begun
        done = ", ".join(f"{what} {n}" for what, n in sorted(total.attacks.items()))
        print(
            f"[{passed:6.0f} s] round {number + 1}, {name}, seed {seed + number}: "
            f"{'good' if total.verdict.good else 'BREACH'}; so far {done}; "
            f"acknowledged {total.verdict.acknowledged}",
            flush=True,
        )
        if not total.verdict.good:
            print(f"its files are in {folder}", flush=True)
            break
        shutil.rmtree(folder)
        number += 1
    return total


async def _played(play: Round, folder: Path, seed: int) -> Report:
    """A gateway that ends, hangs or does not start is a breach like any other."""
    try:
        return await play(folder, seed)
    except Exception:  # noqa: BLE001 - whatever it is, it is told with its traceback
        report = Report()
        report.verdict.found.append(traceback.format_exc())
        return report


def main() -> int:
    asked = argparse.ArgumentParser(prog="soak", description=__doc__)
    asked.add_argument("--seconds", type=float, default=1800)
    asked.add_argument("--seed", type=int, default=1)
    options = asked.parse_args()
    keep = Path(tempfile.mkdtemp(prefix="soak"))
    report = asyncio.run(soak(options.seconds, options.seed, keep))
    print(report)
    for text in report.verdict.found:
        print(text)
    if report.verdict.good:
        shutil.rmtree(keep)
        print("nothing was found")
    return 0 if report.verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
