"""IP addresses of clients, as sockets and proxies write them."""

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address


def is_address(text: str) -> bool:
    """Whether this is an IP address and not a name."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(text: str | None) -> bool:
    """Whether this is an address of this machine alone."""
    if text is None or not is_address(text):
        return False
    found = ip_address(text)
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        return found.ipv4_mapped.is_loopback
    return found.is_loopback


def asker(peer: str, forwarded: Sequence[str]) -> str:
    """Who asks: the peer, or for whom a proxy on this machine does.

    `forwarded` are the values of X-Forwarded-For. Of its addresses only the last is the proxy's
    own word; those before it are what the client claims.
    """
    last = ",".join(forwarded).rpartition(",")[2].strip()
    return last if is_loopback(peer) and is_address(last) else peer
