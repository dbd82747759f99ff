"""The kinds of made-up devices."""

from simulators.kinds.base import Kind
from simulators.kinds.greenhouse import Greenhouse
from simulators.kinds.power import Power
from simulators.kinds.weather import Weather

KINDS: dict[str, type[Kind]] = {kind.name: kind for kind in (Greenhouse, Weather, Power)}
