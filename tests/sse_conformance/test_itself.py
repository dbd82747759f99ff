"""The suite against a server of another make: right, it passes; wrong, the right case fails."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.sse_conformance import test_access as access
from tests.sse_conformance import test_clients as clients
from tests.sse_conformance import test_framing as framing
from tests.sse_conformance import test_http as http
from tests.sse_conformance import test_resume as resume
from tests.sse_conformance.reference import reference
from tests.sse_conformance.server import Passing, Server

pytestmark = pytest.mark.usefixtures("only_ours")

CASES: list[tuple[int, str, Any]] = [
    (1, "crlf", framing.test_lines_end_in_lf_and_a_blank_line_ends_each_event),
    (1, "bom", framing.test_lines_end_in_lf_and_a_blank_line_ends_each_event),
    (2, "cr", framing.test_line_ends_within_data_begin_no_field),
    (3, "a colon in ids", framing.test_ids_are_whole_and_safe_to_send_back),
    (4, "eats a space", framing.test_odd_texts_come_out_as_they_went_in),
    (5, "unknown field", framing.test_another_parser_has_nothing_to_complain_about),
    (6, "unknown field", framing.test_wherever_the_network_cuts_it_a_stream_reads_alike),
    (7, "id alone", framing.test_an_id_stands_in_the_block_of_its_event),
    (9, "late headers", http.test_the_headers_come_before_anything_happens),
    (10, "waits at HEAD", http.test_head_gets_headers_and_no_stream),
    (10, "any method", http.test_other_methods_get_an_answer_that_ends),
    (11, "lets all in", access.test_without_its_header_nobody_is_let_in),
    (12, "gzip", http.test_a_client_that_takes_gzip_gets_the_stream_as_it_is),
    (13, "cached", http.test_no_cache_keeps_the_stream),
    (15, "again", resume.test_a_cursor_brings_what_followed_it),
    (15, "forgets", resume.test_a_cursor_brings_what_followed_it),
    (15, "forgets", clients.test_httpx_sse_reads_what_was_published_and_resumes),
    (15, "query wins", resume.test_a_cursor_in_the_query_does_as_well_and_the_header_wins),
    (16, "400", resume.test_a_cursor_that_means_nothing_ends_no_stream),
    (17, "late", resume.test_whoever_joins_while_much_happens_gets_each_event_once),
    (18, "from what was sent", resume.test_a_stream_cut_anywhere_goes_on_from_the_last_whole_event),
    (22, "lets all in", access.test_a_stream_ends_when_its_leave_is_taken_away),
    (28, "in step", http.test_who_does_not_read_holds_nobody_up),
    (33, "one ends all", http.test_who_leaves_at_any_moment_disturbs_nobody),
    (37, "never looks again", access.test_a_stream_ends_when_its_leave_is_taken_away),
    (39, "again", resume.test_an_eventsource_of_another_make_misses_nothing),
]
FAILURES = (AssertionError, TimeoutError, ExceptionGroup, EOFError, httpx.HTTPError)
GIVEN = {
    resume.test_a_cursor_brings_what_followed_it: [3],
    resume.test_a_cursor_that_means_nothing_ends_no_stream: ["nonsense"],
    http.test_other_methods_get_an_answer_that_ends: ["PUT"],
}


@pytest.mark.parametrize(("number", "fault", "case"), CASES, ids=lambda it: str(it)[:20])
async def test_each_fault_fails_its_case(number: int, fault: str, case: Any) -> None:
    assert number in {n for mark in case.pytestmark for n in mark.args if mark.name == "case"}
    async with reference() as right:
        await case(_given(right, case), *GIVEN.get(case, []))
    async with reference(fault) as wrong:
        wrong.patience = 1
        with pytest.raises(FAILURES):
            async with asyncio.timeout(2):
                await case(_given(wrong, case), *GIVEN.get(case, []))


def _given(server: Server, case: Any) -> Server | Passing:
    if case is not access.test_a_stream_ends_when_its_leave_is_taken_away:
        return server
    close = f"curl -sfX POST {server.url.replace('/events', '/close')}"
    return Passing(server, server.headers, close)
