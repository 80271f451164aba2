"""JSON in the one spelling that can be signed: RFC 8785, over a strict and bounded reading of what peers send.

Refused is what two readers could take for different things: members named twice, lone surrogates, NaN and Infinity,
and whole numbers that a double does not hold as they are written. So a value has one canonical text, that text reads
as the same value, and whatever else a reader makes of it, it is what was signed.

Source: RFC 8785; RFC 7493 (I-JSON) section 2; ECMA-262, Number::toString. The bounds are ours.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from proxy.core.bounds import Bounds, Excess, measure
from proxy.core.errors import InvalidInput
from proxy.core.mismatch import describe, quote

MAX_DEPTH: Final = 64
"""Objects and arrays inside one another. Source: ours; what is signed is a few levels deep."""

STRICT_BOUNDS: Final = Bounds(size_bytes=262_144, depth=32, nodes=20_000, members=2_000, items=20_000)
"""How big a text may be that is read strictly. Source: ours; as large as the contents of answers."""

_MAX_EXACT: Final = 2**53
_MAX_WHOLE_CHARS: Final = 22
"""Sign and digits of the longest whole number without an exponent. Source: ECMA-262, Number::toString, step 7."""
_FIXED_UP_TO: Final = 21
_FIXED_FROM: Final = -6
"""Powers of ten between which numbers have no exponent. Source: ECMA-262, Number::toString, steps 6 to 9."""


def canonical(value: object) -> bytes:
    """The canonical text of a JSON value.

    Raises:
        InvalidInput: a value that JSON cannot carry, or not in one way only; or nested deeper than 64.
    """
    parts: list[str] = []
    _write(value, parts, MAX_DEPTH)
    return "".join(parts).encode("utf-8")


def parse_strict(text: bytes, bounds: Bounds = STRICT_BOUNDS) -> object:
    """Read a JSON text that has one meaning; the depth in `bounds` must not exceed 64.

    A whole number that only a double can hold (from 2**53) comes as one.

    Raises:
        InvalidInput: not JSON in UTF-8, beyond the bounds, or with more than one reading.
    """
    if len(text) > bounds.size_bytes:
        raise InvalidInput(f"expected at most {bounds.size_bytes} bytes of JSON, got {len(text)}")
    try:
        loosely = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput("expected JSON in UTF-8, got another text") from error
    # The second reader is recursive and the first is not strict: together they are both bounded and strict.
    measured = measure(loosely, bounds)
    if isinstance(measured, Excess):
        raise InvalidInput(f"expected {measured.expected}, got {measured.got}")
    strictly: object = json.loads(text.decode("utf-8"), object_pairs_hook=_once_each, parse_int=_whole)
    return strictly


def number(value: float) -> str:
    """A number as ECMAScript writes it.

    Raises:
        InvalidInput: NaN or an infinity.

    Source: ECMA-262, Number::toString; the digits are the shortest that give this double, in both languages.
    """
    if not math.isfinite(value):
        raise InvalidInput(f"expected a finite number, got {value!r}")
    if value == 0:
        return "0"
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    # The value is 0.DIGITS times ten to the power of `point`.
    point = int(exponent or 0) + len(whole) - (len(whole + fraction) - len(digits))
    return ("-" if value < 0 else "") + _laid_out(digits.rstrip("0"), point)


def _laid_out(digits: str, point: int) -> str:
    if len(digits) <= point <= _FIXED_UP_TO:
        return digits + "0" * (point - len(digits))
    if 0 < point <= _FIXED_UP_TO:
        return f"{digits[:point]}.{digits[point:]}"
    if _FIXED_FROM < point <= 0:
        return f"0.{'0' * -point}{digits}"
    first, rest = digits[0], digits[1:]
    return f"{first}{'.' if rest else ''}{rest}e{point - 1:+d}"


def _write(value: object, parts: list[str], depth: int) -> None:
    match value:
        case None | bool():
            parts.append({None: "null", True: "true"}.get(value, "false"))
        case str():
            parts.append(_text(value))
        case int():
            parts.append(_whole_number(value))
        case float():
            parts.append(number(value))
        case Mapping() | list() | tuple():
            if depth == 0:
                raise InvalidInput(f"expected at most {MAX_DEPTH} levels of nesting, got more")
            _write_children(value, parts, depth - 1)
        case _:
            raise InvalidInput(f"expected a JSON value, got {describe(value)}")


def _write_children(value: Mapping[object, object] | Sequence[object], parts: list[str], depth: int) -> None:
    if not isinstance(value, Mapping):
        parts.append("[")
        for place, item in enumerate(value):
            parts.append("," if place else "")
            _write(item, parts, depth)
        parts.append("]")
        return
    parts.append("{")
    for place, name in enumerate(sorted((_name(name) for name in value), key=_code_units)):
        parts.append(f"{',' if place else ''}{_text(name)}:")
        _write(value[name], parts, depth)
    parts.append("}")


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise InvalidInput(f"expected text as the name of every member, got {describe(name)}")
    return name


def _code_units(name: str) -> bytes:
    # Members go by UTF-16 code units, which is not the order of code points beyond U+FFFF. RFC 8785 section 3.2.3.
    return name.encode("utf-16-be", "surrogatepass")


def _text(text: str) -> str:
    # orjson escapes exactly what ECMAScript does, in the same spelling. Source: RFC 8785 section 3.2.2.2.
    try:
        return orjson.dumps(text).decode("utf-8")
    except orjson.JSONEncodeError as error:
        raise InvalidInput(f"expected text of whole characters, got {quote(text)}") from error


def _whole_number(value: int) -> str:
    if -_MAX_EXACT <= value <= _MAX_EXACT:
        return str(value)
    if value.bit_length() > 70 or number(float(value)) != str(value):
        raise InvalidInput(f"expected a whole number that a double holds, got {describe(value)}")
    return str(value)


def _once_each(members: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(members)
    if len(value) != len(members):
        raise InvalidInput("expected each member of an object once, got one twice")
    return value


def _whole(text: str) -> float:
    if len(text) > _MAX_WHOLE_CHARS:
        raise InvalidInput("expected a whole number that a double holds, got a longer one")
    value = int(text)
    if -_MAX_EXACT <= value <= _MAX_EXACT:
        return value
    _whole_number(value)
    return float(value)
