"""Runs every vector of tests/vectors (see the README there)."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cbor2 import CBORTag

from gateway.core import cbor
from gateway.core.columns import Layout, read_data, read_schema
from gateway.core.messages import (
    BY_TYPE,
    FIRST_SEQUENCED,
    BadBody,
    Data,
    Schema,
    Senml,
    is_seq,
    parse,
    to_map,
)
from gateway.core.readings import Batch, Clock, Kind, Timebase
from gateway.core.senml import read_senml
from gateway.errors import Reason, Rejected, WireError

FOLDER = Path(__file__).parents[1] / "vectors"


def load(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


MESSAGES, MALFORMED, DATA, SENML = (
    load(f"{name}.json") for name in ("messages", "malformed", "data", "senml")
)
SCHEMAS: dict[str, Layout] = {
    name: read_schema(parse(Schema, cbor.decode(bytes.fromhex(schema["hex"]))))
    for name, schema in DATA["schemas"].items()
}


def cases(source: Any) -> Any:
    names = [vector["name"] for vector in source["vectors"]]
    assert len(set(names)) == len(names)
    return pytest.mark.parametrize("vector", source["vectors"], ids=names)


def to_json(value: Any) -> Any:
    """A decoded value as the vectors write it."""
    match value:
        case bytes():
            return {"bytes": value.hex()}
        case list():
            return [to_json(item) for item in value]
        case dict():
            return {"map": [[to_json(key), to_json(item)] for key, item in value.items()]}
        case CBORTag():
            return {"tag": value.tag, "value": to_json(value.value)}
        case int() if abs(value) > 2**53:
            return {"int": str(value)}
    return value


def read_message(data: bytes) -> dict[int, Any]:
    """Decode and check as a receiver must; WireError if malformed."""
    source = cbor.decode(data)
    number = source.get(0)
    if type(number) is not int or number < 0:
        raise WireError("no type")
    if number >= FIRST_SEQUENCED and not is_seq(source.get(1)):
        raise WireError("no seq")
    if number in BY_TYPE:
        try:
            message = parse(BY_TYPE[number], source)
        except BadBody as error:
            raise WireError(str(error)) from error
        if isinstance(message, Schema):
            read_schema(message)
    return source


@cases(MESSAGES)
def test_message(vector: Any) -> None:
    data = bytes.fromhex(vector["hex"])
    assert len(data) == vector["bytes"]
    source = read_message(data)
    expected = vector["expect"]
    assert {str(key): to_json(value) for key, value in source.items()} == expected["keys"]
    cls = BY_TYPE.get(source[0])
    assert (cls.__name__.upper() if cls else "ignored") == expected["message"]
    if cls:
        message = parse(cls, source)
        assert parse(cls, cbor.decode(cbor.encode(to_map(message)))) == message


@cases(MALFORMED)
def test_malformed(vector: Any) -> None:
    with pytest.raises(WireError):
        read_message(bytes.fromhex(vector["hex"]))


def check(vector: Any, batch: Batch, clock: Clock, device: str) -> None:
    assert batch.clock is clock
    expected = vector["expect"]["readings"]
    assert len(batch.columns) == len(expected)
    assert len(batch) == sum(len(series["t"]) for series in expected)
    for column, series in zip(batch.columns, expected, strict=True):
        assert column.key.device == series.get("device", device)
        assert column.key.metric == series["metric"]
        assert column.unit == series["unit"]
        assert column.t.dtype == np.int64
        assert column.t.tolist() == [int(t) for t in series["t"]]
        check_values(column.v, column.key.kind, series)


def check_values(v: Any, kind: Kind, series: Any) -> None:
    values = v.tolist()
    match series["kind"]:
        case "integer":
            assert (kind, v.dtype.kind in "iu") == (Kind.NUMBER, True)
            assert values == [int(value) for value in series["v"]]
        case "number":
            assert (kind, v.dtype) == (Kind.NUMBER, np.float64)
            assert values == series["v"]
            signs = [math.copysign(1, value) for value in series["v"]]
            assert [math.copysign(1, value) for value in values] == signs
        case "boolean":
            assert (kind, v.dtype, values) == (Kind.BOOLEAN, np.bool_, series["v"])
        case "text":
            assert (kind, v.dtype, values) == (Kind.TEXT, np.object_, series["v"])
        case other:
            raise AssertionError(other)


def limit(vector: Any) -> int | None:
    return int(vector["latest"]) if "latest" in vector else None


def run(vector: Any) -> tuple[Batch, Clock, str]:
    source = cbor.decode(bytes.fromhex(vector["hex"]))
    try:
        if source[0] == Senml.TYPE:
            batch = read_senml(
                parse(Senml, source).pack,
                device=SENML["device"],
                received=int(SENML["received"]),
                latest=limit(vector),
                speaks_for_others=vector.get("speaks_for_others", False),
            )
            return batch, Clock.DEVICE, SENML["device"]
        timebase = Timebase(Clock.MAPPED, int(DATA["offset"]))
        layout = SCHEMAS[vector["schema"]]
        data = parse(Data, source)
        return (
            read_data(data, layout, device="dev", timebase=timebase, latest=limit(vector)),
            Clock.MAPPED,
            "dev",
        )
    except BadBody as error:
        raise Rejected(Reason.BAD_BODY, str(error)) from error


@cases(
    {
        "vectors": [
            *DATA["vectors"],
            *({**v, "name": f"senml {v['name']}"} for v in SENML["vectors"]),
        ]
    }
)
def test_readings(vector: Any) -> None:
    if "rejected" not in vector["expect"]:
        check(vector, *run(vector))
        return
    with pytest.raises(Rejected) as caught:
        run(vector)
    assert caught.value.reason.name == vector["expect"]["rejected"]


@pytest.mark.parametrize("name", ["messages", "data", "senml"])
def test_every_truncation_is_malformed(name: str) -> None:
    for vector in load(f"{name}.json")["vectors"]:
        data = bytes.fromhex(vector["hex"])
        # Long ones are cut at their ends and at odd places between.
        step = 1 if len(data) < 600 else 97
        for end in {*range(0, len(data), step), *range(max(0, len(data) - 40), len(data))}:
            with pytest.raises(WireError):
                cbor.decode(data[:end])


def test_the_examples_of_the_page_have_the_stated_sizes() -> None:
    sizes = [vector["bytes"] for vector in MESSAGES["vectors"] if "docs/wire.md" in vector["name"]]
    assert len(sizes) == 10
    assert [sizes[i] for i in (0, 1, 3, 4, 5, 7, 8)] == [68, 53, 43, 23, 11, 24, 21]
