"""Who may look: decides about requests, signs people in and out, and makes it durable."""

import asyncio
import logging
import math
import secrets
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import partial

from gateway.core.accounts import AccountError, Accounts, SignIn, prepared
from gateway.core.attempts import Attempts, Throttle, origin_of
from gateway.core.clock import Now
from gateway.core.enrolment import token_hash
from gateway.core.facts import Fact, TokenSet, UserSet
from gateway.core.group import Group
from gateway.core.readings import NS_PER_S
from gateway.passwords import Passwords
from gateway.permit import Permit, SignInRefused, TooManyAttempts
from gateway.pipeline import Pipeline

log = logging.getLogger(__name__)

PER_ADDRESS = (10, 10 * NS_PER_S)
PER_USER = (10, 30 * NS_PER_S)
"""Attempts at once, and in how much time one comes back."""
STORED_S = 2.0
MOST_FAMILIAR = 1024


class Authority:
    """Satisfies `gateway.access.Doors`.

    pass_: a token that holds as long as this process, for commands on this machine.
    """

    def __init__(
        self,
        accounts: Accounts,
        *,
        pipeline: Pipeline,
        clock: Callable[[], Now],
        cookie: str,
        trust_loopback: bool,
        changed: Callable[[], None],
        stored: Callable[[], None],
    ) -> None:
        """`changed` is called when somebody's leave to look may have ended, `stored` once a change
        of users or tokens is on disk."""
        self.cookie = cookie
        self.passwords = Passwords()
        self.pass_ = secrets.token_urlsafe(32)
        self.refused = 0
        self._pass_hash = token_hash(self.pass_)
        self._accounts = accounts
        self._pipeline = pipeline
        self._clock = clock
        self._trust_loopback = trust_loopback
        self._changed = changed
        self._stored = stored
        bounds = (PER_ADDRESS, PER_USER)
        self._familiar: dict[tuple[str, str], None] = {}
        self._throttle = Throttle(*(Attempts(burst=n, interval=ns) for n, ns in bounds))

    # -- who may look -----------------------------------------------------------------------

    @property
    def has_users(self) -> bool:
        return bool(self._accounts.users)

    @property
    def signed_in(self) -> int:
        """How many sign-ins there are."""
        now = self._clock().mono
        return sum(one.ends > now for one in self._accounts.sign_ins.values())

    def by_token(self, token: str) -> Permit | None:
        """The permit of a script."""
        hashed = token_hash(token)
        if hashed == self._pass_hash:
            return Permit()
        found = self._accounts.token(hashed)
        return None if found is None else Permit(partial(self._token_left, found))

    def _token_left(self, token: TokenSet) -> float:
        return math.inf if self._accounts.tokens.get(token.name) is token else 0.0

    def by_cookie(self, secret: str) -> Permit | None:
        """The permit of a browser that is signed in."""
        found = self._accounts.signed_in(token_hash(secret), self._clock())
        if found is None:
            return None
        return Permit(partial(self._sign_in_left, found), found.user, found.expires)

    def _sign_in_left(self, one: SignIn) -> float:
        if self._accounts.sign_ins.get(one.hash) is not one:
            return 0.0
        return max(0.0, (one.ends - self._clock().mono) / NS_PER_S)

    def by_place(self) -> Permit | None:
        """The permit of anybody on this machine."""
        return Permit(self._place_left) if self._place_left() else None

    def _place_left(self) -> float:
        return math.inf if self._trust_loopback or not self._accounts.users else 0.0

    # -- in and out -------------------------------------------------------------------------

    async def sign_in(self, user: str, password: str, *, address: str) -> tuple[str, int]:
        """The secret for the cookie, and for how many seconds it is good.

        Raises SignInRefused or TooManyAttempts. Whether it is on disk yet does not matter: while
        the disk is full people must be able to look.
        """
        keys = self._keys(user, address)
        wait = self._throttle.take(keys, self._clock().mono)
        if wait:
            self._refuse(user, address, "too many attempts")
            raise TooManyAttempts("there were too many attempts", -(-wait // NS_PER_S))
        secret = secrets.token_urlsafe(32)
        facts = await self._checked(user, password, token_hash(secret))
        if facts is None:
            self._refuse(user, address, "wrong name or password")
            raise SignInRefused("the name or the password is wrong")
        self._throttle.give_back(keys)
        self._remember(user, address)
        self._pipeline.change(lambda group: group.add(*facts))
        log.info("signed in", extra={"user": user, "address": address})
        permit = self.by_cookie(secret)
        return secret, int(permit.left()) if permit else 0

    def _keys(self, user: str, address: str) -> tuple[Hashable, Hashable]:
        """Who signed in from there before has a budget of his own: others cannot use it up."""
        origin = origin_of(address)
        return origin, (origin, user) if (origin, user) in self._familiar else user

    def _remember(self, user: str, address: str) -> None:
        self._familiar[origin_of(address), user] = None
        if len(self._familiar) > MOST_FAMILIAR:
            del self._familiar[next(iter(self._familiar))]

    async def _checked(self, user: str, password: str, hashed: str) -> list[Fact] | None:
        try:
            given = prepared(password)
        except AccountError:  # no user has such a password
            return None
        known: UserSet | None = self._accounts.users.get(user)
        right = await self.passwords.match(known and known.password, given)
        if not right or known is None:
            return None
        return self._accounts.sign_in(hashed, user=user, password=known.password, now=self._clock())

    def _refuse(self, user: str, address: str, why: str) -> None:
        """Of unknown names nothing is logged: people type their password there."""
        self.refused += 1
        named = user if user in self._accounts.users else "(unknown)"
        log.warning("sign-in refused", extra={"user": named, "address": address, "why": why})

    async def sign_out(self, secret: str) -> None:
        """End a sign-in. It holds at once; on disk it is as soon as the disk takes it."""
        facts = self._accounts.sign_out(token_hash(secret))
        if not facts:
            return
        self._changed()
        with suppress(TimeoutError):
            async with asyncio.timeout(STORED_S):
                await self._pipeline.submit(lambda group: group.add(*facts))

    # -- what the command line asks ---------------------------------------------------------

    async def change(self, decide: Callable[[Accounts, Now], list[Fact]]) -> None:
        """Change users or tokens; durable when it returns. Raises AccountError."""

        def run(group: Group) -> None:
            group.add(*decide(self._accounts, group.now))
            self._changed()

        await self._pipeline.submit(run)
        self._stored()
