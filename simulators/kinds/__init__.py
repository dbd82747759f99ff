"""The kinds of made-up devices."""

from simulators.kinds.base import Kind
from simulators.kinds.door import Door
from simulators.kinds.greenhouse import Greenhouse
from simulators.kinds.logger import Logger
from simulators.kinds.power import Power
from simulators.kinds.soil import Soil
from simulators.kinds.vibration import Vibration
from simulators.kinds.weather import Weather

KINDS: dict[str, type[Kind]] = {
    kind.name: kind for kind in (Greenhouse, Weather, Power, Vibration, Door, Soil, Logger)
}

__all__ = ["KINDS", "Kind"]
