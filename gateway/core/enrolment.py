"""Who may connect: the rules for adding, changing and removing devices. Pure.

Each function gives the fact to commit, or raises `EnrolmentError` with a text for people.
"""

import hashlib
import re
from typing import Protocol

from gateway.core.facts import DeviceAccess, DeviceAdded, DeviceRemoved
from gateway.errors import GatewayError


class EnrolmentError(GatewayError):
    """The device cannot be added or changed like this."""


class Enrolled(Protocol):
    """A device that is known; `core.registry.Device` and `store.DeviceRow` are such."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def token_hash(self) -> str | None: ...
    @property
    def disabled(self) -> bool: ...
    @property
    def removed(self) -> bool: ...


def token_hash(token: str) -> str:
    """SHA-256 in hex: tokens are 256 random bits, so a slow hash would add nothing.

    Headers that are not UTF-8 come as surrogates; they have a hash, too, and match nothing.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def add(
    found: Enrolled | None,
    *,
    name: str,
    number: int,
    hashed: str | None,
    speaks_for_others: bool,
    now_ms: int,
) -> DeviceAdded:
    """A new device, numbered `number`; one that was removed comes back under its old number."""
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", name):
        raise EnrolmentError(
            f"{name!r} is no device id: 1 to 64 letters, digits, '.', '_', ':' or '-'"
        )
    if found is not None and not found.removed and found.token_hash is not None:
        raise EnrolmentError(f"the device {name} exists: `gateway device rotate` renews its token")
    known = number if found is None else found.id
    return DeviceAdded(known, name, hashed, speaks_for_others, now_ms)


def rotate(found: Enrolled | None, *, name: str, hashed: str) -> DeviceAccess:
    """A new token; the old one is worth nothing from now on."""
    device = _existing(found, name)
    return DeviceAccess(hashed, device.disabled, device.id)


def disable(found: Enrolled | None, *, name: str, disabled: bool) -> DeviceAccess:
    """Shut a device out (`disabled`) or let it in again, with its token unchanged."""
    device = _existing(found, name)
    return DeviceAccess(device.token_hash, disabled, device.id)


def remove(found: Enrolled | None, *, name: str) -> DeviceRemoved:
    """Forget the token; readings stay."""
    return DeviceRemoved(_existing(found, name).id)


def _existing(found: Enrolled | None, name: str) -> Enrolled:
    if found is None or found.removed:
        raise EnrolmentError(f"there is no device {name}: `gateway device list` shows all")
    return found
