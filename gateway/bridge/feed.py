"""One range of the outbox, read page by page: memory stays flat however deep the outbox is."""

from collections import deque

from gateway.bridge.ground import Outbox
from gateway.core.facts import OutboxPut

PAGE = 256


class Feed:
    """Open rows with after < id <= until, in order, each once."""

    def __init__(self, outbox: Outbox, *, after: int, until: int | None = None) -> None:
        self._outbox = outbox
        self._after = after
        self._until = until
        self._rows: deque[OutboxPut] = deque()
        self._dry = False

    def stir(self) -> None:
        """There may be new rows."""
        self._dry = False

    async def peek(self) -> OutboxPut | None:
        """The next row, None if there is none now. Raises StoreError."""
        if not self._rows and not self._dry:
            await self._load()
        return self._rows[0] if self._rows else None

    def take(self) -> OutboxPut:
        """The row that `peek` showed."""
        return self._rows.popleft()

    async def _load(self) -> None:
        self._dry = True  # before the query: a stir that comes during it must not be lost
        try:
            page = await self._outbox.outbox_after(self._after, PAGE, until=self._until)
        except BaseException:
            self._dry = False
            raise
        self._rows.extend(page)
        if page:
            self._after = page[-1].id
        if len(page) == PAGE:
            self._dry = False
