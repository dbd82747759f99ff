"""Where a key stands: `section.name`, or `alerts[2].name` in a list of tables."""

import re
from typing import Any, NamedTuple


class Place(NamedTuple):
    """table: which one of a list, None for a section. name: empty for the section itself."""

    section: str
    table: int | None
    name: str


def place(key: str) -> Place:
    """Take a key apart; what follows the name, such as an index into its value, is left out."""
    section, table, rest = re.fullmatch(r"([^.\[]*)(?:\[(\d+)\])?(.*)", key, re.DOTALL).groups()  # type: ignore[union-attr]
    name = re.sub(r"\[.*", "", rest.removeprefix("."))
    return Place(section, None if table is None else int(table), name)


def value_at(document: dict[str, Any], key: str) -> Any:
    """What the document has for a key."""
    section, table, name = place(key)
    found: Any = document.get(section)
    if table is not None and isinstance(found, list):
        found = found[table]
    return found.get(name) if name and isinstance(found, dict) else found


def line_of(text: str, key: str) -> int | None:
    """The line that assigns a key, or begins its section; of a table that lacks it, its first."""
    section, table, name = place(key)
    inside, begins, tables = False, None, -1
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\[?\s*([^\]]*?)\s*\]", line):
            ours = header[1] == section
            tables += ours
            inside = ours and table in (None, tables)
            begins = number if inside and begins is None else begins
        elif inside and name and _assigns(line, name):
            return number
    return begins if section and (table is not None or not name) else None


def _assigns(line: str, name: str) -> bool:
    return re.match(rf"\s*[\"']?{re.escape(name)}[\"']?\s*=", line) is not None
