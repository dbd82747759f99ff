"""The broker's acknowledgements on their way to the disk."""

from collections.abc import Callable

from gateway.core.facts import Fact, OutboxDone, OutboxPut, OutboxReopened
from gateway.core.group import Group
from gateway.core.readings import NS_PER_S

PATIENCE = 10 * NS_PER_S
MOST = 500


class Acks:
    """Acknowledgements wait for a commit that writes to the outbox anyway, ten seconds at most.

    What a crash takes from here is only sent again. The time of an acknowledgement is that of its
    commit.
    """

    def __init__(self, post: Callable[[Fact], None]) -> None:
        """`post` takes every other fact, at once."""
        self.hurry = False
        self._post = post
        self._rows: list[int] = []
        self._since: int | None = None

    def post(self, fact: Fact) -> None:
        if isinstance(fact, OutboxDone):
            self._rows.append(fact.id)
        else:
            self._post(fact)

    def tick(self, group: Group) -> None:
        """Add what waits, if its time has come."""
        if not self._rows:
            return
        if self._since is None:
            self._since = group.now.mono
        late = group.now.mono - self._since >= PATIENCE
        if self.hurry or late or len(self._rows) >= MOST or _puts(group):
            self.flush(group)

    def flush(self, group: Group) -> None:
        group.add(*(OutboxDone(group.now.ms, row) for row in self._rows))
        self._rows, self._since = [], None

    def reopen(self, group: Group, since: int) -> None:
        """Let everything be sent again that was acknowledged from `since` (Unix ms) on."""
        self.flush(group)
        group.add(OutboxReopened(since, group.now.ms))


def _puts(group: Group) -> bool:
    return any(isinstance(fact, OutboxPut) for fact in group.facts)
