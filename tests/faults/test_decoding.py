"""The checker's own decoder of chunks, on bytes as docs/storage.md describes them."""

import zlib

import pytest

from tests.faults.decoding import Damaged, Run, chunk

NUMBERS = (
    "0102000343656c0405d00fd00fe807000000020021808080808080c0b58001c1eba3e1f5d1100300002c0100"
    "00f9b50000c59c0000928600005f5200002cfc0000872f00002a013031323334353637380002010e030001"
    "aad5aad5aad5aad57fd6aad5aad5aaf55f"
)


def read(body: bytes) -> list[Run]:
    return list(chunk(body, zlib.crc32(body), metric="m", kind=0))


def test_numbers_of_two_boots() -> None:
    first, second = read(bytes.fromhex(NUMBERS))
    assert first == Run("m", 0, 0, b"", [1000, 2000, 3000, 5000], [21.5, 21.37, -0.0, 1e300])
    assert str(first.v[2]) == "-0.0"
    assert second == Run("m", 0, 2, b"12345678", [7, 5], [1 / 3, 21.25])


@pytest.mark.parametrize(
    ("body", "values"),
    [
        ("01010c00030202020c020404010001000061c3bc04000100000200", [["a", "ü", "a"]]),
        ("01020a000201020201010809000100060009", [[2**64 - 1, 3], [-5]]),
        ("01010b0002010202040201000001", [[True, False]]),
    ],
)
def test_texts_integers_and_booleans(body: str, values: list[list[object]]) -> None:
    assert [run.v for run in read(bytes.fromhex(body))] == values


def test_damage_is_seen() -> None:
    body = bytes.fromhex(NUMBERS)
    with pytest.raises(Damaged):
        list(chunk(body, zlib.crc32(body) ^ 1, metric="m", kind=0))
    with pytest.raises(Damaged):
        read(body[:-1])
