"""The gateway dies at every named step; no step of the code is missed."""

import ast
import re
from pathlib import Path

import pytest

from gateway.crashpoints import STEPS
from tests.faults.test_crash_repairs import ALL
from tests.faults.triggers import TRIGGERS, cases, crash_at_all, group_of

ROOT = Path(__file__).parents[2]


def named() -> list[str]:
    """The steps that the code names; each argument of `reached` must be a literal."""
    found = []
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "reached":
                (step,) = node.args
                assert isinstance(step, ast.Constant), f"{path}:{node.lineno}"
                found.append(step.value)
    return found


def test_the_registry_is_what_the_code_names() -> None:
    assert sorted(named()) == sorted(STEPS)
    assert len(set(STEPS)) == len(STEPS)
    assert all(re.fullmatch(r"[a-z]+\.[a-z_]+", step) for step in STEPS)


def test_every_group_has_a_trigger_and_every_trigger_a_group() -> None:
    repairs = {step.partition(":")[0] for step in ALL}
    others = {step for step in STEPS if step not in repairs}
    assert {group_of(step) for step in others} == TRIGGERS.keys()
    assert repairs <= set(STEPS)


@pytest.mark.parametrize("group", sorted(TRIGGERS))
async def test_a_crash_at_any_step_loses_nothing(tmp_path: Path, group: str) -> None:
    report = await crash_at_all(tmp_path, group)
    assert report.verdict.found == []
    assert report.attacks["crash points"] == len(cases(group))
    assert report.verdict.acknowledged > 0
