import pytest

from gateway.core.addresses import asker


@pytest.mark.parametrize(
    ("peer", "forwarded", "who"),
    [
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["192.168.1.9"], "192.168.1.9"),
        ("::1", ["fd00::9"], "fd00::9"),
        ("127.0.0.1", ["9.9.9.9, 192.168.1.9"], "192.168.1.9"),
        ("127.0.0.1", ["9.9.9.9", "192.168.1.9"], "192.168.1.9"),
        ("192.168.1.9", ["9.9.9.9"], "192.168.1.9"),
        ("127.0.0.1", ["unknown"], "127.0.0.1"),
        ("127.0.0.1", ["9.9.9.9,"], "127.0.0.1"),
        ("", ["9.9.9.9"], ""),
    ],
)
def test_who_asks_is_told_by_the_nearest_proxy_alone(peer, forwarded, who):
    assert asker(peer, forwarded) == who
