"""The leave to look that an HTTP request was given; what streams ask while they last."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from gateway.errors import GatewayError


def forever() -> float:
    return math.inf


@dataclass(frozen=True, slots=True)
class Permit:
    """`left`: for how many seconds it still holds; 0 once it expired or was revoked.

    user: who is signed in; None for a token, and for anybody on the gateway's own machine.
    expires: when a sign-in ends (Unix ms).
    """

    left: Callable[[], float] = forever
    user: str | None = None
    expires: int | None = None


PERMIT = web.RequestKey("permit", Permit)


def permit_of(request: web.Request) -> Permit:
    """What the request was given; without any doorkeeper everybody may look."""
    return request.get(PERMIT) or Permit()


class SignInRefused(GatewayError):
    """The name or the password is wrong."""


class TooManyAttempts(GatewayError):
    """No attempt is allowed before `wait_s` seconds have passed."""

    def __init__(self, text: str, wait_s: int) -> None:
        super().__init__(text)
        self.wait_s = wait_s
