"""Asks what Grafana would ask: the queries of a dashboard, as two of its plugins send them.

Infinity's backend parser takes rows out of JSON by paths of gjson (of which dashboards here use
`a.b` and `a.#(key=="value")#`), or out of CSV by its first line.
"""

import csv
import io
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import httpx

_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(\w+)")
_CHOSEN = re.compile(r'(.+)\.#\((\w+)=="([^"]*)"\)#')
Row = dict[str, Any]
OPTIONAL = {"m", "text", "by", "n", "min", "mean", "max"}
"""Keys that an alert, or a summary of texts, may lack."""


class Query(NamedTuple):
    """What a panel, or a variable, asks for."""

    title: str
    source: str
    target: Mapping[str, Any]


def queries(board: Mapping[str, Any]) -> Iterator[Query]:
    for panel in board["panels"]:
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"]
            yield Query(panel["title"], target["datasource"]["uid"], target)
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            asked = variable["query"]
            target = {"rawQueryText": asked} if isinstance(asked, str) else asked["infinityQuery"]
            yield Query(f"${variable['name']}", variable["datasource"]["uid"], target)


def filled(text: str, values: Mapping[str, str]) -> str:
    """As Grafana puts variables in. Raises KeyError for one that there is not."""

    def value(found: re.Match[str]) -> str:
        text = values[found[1] or found[3]]
        return "'" + text.replace("'", "''") + "'" if found[2] == "sqlstring" else text

    return _VARIABLE.sub(value, text)


def ask_gateway(client: httpx.Client, target: Mapping[str, Any], values: Any) -> list[Row]:
    """The rows that Infinity makes of the answer; every column must be there."""
    assert (target["source"], target["parser"]) == ("url", "backend")
    options = target["url_options"]
    params = [(each["key"], filled(each["value"], values)) for each in options["params"]]
    answer = client.request(options["method"], filled(target["url"], values), params=params)
    assert answer.status_code == 200, answer.text
    if target["type"] == "csv":
        found = list(csv.DictReader(io.StringIO(answer.text)))
    else:
        found = _root(answer.json(), filled(target["root_selector"], values))
    return [_row(row, target["columns"]) for row in found]


def _root(body: Any, selector: str) -> list[Row]:
    if not selector:
        return [body]
    chosen = _CHOSEN.fullmatch(selector)
    rows: list[Row] = _at(body, chosen[1] if chosen else selector)
    return [row for row in rows if not chosen or row[chosen[2]] == chosen[3]]


def _row(row: Row, columns: Any) -> Row:
    return {
        column["text"] or column["selector"]: _typed(_at(row, column["selector"]), column["type"])
        for column in columns
    }


def _at(value: Any, path: str) -> Any:
    for key in path.split("."):
        if value is not None:
            value = value.get(key) if key in OPTIONAL else value[key]
    return value


def _typed(value: Any, kind: str) -> Any:
    if value is None or value == "":
        return None
    match kind:
        case "number":
            return float(value)
        case "timestamp_epoch":
            return int(value)
        case "boolean":
            assert isinstance(value, bool)
            return value
    return value if isinstance(value, str) else json.dumps(value)


def ask_copy(copy: Path, target: Mapping[str, Any], values: Any) -> list[Row]:
    """The rows of a query; the columns that are named as times hold seconds."""
    with closing(sqlite3.connect(f"file:{copy}?mode=ro&immutable=1", uri=True)) as conn:
        conn.row_factory = sqlite3.Row
        asked = conn.execute(filled(target["rawQueryText"], values))
        names = {column[0] for column in asked.description}
        rows = [dict(row) for row in asked]
    times = target.get("timeColumns", ())
    assert set(times) <= names
    assert all(row[time] is None or 0 < row[time] < 2**32 for row in rows for time in times)
    return rows
