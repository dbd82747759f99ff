"""Our bytes of properties, read by paho."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.core.broker import Outgoing
from gateway.mqtt.properties import packed

TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), max_size=6).map(tuple)


@given(
    st.none() | TEXTS,
    st.none() | st.binary(max_size=300),
    st.none() | st.integers(0, 2**32 - 1),
    PAIRS,
)
def test_paho_reads_what_we_pack(
    content_type: str | None,
    correlation: bytes | None,
    expiry_s: int | None,
    user: tuple[tuple[str, str], ...],
) -> None:
    message = Outgoing(
        topic="t",
        payload=b"",
        content_type=content_type,
        correlation=correlation,
        expiry_s=expiry_s,
        user=user,
    )
    raw = packed(message).pack()
    read = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    _, size = read.unpack(raw)  # type: ignore[no-untyped-call]
    assert size == len(raw)
    assert getattr(read, "ContentType", None) == content_type
    assert getattr(read, "CorrelationData", None) == correlation
    assert getattr(read, "MessageExpiryInterval", None) == expiry_s
    assert tuple(getattr(read, "UserProperty", ())) == user


@pytest.mark.parametrize(
    "message",
    [
        Outgoing(topic="t", payload=b"", content_type="x" * 65_536),
        Outgoing(topic="t", payload=b"", correlation=b"x" * 65_536),
        Outgoing(topic="t", payload=b"", expiry_s=2**32),
        Outgoing(topic="t", payload=b"", expiry_s=-1),
        Outgoing(topic="t", payload=b"", user=(("id", "\ud800"),)),
    ],
    ids=["type", "correlation", "late", "past", "text"],
)
def test_what_cannot_be_said_is_refused(message: Outgoing) -> None:
    with pytest.raises((ValueError, struct.error)):
        packed(message)
