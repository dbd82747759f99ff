"""Everything that people can set, call or watch stands in the documentation."""

import re
from pathlib import Path

import pytest

from gateway.cli import COMMANDS
from gateway.commands.alerts import alerts
from gateway.commands.device import device
from gateway.commands.token import token
from gateway.commands.user import user
from gateway.config import SECTIONS
from gateway.config_alerts import NAMES

ROOT = Path(__file__).parents[1]
METRIC = re.compile(r'\.(?:_counter|_histogram|gauge)\(\s*"([a-z0-9_]+)"')
ENVIRONMENT_ONLY = {"mqtt.password"}


def keys():
    named = {f"{name}.{key}" for name, keys in SECTIONS.items() for key in keys.__struct_fields__}
    return sorted((named | {f"alerts.{name}" for name in NAMES}) - ENVIRONMENT_ONLY)


def metrics():
    sources = "".join(path.read_text() for path in sorted((ROOT / "gateway").rglob("*.py")))
    return sorted({f"gateway_{name}" for name in METRIC.findall(sources)})


@pytest.fixture(scope="module")
def documentation():
    return "\n".join(path.read_text() for path in sorted((ROOT / "docs").rglob("*.md")))


@pytest.fixture(scope="module")
def operations():
    return (ROOT / "docs" / "operations.md").read_text()


def test_every_key_is_explained_in_the_shipped_configuration():
    section, comment, explained = "", False, set()
    for line in (ROOT / "config" / "gateway.toml").read_text().splitlines():
        if header := re.match(r"\[(\w+)\]|# \[\[(\w+)\]\]", line):
            section = header[1] or header[2]
        found = re.match(r"(?:# )?(\w+) = ", line)
        if found and comment:
            explained.add(f"{section}.{found[1]}")
        comment = line.startswith("#") or (bool(found) and comment)
    assert set(keys()) <= explained


def test_every_key_is_in_the_operations_page(operations):
    assert [key for key in keys() if f"`{key}`" not in operations] == []


def test_the_ways_to_override_a_key_are_in_the_operations_page(operations):
    assert "SENSOR_GATEWAY__" in operations
    assert "mqtt_password" in operations


def test_every_command_is_documented(documentation):
    calls = [f"gateway {name}" for name in COMMANDS]
    for group in (alerts, device, user, token):
        calls += [f"gateway {group.name} {name}" for name in group.commands]
    assert [call for call in calls if call not in documentation] == []


def test_every_metric_is_in_the_operations_page(operations):
    assert metrics()
    assert [name for name in metrics() if name not in operations] == []
