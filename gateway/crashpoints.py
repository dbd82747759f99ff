"""Named steps at which the fault campaign kills the process, to prove that none of them matters.

`SENSOR_GATEWAY_CRASH_AT=commit.written:3` ends the process with SIGKILL when it reaches that step
for the third time. Without the variable a step is a comparison of two texts.
"""

import os
import signal

VARIABLE = "SENSOR_GATEWAY_CRASH_AT"

STEPS = (
    "open.locked",
    "open.connected",
    "migrate.begun",
    "migrate.changed",
    "migrate.recorded",
    "migrate.committed",
    "open.migrated",
    "open.loaded",
    "open.marked",
    "commit.begun",
    "commit.written",
    "commit.committed",
    "commit.acknowledged",
    "commit.folded",
    "commit.published",
    "prune.begun",
    "prune.deleted",
    "prune.committed",
    "compact.read",
    "compact.begun",
    "compact.inserted",
    "compact.deleted",
    "compact.committed",
    "retain.begun",
    "retain.deleted",
    "retain.counted",
    "retain.committed",
    "vacuum.begun",
    "vacuum.done",
    "write.synced",
    "write.renamed",
    "keep.built",
    "keep.renamed",
    "build.begun",
    "build.copied",
    "build.committed",
    "replace.begun",
    "replace.noted",
    "replace.moved",
    "replace.aside",
    "replace.placed",
    "replace.cleared",
    "salvage.begun",
    "salvage.written",
    "salvage.committed",
    "salvage.compared",
    "salvage.told",
    "salvage.forgotten",
    "salvage.synced",
    "salvage.placed",
    "backup.begun",
    "backup.copied",
    "backup.synced",
    "backup.placed",
    "restore.copied",
    "restore.renewed",
    "restore.built",
    "close.begun",
    "close.marked",
    "close.closed",
)
"""Every step that the code names; tests/faults compares the two, and crashes at each."""

_step, _, _nth = os.environ.get(VARIABLE, "").partition(":")
_left = [int(_nth or 1)]


def reached(step: str) -> None:
    """Die here, if it is this step's turn."""
    if step == _step:
        _left[0] -= 1
        if not _left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
