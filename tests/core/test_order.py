"""The body of a command."""

import pytest

from gateway.core.filters import BadQuery
from gateway.core.order import OrderBody, parse_order


def test_a_whole_order():
    body = b'{"op":"relay","args":{"on":true},"ttl_ms":30000,"flags":1}'
    assert parse_order(body) == OrderBody("relay", {"on": True}, 30000, 1)


def test_the_least_order():
    assert parse_order(b'{"op":0}') == OrderBody(0)
    assert parse_order('{"op":"öffnen","args":null,"ttl_ms":null}'.encode()) == OrderBody("öffnen")


@pytest.mark.parametrize("n", [-(2**63), 2**64 - 1])
def test_integers_of_64_bits_pass(n):
    assert parse_order(b'{"op":1,"args":[%d]}' % n).args == [n]


def test_a_whole_number_may_be_written_as_any_json_number():
    body = b'{"op":2.0,"ttl_ms":3e4,"flags":1.0}'
    assert parse_order(body) == OrderBody(2, None, 30000, 1)


def test_six_levels_pass():
    assert parse_order(b'{"op":1,"args":[[[[[{"a":1}]]]]]}').args


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b'{"op":1', "body"),
        (b'{"op":1}x', "body"),
        (b'{"op":"\xff"}', "body"),
        (b'{"op":1,"op":2}', "body"),
        (b'{"op":1,"args":NaN}', "body"),
        (b'{"op":1,"args":-Infinity}', "body"),
        (b'{"op":1,"args":' + b"[" * 100_000, "body"),
        (b'{"op":1,"args":' + b"9" * 5000 + b"}", "body"),
        (b"{}", "op"),
        (b'{"op":null}', "op"),
        (b'{"op":true}', "op"),
        (b'{"op":""}', "op"),
        (b'{"op":-1}', "op"),
        (b'{"op":1.5}', "op"),
        (b'{"op":18446744073709551616}', "op"),
        (b'{"op":"\\ud800"}', "op"),
        (b'{"op":"' + b"a" * 257 + b'"}', "op"),
        (b'{"op":1,"args":1e999}', "args"),
        (b'{"op":1,"args":18446744073709551616}', "args"),
        (b'{"op":1,"args":[-9223372036854775809]}', "args"),
        (b'{"op":1,"args":[[[[[[[1]]]]]]]}', "args"),
        (b'{"op":1,"args":{"\\udfff":1}}', "args"),
        (b'{"op":1,"ttl_ms":0}', "ttl_ms"),
        (b'{"op":1,"ttl_ms":1.5}', "ttl_ms"),
        (b'{"op":1,"ttl_ms":"1"}', "ttl_ms"),
        (b'{"op":1,"flags":true}', "flags"),
        (b'{"op":1,"flags":-1}', "flags"),
        (b'{"op":1,"flags":null}', "flags"),
        (b'{"op":1,"when":"now"}', "when"),
    ],
)
def test_what_is_wrong_is_named(body, key):
    with pytest.raises(BadQuery) as caught:
        parse_order(body)
    assert caught.value.parameter == key
