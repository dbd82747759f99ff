"""The suite against a server of another make: right, it passes; wrong, the right case fails."""

import asyncio

import pytest

from tests.sse_conformance import test_framing, test_http, test_resume
from tests.sse_conformance.reference import reference

pytestmark = pytest.mark.usefixtures("only_ours")

CASES = {
    "cr": test_framing.test_line_ends_within_data_begin_no_field,
    "id alone": test_framing.test_an_id_stands_in_the_block_of_its_event,
    "unknown field": test_framing.test_another_parser_has_nothing_to_complain_about,
    "gzip": test_http.test_a_client_that_takes_gzip_gets_the_stream_as_it_is,
    "again": test_resume.test_a_cursor_brings_what_followed_it,
    "forgets": test_resume.test_a_cursor_brings_what_followed_it,
    "query wins": test_resume.test_a_cursor_in_the_query_does_as_well_and_the_header_wins,
    "400": test_resume.test_a_cursor_that_means_nothing_ends_no_stream,
    "late": test_resume.test_whoever_joins_while_much_happens_gets_each_event_once,
}
GIVEN = {"again": [3], "forgets": [3], "400": ["nonsense"]}


@pytest.mark.parametrize("fault", CASES)
async def test_each_fault_fails_its_case(fault: str) -> None:
    given = GIVEN.get(fault, [])
    async with reference() as right:
        await CASES[fault](right, *given)
    async with reference(fault) as wrong:
        with pytest.raises((AssertionError, TimeoutError, ExceptionGroup)):
            async with asyncio.timeout(1):
                await CASES[fault](wrong, *given)
