import pytest

from gateway.core.acknowledging import Acknowledgement, parse_acknowledgement
from gateway.core.filters import BadQuery


def test_who_and_what():
    body = '{"by":"ann","note":"👩\u200d🚒 on my way"}'.encode()
    assert parse_acknowledgement(body) == Acknowledgement("ann", "👩\u200d🚒 on my way")


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_nothing_need_be_said(body):
    assert parse_acknowledgement(body) == Acknowledgement()


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"by":1}', "by"),
        (b'{"by":"%s"}' % (b"a" * 65), "by"),
        (b'{"by":"\\u001b[2J"}', "by"),
        (b'{"note":"two\\nlines"}', "note"),
        (b'{"note":"\\ud800"}', "note"),
        (b'{"note":"%s"}' % (b"a" * 501), "note"),
        (b'{"who":"ann"}', "who"),
        (b"[]", "body"),
    ],
)
def test_what_is_wrong_is_named(body, key):
    with pytest.raises(BadQuery) as caught:
        parse_acknowledgement(body)
    assert caught.value.parameter == key
