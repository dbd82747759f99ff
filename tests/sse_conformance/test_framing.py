"""The bytes of a stream: what any client must be able to read."""

import re

import pytest

from tests.processes import GatewayProcess
from tests.sse_conformance.node_clients import lint
from tests.sse_conformance.server import Server, ours
from tests.sse_conformance.stream import Stream
from tests.sse_parser import Event, Parser

ODD_TEXTS = ["", " leading space", ": a colon", "data: x", "é ü ☃ 🌡", "a\u2028b\u2029c", "\ttab "]
LINES = ["two\nlines", "\n", "ends\n", "a\r\nb", "a\rid: 99\revent: bye\rdata: x", "\n\nid: 7\n\n"]
UNSAFE_FOR_CORS = set('"():<>?@[\\]{}') | {chr(code) for code in [*range(9), *range(10, 32), 127]}


async def recorded(server: Server, count: int = 5) -> tuple[Stream, list[Event]]:
    """A stream that is over for us, with a few events in it."""
    async with server.ask() as stream:
        await server.settle(stream)
        return stream, await server.cause(stream, count)


def blocks(raw: bytes) -> list[bytes]:
    """What stands between blank lines; a last one that is not over is left out."""
    return re.split(rb"(?:\r\n|\n|\r){2}", raw)[:-1]


@pytest.mark.case(1)
async def test_lines_end_in_lf_and_a_blank_line_ends_each_event(server: Server) -> None:
    stream, events = await recorded(server)
    raw = stream.parser.raw
    assert not raw.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in raw
    assert sum(b"data" in block for block in blocks(raw)) >= len(events)


@pytest.mark.case(2)
async def test_line_ends_within_data_begin_no_field(publishing: Server) -> None:
    async with publishing.ask() as stream:
        await publishing.settle(stream)
        await publishing.publish(*LINES, "the end of lines")
        found = await publishing.take(stream, len(LINES) + 1)
    shown = [publishing.text(event).rstrip("\n") for event in found]
    wanted = [re.sub("\r\n?", "\n", text).rstrip("\n") for text in LINES]
    assert [re.sub("\r\n?", "\n", text) for text in shown[:-1]] == wanted
    assert len({event.id for event in found}) == len(found)
    assert len({event.name for event in found}) == 1


@pytest.mark.case(3)
async def test_ids_are_whole_and_safe_to_send_back(server: Server) -> None:
    _, events = await recorded(server)
    for event in events:
        assert event.id.isprintable()
        assert len(event.id.encode()) <= 128, "a browser would ask for permission (CORS) first"
        assert not UNSAFE_FOR_CORS & set(event.id), "the same"
        assert event.name not in {"open", "error"}, "EventSource has events of its own so named"


@pytest.mark.case(4)
async def test_odd_texts_come_out_as_they_went_in(publishing: Server) -> None:
    texts = ODD_TEXTS if publishing.field else [text for text in ODD_TEXTS if text]
    async with publishing.ask() as stream:
        await publishing.settle(stream)
        await publishing.publish(*texts)
        found = await publishing.take(stream, len(texts))
    assert [publishing.text(event) for event in found] == texts


@pytest.mark.case(5)
async def test_another_parser_has_nothing_to_complain_about(server: Server) -> None:
    stream, events = await recorded(server)
    raw = stream.parser.raw
    raw = raw[: raw.rindex(b"\n\n") + 2]
    found = await lint(raw)
    assert found["errors"] == []
    whole = Parser().feed(raw)
    assert [[name, data] for name, data, _ in found["events"]] == [[e.name, e.data] for e in whole]
    assert {event.data for event in events} <= {data for _, data, _ in found["events"]}


@pytest.mark.case(6)
async def test_wherever_the_network_cuts_it_a_stream_reads_alike(server: Server) -> None:
    stream, _ = await recorded(server)
    raw = stream.parser.raw[-3000:]
    whole = _lenient(raw)
    assert whole, "not a single event can be read"
    for at in range(len(raw)):
        assert _lenient(raw[:at], raw[at:]) == whole
    single = await lint(raw, pieces=1)
    assert single == await lint(raw)


def _lenient(*pieces: bytes) -> list[Event]:
    """Begins at a line's start, perhaps within a character."""
    begin = pieces[0].find(b"\n") + 1 if pieces[0] else 0
    parser = Parser()
    try:
        return [event for piece in (pieces[0][begin:], *pieces[1:]) for event in parser.feed(piece)]
    except (AssertionError, UnicodeDecodeError):
        return []


@pytest.mark.case(7)
async def test_an_id_stands_in_the_block_of_its_event(server: Server) -> None:
    stream, events = await recorded(server)
    held = [
        block for block in blocks(stream.parser.raw) if re.search(rb"^id:", block, re.MULTILINE)
    ]
    for block in held:
        assert re.search(rb"^data", block, re.MULTILINE), (
            "an id alone moves the cursor past nothing"
        )
    ids = [re.search(rb"^id: ?(.*)$", block, re.MULTILINE)[1].decode() for block in held]
    begin = ids.index(events[0].id)  # more may have come with the last one
    assert [event.id for event in events] == ids[begin : begin + len(events)]


@pytest.mark.case(8)
async def test_no_event_is_left_half_told_at_the_end(alone: GatewayProcess) -> None:
    server = ours(alone)
    async with server.ask() as stream:
        await server.cause(stream, 3)
        await server.publish(*["x" * 9000] * 40)
        alone.process.terminate()
        found = await stream.rest()
        assert stream.parser.raw.endswith(b"\n\n")
        assert found[-1].name == "bye"


@pytest.mark.case(2, 3)
async def test_the_text_form_is_as_safe(gateway: GatewayProcess) -> None:
    server = ours(gateway, device="texts")
    async with server.ask(query="format=text&device=texts") as stream:
        await stream.until("snapshot")
        await server.publish(*LINES, *ODD_TEXTS)
        found = [e for e in await server.take(stream, len(LINES + ODD_TEXTS)) if e.name == "alert"]
    assert all(re.fullmatch(r"[a-z0-9-]{1,39}", event.id) for event in found)
    assert not any("\n" in event.data for event in found)
