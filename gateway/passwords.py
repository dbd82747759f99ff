"""Passwords: hashed with Argon2id (RFC 9106), one at a time and off the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.permit import TooManyAttempts

T = TypeVar("T")

MOST_WAITING = 16
BUSY_S = 5
# 19 MiB and two passes: what OWASP names for machines with little memory. The cost stands in each
# hash, so that a greater one can be chosen later.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def hash_password(password: str) -> str:
    """The salted hash in PHC form; takes a tenth of a second or more."""
    return _HASHER.hash(password)


def matches(hashed: str, password: str) -> bool:
    try:
        return _HASHER.verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


class Passwords:
    """Compares on one thread: however many ask, it is one core and 19 MiB at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="passwords")
        self._waiting = 0
        self._decoy = ""

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def match(self, hashed: str | None, password: str) -> bool:
        """Whether it is the password. Without a user (None) it takes as long, and is False.

        Raises TooManyAttempts if too many wait already.
        """
        if self._waiting >= MOST_WAITING:
            raise TooManyAttempts("too many people sign in at the moment", BUSY_S)
        self._waiting += 1
        try:
            return await self._run(lambda: self._match(hashed, password))
        finally:
            self._waiting -= 1

    def _match(self, hashed: str | None, password: str) -> bool:
        if hashed is not None:
            return matches(hashed, password)
        self._decoy = self._decoy or hash_password("nobody's")
        matches(self._decoy, password)
        return False

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
