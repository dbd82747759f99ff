"""The layers of docs/decisions/0001: who may import whom."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHELLS = {
    "link": {"link", "links", "reception", "guard", "websocket", "arrivals"},
    "hub": {"hub", "subscriber", "replay", "welcome", "outlet"},
    "web": {"web", "routes", "api", "access", "signin", "files"},
    "store": {"store"},
    "bridge": {"bridge"},
    "mqtt": {"mqtt"},
    "systemd": {"systemd"},
    "control": {"control"},
    "disk": {"disk"},
}
IMPURE = {"asyncio", "aiohttp", "sqlite3", "paho", "time", "os", "socket", "threading", "random"}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def sources(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


def shell_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] != "gateway" or len(parts) < 2:
        return None
    return next((shell for shell, names in SHELLS.items() if parts[1] in names), None)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_the_core_is_pure() -> None:
    for path in sources("gateway/core"):
        for module in imports(path):
            assert module.split(".")[0] not in IMPURE, f"{path.name} imports {module}"
            if module.startswith("gateway"):
                allowed = module.startswith("gateway.core") or module == "gateway.errors"
                assert allowed, f"{path.name} imports {module}"


def test_shells_do_not_import_one_another() -> None:
    for path in sources("gateway"):
        own = shell_of(name_of(path))
        if own in (None, "link"):
            continue
        for module in imports(path):
            other = shell_of(module)
            assert other in (None, own), f"{path} imports {module}"


def test_the_link_touches_no_other_shell() -> None:
    for name in SHELLS["link"]:
        for module in imports(ROOT / "gateway" / f"{name}.py"):
            assert shell_of(module) in (None, "link"), f"{name} imports {module}"


def test_each_library_has_one_home() -> None:
    homes = {
        "paho": {"mqtt"},
        "sqlite3": {"store", "commands"},
        "argon2": {"passwords"},
    }
    for path in sources("gateway"):
        for module in imports(path):
            library = module.split(".")[0]
            if library in homes:
                assert name_of(path).split(".")[1] in homes[library], f"{path} imports {module}"


def test_simulators_know_the_core_only() -> None:
    for path in sources("simulators"):
        for module in imports(path):
            if module.startswith("gateway"):
                allowed = module.startswith("gateway.core") or module in (
                    "gateway",
                    "gateway.errors",
                )
                assert allowed, f"{path} imports {module}"
