"""Who may look: users with passwords, scripts with tokens, and who is signed in. Pure.

What changes something gives the facts to commit, or raises `AccountError` with a text for people.
Secrets never come here: a password as its salted hash, tokens and cookies as SHA-256.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gateway.core.clock import Now
from gateway.core.facts import (
    Fact,
    SignedIn,
    SignedOut,
    TokenRevoked,
    TokenSet,
    UserRemoved,
    UserSet,
)
from gateway.core.readings import NS_PER_MS
from gateway.errors import GatewayError

SHORTEST, LONGEST = 8, 256
SIGN_INS = 32
"""How many sign-ins a user may have at a time; one more ends the oldest."""
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


class AccountError(GatewayError):
    """The user or token cannot be added or changed like this."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """A browser that may look until `ends`, a monotonic time in ns; `expires` is the same in ms.

    The monotonic clock decides: setting the system's clock back makes no sign-in longer.
    """

    hash: str
    user: str
    expires: int
    ends: int


def prepared(password: str) -> str:
    """The password as it is hashed (RFC 8265 §4.2: NFC). Raises AccountError if it is no good."""
    found = unicodedata.normalize("NFC", password)
    if any("\ud800" <= character <= "\udfff" for character in found):
        raise AccountError("a password is Unicode text")
    if not SHORTEST <= len(found) <= LONGEST:
        raise AccountError(f"a password has {SHORTEST} to {LONGEST} characters")
    return found


class Accounts:
    """All users, tokens and sign-ins. `length`: how long a sign-in lasts (ns)."""

    def __init__(self, *, length: int) -> None:
        self.users: dict[str, UserSet] = {}
        self.tokens: dict[str, TokenSet] = {}
        self.sign_ins: dict[str, SignIn] = {}
        self._by_hash: dict[str, TokenSet] = {}
        self._length = length

    def restore(
        self,
        users: Iterable[UserSet],
        tokens: Iterable[TokenSet],
        sign_ins: Iterable[SignedIn] = (),
        *,
        now: Now = Now(0, 0),  # noqa: B008 - a tuple
    ) -> "Accounts":
        """Go on with what was stored. No sign-in gets longer than `length` from now."""
        self.users.update((user.name, user) for user in users)
        for token in tokens:
            self._keep(token)
        for row in sign_ins:
            left = min((row.expires - now.ms) * NS_PER_MS, self._length)
            found = SignIn(row.hash, row.user, now.ms + left // NS_PER_MS, now.mono + left)
            self.sign_ins[row.hash] = found
        return self

    # -- users ------------------------------------------------------------------------------

    def add_user(self, name: str, password: str, *, now_ms: int) -> list[Fact]:
        _check_name("user", name)
        if name in self.users:
            raise AccountError(
                f"the user {name} exists: `gateway user password` sets a new password"
            )
        self.users[name] = UserSet(name, password, now_ms)
        return [self.users[name]]

    def change_password(self, name: str, password: str) -> list[Fact]:
        """A new password; whoever is signed in under the old one is signed out."""
        self.users[name] = self._user(name)._replace(password=password)
        return [self.users[name], *self.sign_out_all(name)]

    def remove_user(self, name: str) -> list[Fact]:
        ended = self.sign_out_all(name)
        del self.users[name]
        return [*ended, UserRemoved(name)]

    def _user(self, name: str) -> UserSet:
        if name not in self.users:
            raise AccountError(f"there is no user {name}: `gateway user list` shows all")
        return self.users[name]

    # -- tokens -----------------------------------------------------------------------------

    def add_token(self, name: str, hashed: str, *, now_ms: int) -> list[Fact]:
        _check_name("token", name)
        if name in self.tokens:
            raise AccountError(
                f"the token {name} exists: choose another name, or `gateway token revoke` it first"
            )
        token = self._keep(TokenSet(name, hashed, now_ms))
        return [token]

    def revoke_token(self, name: str) -> list[Fact]:
        if name not in self.tokens:
            raise AccountError(f"there is no token {name}: `gateway token list` shows all")
        del self._by_hash[self.tokens.pop(name).hash]
        return [TokenRevoked(name)]

    def _keep(self, token: TokenSet) -> TokenSet:
        self.tokens[token.name] = self._by_hash[token.hash] = token
        return token

    def token(self, hashed: str) -> TokenSet | None:
        return self._by_hash.get(hashed)

    # -- sign-ins ---------------------------------------------------------------------------

    def sign_in(self, hashed: str, *, user: str, password: str, now: Now) -> list[Fact] | None:
        """Begin a sign-in. None if the user's password is no longer the one that was checked."""
        known = self.users.get(user)
        if known is None or known.password != password:
            return None
        ended = self._forget(self._surplus(user, now))
        expires = now.ms + self._length // NS_PER_MS
        self.sign_ins[hashed] = SignIn(hashed, user, expires, now.mono + self._length)
        return [*ended, SignedIn(hashed, user, now.ms, expires)]

    def _surplus(self, user: str, now: Now) -> list[SignIn]:
        """Those whose time is over, and the user's oldest if there are too many."""
        over = [one for one in self.sign_ins.values() if one.ends <= now.mono]
        own = [one for one in self._of(user) if one.ends > now.mono]
        own.sort(key=lambda one: one.ends)
        return over + own[: max(0, len(own) + 1 - SIGN_INS)]

    def signed_in(self, hashed: str, now: Now) -> SignIn | None:
        """The sign-in of a cookie, if its time is not over."""
        found = self.sign_ins.get(hashed)
        return found if found is not None and now.mono < found.ends else None

    def sign_out(self, hashed: str) -> list[Fact]:
        """End one sign-in; no fact if there is none."""
        found = self.sign_ins.get(hashed)
        return [] if found is None else self._forget([found])

    def sign_out_all(self, user: str) -> list[Fact]:
        """End all sign-ins of a user."""
        self._user(user)
        return self._forget(self._of(user))

    def _of(self, user: str) -> list[SignIn]:
        return [one for one in self.sign_ins.values() if one.user == user]

    def _forget(self, ended: Iterable[SignIn]) -> list[Fact]:
        facts: list[Fact] = []
        for one in ended:
            del self.sign_ins[one.hash]
            facts.append(SignedOut(one.hash))
        return facts


Change = Callable[[Accounts, str, str, int], list[Fact]]
"""Of accounts, by name, with the hash of a secret (or ""), at a time (ms)."""

CHANGES: dict[str, Change] = {
    "user.add": lambda accounts, name, secret, ms: accounts.add_user(name, secret, now_ms=ms),
    "user.password": lambda accounts, name, secret, _: accounts.change_password(name, secret),
    "user.remove": lambda accounts, name, *_: accounts.remove_user(name),
    "user.sign-out": lambda accounts, name, *_: accounts.sign_out_all(name),
    "token.add": lambda accounts, name, secret, ms: accounts.add_token(name, secret, now_ms=ms),
    "token.revoke": lambda accounts, name, *_: accounts.revoke_token(name),
}
"""What the command line can change, whether the gateway runs or not."""


def _check_name(what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise AccountError(
            f"{name!r} is no {what} name: 1 to 64 letters, digits, '.', '_', '@' or '-'"
        )
