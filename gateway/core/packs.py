"""Readings as a SenML pack (RFC 8428) that JSON can carry."""

from typing import Any

from gateway.core.readings import NS_PER_S, Batch, Clock, Column, Kind

LABELS = {Kind.NUMBER: "v", Kind.BOOLEAN: "vb", Kind.TEXT: "vs"}


def pack(batch: Batch) -> list[dict[str, Any]]:
    """One record per reading, column by column; names are `DEVICE/METRIC`.

    The base time takes the whole seconds, so that a record's own time keeps its nanoseconds. If
    the time is unknown, `t` counts from the start of a boot and every record says so by `boot_`:
    whoever does not know this label must not process the pack (RFC 8428, section 4.4).
    """
    span = batch.span()
    base = 0 if span is None or batch.clock is Clock.UNKNOWN else span[0] // NS_PER_S
    records: list[dict[str, Any]] = []
    for column in batch.columns:
        records.extend(_records(column, base))
    if batch.clock is Clock.UNKNOWN:
        records = [{**record, "boot_": batch.boot.hex()} for record in records]
    elif records:
        records[0] = {"bt": base, **records[0]}
    return records


def _records(column: Column, base: int) -> list[dict[str, Any]]:
    names = {"n": f"{column.key.device}/{column.key.metric}"}
    if column.unit:
        names["u"] = column.unit
    label = LABELS[column.key.kind]
    return [
        {**names, "t": (int(t) - base * NS_PER_S) / NS_PER_S, label: value}
        for t, value in zip(column.t, column.v.tolist(), strict=True)
    ]
