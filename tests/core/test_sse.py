"""The bytes of the event stream, against a strict parser."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import sse
from tests.sse_parser import Event, Parser

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
hostile = st.text(st.sampled_from("\r\n\0: aé\u2028id:data"), max_size=20)


def parse(data: bytes) -> list[Event]:
    return Parser().feed(data)


def test_an_event_is_written_in_one_block():
    assert sse.render("summary", '{"v":1}', ident="k3-7") == (
        b'id: k3-7\nevent: summary\ndata: {"v":1}\n\n'
    )


def test_the_opening_is_a_comment_and_a_retry():
    parser = Parser()
    assert parser.feed(sse.opening(2500)) == []
    assert (parser.comments, parser.retry) == (["ok"], 2500)


@settings(max_examples=200)
@given(texts | hostile)
def test_data_survives_but_for_its_line_ends(data):
    (event,) = parse(sse.render("status", data))
    assert event.data == data.replace("\r\n", "\n").replace("\r", "\n")
    assert event.own_id is None


@settings(max_examples=200)
@given(hostile, hostile, hostile)
def test_nothing_begins_a_field_of_its_own(name, data, ident):
    (event,) = parse(sse.render(name, data, ident=ident, retry=7))
    drop = str.maketrans("", "", "\r\n\0")
    assert event.name == (name.translate(drop) or "message")
    assert event.own_id == ident.translate(drop)


def test_half_a_surrogate_pair_does_not_break_the_stream():
    assert parse(sse.render("alert", "a\ud800b"))[0].data == "a?b"


def test_every_split_of_a_stream_reads_alike():
    stream = (
        sse.opening(3000)
        + sse.render("hello", '{"v":1}')
        + sse.render("status", "zwei\nZeilen é \u2028", ident="k3-1")
        + sse.render("bye", "", retry=10)
    )
    whole = parse(stream)
    assert [event.name for event in whole] == ["hello", "status", "bye"]
    assert whole[1].data == "zwei\nZeilen é \u2028"
    for at in range(len(stream)):
        parser = Parser()
        assert parser.feed(stream[:at]) + parser.feed(stream[at:]) == whole
    parser = Parser()
    assert [event for byte in stream for event in parser.feed(bytes([byte]))] == whole


@given(st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True), st.integers(0, 2**63 - 1))
def test_ids_are_read_as_they_were_written(epoch, seq):
    text = sse.format_id(epoch, seq)
    assert len(text) < sse.MAX_ID
    assert sse.parse_id(text) == (epoch, seq)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "k3",
        "k3-",
        "-7",
        "k3--7",
        "K3-7",
        "k3-07",
        "k3-7 ",
        " k3-7",
        "k3-7\n",
        "k3-+7",
        "k3-٧",
        "k3-1e3",
        "k_3-7",
        "é-7",
        "k3-9223372036854775808",
        "k" * 38 + "-7",
        "{}",
    ],
)
def test_anything_else_is_no_id(text):
    assert sse.parse_id(text) is None


def test_a_chunk_says_its_length_in_bytes():
    assert sse.frame("é".encode() * 8) == b"10\r\n" + "é".encode() * 8 + b"\r\n"
    assert sse.frame(b"x", chunked=False) == b"x"
