"""The numbers and times of SENML packs: integers, floats and decimal fractions, all bounded."""

import math
from typing import Any, NamedTuple

from cbor2 import CBORTag

from gateway.core.readings import INT64_MAX, NS_PER_S
from gateway.errors import Reason, Rejected

MAX_EXPONENT = 64
INT64_MIN = -INT64_MAX - 1
UINT64_MAX = 2**64 - 1


class Ratio(NamedTuple):
    """A decimal fraction, exact; at most 64 bits times ten to the 64th on either side."""

    above: int
    below: int


Number = int | float | Ratio


def read_number(raw: Any) -> Number:
    """A number off the wire (floats may be NaN or infinite). Raises Rejected for anything else."""
    if type(raw) is float:
        return raw
    if type(raw) is int:
        if not INT64_MIN <= raw <= UINT64_MAX:
            raise Rejected(Reason.BAD_VALUE, "an integer beyond 64 bits")
        return raw
    if type(raw) is CBORTag:
        return _read_decimal(raw.value)
    raise Rejected(Reason.BAD_SENML, "not a number where one belongs")


def _read_decimal(parts: Any) -> Ratio:
    if type(parts) not in (list, tuple) or [type(part) for part in parts] != [int, int]:
        raise Rejected(Reason.BAD_SENML, "a decimal fraction is not [exponent, mantissa]")
    exponent, mantissa = parts
    if abs(exponent) > MAX_EXPONENT or not INT64_MIN <= mantissa <= INT64_MAX:
        raise Rejected(Reason.BAD_VALUE, "a decimal fraction beyond 64 bits or 64 digits")
    power = 10 ** abs(exponent)
    return Ratio(mantissa * power, 1) if exponent >= 0 else Ratio(mantissa, power)


def read_time(raw: Any) -> int:
    """Seconds as whole nanoseconds; exact, with less than one rounded to the nearest."""
    number = read_number(raw)
    if isinstance(number, int):
        return number * NS_PER_S
    if isinstance(number, Ratio):
        return (2 * number.above * NS_PER_S + number.below) // (2 * number.below)
    if not math.isfinite(number):
        raise Rejected(Reason.BAD_TIME, "a time that is not finite")
    fraction, whole = math.modf(number)
    return int(whole) * NS_PER_S + round(fraction * NS_PER_S)


def add(base: Number, value: Number) -> int | float | None:
    """The sum, rounded once; integers stay integers. None for NaN; raises Rejected if too big."""
    if isinstance(base, int) and isinstance(value, int):
        total = base + value
        if not INT64_MIN <= total <= UINT64_MAX:
            raise Rejected(Reason.BAD_VALUE, "an integer beyond 64 bits")
        return total
    if isinstance(base, float) or isinstance(value, float):
        number = _as_float(base) + _as_float(value)
    else:
        a, b = _as_ratio(base), _as_ratio(value)
        number = (a.above * b.below + b.above * a.below) / (a.below * b.below)
    if math.isinf(number):
        raise Rejected(Reason.BAD_VALUE, "an infinite value")
    return None if math.isnan(number) else number


def _as_float(number: Number) -> float:
    return number.above / number.below if isinstance(number, Ratio) else float(number)


def _as_ratio(number: int | Ratio) -> Ratio:
    return number if isinstance(number, Ratio) else Ratio(number, 1)
