"""What follows a start: precautions against damage, the rest of a check, a salvage to its end."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, repeat
from typing import Any

from gateway.core import facts as f
from gateway.core.group import Group
from gateway.core.reopened import reopened
from gateway.core.windows import Window
from gateway.crashpoints import reached
from gateway.errors import StoreBusy, StoreCorrupt, StoreFull, StoreUnavailable
from gateway.pipeline import Pipeline
from gateway.revisions import Revisions
from gateway.store.gaps import Gap
from gateway.store.rescue import Rescue
from gateway.store.salvage import Dues, State

log = logging.getLogger(__name__)

RETRY_S = 5.0
FIRST_S, RENEW_S = 60.0, 3600.0
DAMAGE = 3
"""The reason of a loss that a damaged database caused (docs/wire.md)."""


class Aftercare:
    """Works in the background until the database is as whole as it can be, and keeps it so."""

    def __init__(
        self,
        *,
        rescue: Rescue,
        pipeline: Pipeline,
        revisions: Revisions,
        windows: Sequence[Window],
        gateway: str,
    ) -> None:
        self._rescue = rescue
        self._pipeline = pipeline
        self._revisions = revisions
        self._windows = windows
        self._gateway = gateway
        self._hurry = asyncio.Event()

    def renew(self) -> None:
        """Renew the precautions soon: users or tokens changed, and damage must not undo that."""
        self._hurry.set()

    async def run(self, *, unclean: bool) -> None:
        """Work until cancelled. Raises StoreCorrupt once damage is found.

        Revisions wait for the salvage: they would miss what it brings back.
        """
        await self._again(self._rescue.keep_precautions)
        await self._again(self.salvage)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._revisions.run(), name="revisions")
            if unclean:
                tasks.create_task(self._again(self._rescue.check), name="check")
            for pause_s in chain((FIRST_S,), repeat(RENEW_S)):
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._hurry.wait()
                self._hurry.clear()
                await self._again(self._rescue.keep_precautions)

    async def _again(self, work: Any) -> None:
        """Do it; while the disk does not let us, again."""
        while True:
            try:
                return await work()  # type: ignore[no-any-return]
            except (StoreFull, StoreUnavailable, StoreBusy) as error:
                log.warning("will be tried again: %s", error)
                await asyncio.sleep(RETRY_S)

    async def salvage(self) -> None:
        """Bring back what a damaged database still holds, and say what is lost."""
        state = await self._rescue.state()
        if state is None:
            await self._rescue.forget()
            return
        log.warning("salvaging", extra={"file": state.file})
        dues: Dues = partial(reopened, self._windows, state.watermark_ns)
        async for piece in self._rescue.salvage(state, dues):
            state = piece.state
            self._revisions.add(piece.dues)
        gaps = await self._rescue.gaps(state)
        reached("salvage.compared")
        await self._pipeline.submit(partial(self._finish, state, gaps))
        reached("salvage.told")
        await self._rescue.forget()
        reached("salvage.forgotten")
        log.warning(
            "salvaged what could be read; the damaged file stays: delete it when you like",
            extra={"file": state.file, "back": state.back, "lost": state.bad, "gaps": len(gaps)},
        )

    def _finish(self, state: State, gaps: list[Gap], group: Group) -> None:
        """Losses, the alert, and the end of the salvage: one transaction."""
        registry = group.registry
        for gap in gaps:
            loss = f.Loss(registry.number("loss"), *gap, DAMAGE, None, group.now.ms)
            registry.by_id[gap.device].losses.append(loss)
            group.add(loss)
        group.add(f.MetaSet("salvage", ""))
        body = {
            "v": 1,
            "dev": self._gateway,
            "source": "gateway",
            "name": "store",
            "state": "salvaged",
            "detail": {"file": state.file, "back": state.back, "lost": state.bad},
            "t": group.now.ms,
        }
        group.publish("alert", self._gateway, body)
        if group.rules.upstream:
            group.outgoing(group.rules.upstream.alert, body)


async def until_damaged(damaged: asyncio.Event) -> None:
    """Wait for damage, and end the gateway: the next start sets the database aside."""
    await damaged.wait()
    raise StoreCorrupt(
        "the database is damaged: start the gateway again; it sets the file aside, goes on with a "
        "new one and brings back what can be read"
    )
