"""Anything that CBOR can say, as something that JSON can say."""

import math
from typing import Any


def plain(value: Any) -> Any:
    """Bytes become hex, other keys text, and numbers that JSON lacks become null."""
    match value:
        case dict():
            return {str(name): plain(item) for name, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case bytes():
            return value.hex()
        case float() if not math.isfinite(value):
            return None
        case _:
            return value
