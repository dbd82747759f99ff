"""Where the devices' tokens come from."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

VARIABLE = "SENSOR_TOKEN"


class TokensError(Exception):
    """A file of tokens that cannot be used."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A token for each device, or one for all that have none of their own."""

    each: Mapping[str, str] = field(default_factory=dict, repr=False)
    one: str | None = field(default=None, repr=False)

    @classmethod
    def load(
        cls, *, one: Path | None, many: Path | None, environ: Mapping[str, str] = os.environ
    ) -> "Tokens":
        """From a file with one token, a JSON file (id to token), the environment."""
        each: dict[str, str] = {}
        if many is not None:
            each = _read_json(many)
        token = _read(one).strip() if one is not None else environ.get(VARIABLE)
        return cls(each, token or None)

    def of(self, device: str) -> str | None:
        return self.each.get(device, self.one)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise TokensError(f"cannot read {path}: {error.strerror}") from error


def _read_json(path: Path) -> dict[str, str]:
    try:
        found = json.loads(_read(path))
    except ValueError as error:
        raise TokensError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise TokensError(f'{path} must hold {{"device": "token", …}}')
    return found
