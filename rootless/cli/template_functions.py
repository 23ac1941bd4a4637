"""The functions a format may call: Go's own and those that Docker's command line adds, and how Go writes a value.

Values are what JSON has: text, numbers, booleans, None, lists and dictionaries. A `Map` is a dictionary whose keys are
data (labels, ports), where a missing one is no mistake in the template.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import FunctionType, MethodType
from typing import Any

import msgspec

CO_VARARGS = 0x04
"""The flag of a code object that takes any number of arguments (inspect.CO_VARARGS; inspect is slow to import)."""


class Map(dict[str, Any]):
    """A dictionary with any keys: what a template asks it for and it doesn't have is `<no value>`."""


class NilList(list[Any]):
    """A list that isn't there: empty for a template, `null` in JSON."""


class NilMap(Map):
    """Likewise a map."""


WIDEST = 1_000_000
"""Characters to which Go's fmt widens a text; what asks for more is told so."""


class FunctionError(Exception):
    """A function can't do what it was called for; the evaluator adds where."""


def check_count(function: Callable[..., Any], given: int) -> None:
    """FunctionError when a function is not to be called with so many arguments."""
    bound = isinstance(function, MethodType)
    plain_function = function.__func__ if isinstance(function, MethodType) else function
    if not isinstance(plain_function, FunctionType):
        raise FunctionError("it can't be called from a template")
    code = plain_function.__code__
    most = code.co_argcount - bound
    least = most - len(plain_function.__defaults__ or ())
    any_more = bool(code.co_flags & CO_VARARGS)
    if given < least or (given > most and not any_more):
        raise FunctionError(f"want {'at least ' if any_more else ''}{least} got {given}")


def go_text(value: Any) -> str:
    """A value as Go's `%v` writes it: `[a b]`, `map[k:v]`, `{v w}` for a structure, `true`, `<nil>`."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "<nil>"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Map):
        return "map[" + " ".join(f"{k}:{go_text(value[k])}" for k in sorted(value)) + "]"
    if isinstance(value, Mapping):
        return "{" + " ".join(go_text(item) for item in value.values()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(map(go_text, value)) + "]"
    return str(value)


def _float(value: float) -> str:
    text = repr(value)
    if "e" not in text and "E" not in text and abs(value) < 1e21:
        return text.removesuffix(".0")
    mantissa, _, exponent = f"{value!r}".partition("e")
    if not exponent:
        return text
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+03d}"


def kind_of(value: Any) -> str:
    """Go's word for a value's type, for error messages."""
    kinds: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "bool"),
        (str, "string"),
        (int, "int"),
        (float, "float64"),
        (Mapping, "map"),
        ((list, tuple), "slice"),
        (type(None), "nil"),
    ]
    return next((word for kind, word in kinds if isinstance(value, kind)), type(value).__name__)


def truth(value: Any) -> bool:
    """Whether `if` takes a value for true: not false, zero, empty or nil."""
    return bool(value)


def as_json(value: Any) -> str:
    """Compact JSON; the keys of a `Map` in alphabetical order."""
    return msgspec.json.encode(plain(value)).decode()


def plain(value: Any) -> Any:
    """A value made of what JSON has and nothing else, as it is to be written."""
    if isinstance(value, (NilList, NilMap)):
        return None
    if isinstance(value, Map):
        return {key: plain(value[key]) for key in sorted(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise FunctionError(f"wrong type for value; expected string; got {kind_of(value)}")
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise FunctionError(f"wrong type for value; expected int; got {kind_of(value)}")
    return value


def _join(items: Any, separator: Any) -> str:
    if items is None:
        return ""
    if isinstance(items, Mapping):
        return _string(separator).join(sorted(map(go_text, items.values())))
    if not isinstance(items, (list, tuple)):
        raise FunctionError(f"expected slice, got {kind_of(items)}")
    return _string(separator).join(map(go_text, items))


def _title(text: Any) -> str:
    return re.sub(r"\b\w", lambda match: match[0].upper(), _string(text))


def _pad(text: Any, before: Any, after: Any) -> str:
    if max(_integer(before), _integer(after)) > WIDEST:
        raise FunctionError(f"more than {WIDEST} blanks")
    if min(before, after) < 0:
        raise FunctionError("negative repeat count")
    return " " * before + text + " " * after if _string(text) else ""


def _truncate(text: Any, length: Any) -> str:
    if _integer(length) < 0:
        raise FunctionError(f"slice bounds out of range: {length}")
    return _string(text)[:length]


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, (Mapping, list, tuple)):
        return len(value)
    raise FunctionError(f"len of type {kind_of(value)}")


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = _item(value, key)
    return value


def _item(value: Any, key: Any) -> Any:
    if isinstance(value, Mapping):
        found = value.get(_string(key))
        # A missing key gives the zero value of what the map holds; ours hold text where it matters.
        return "" if found is None and key not in value else found
    if isinstance(value, str):
        value = value.encode()
    if not isinstance(value, (list, tuple, bytes)):
        raise FunctionError("index of untyped nil" if value is None else f"can't index item of type {kind_of(value)}")
    if not 0 <= _integer(key) < len(value):
        raise FunctionError(f"index out of range: {key}")
    return value[key]


def _slice(value: Any, *bounds: Any) -> Any:
    if not isinstance(value, (str, list, tuple)):
        raise FunctionError(f"can't slice item of type {kind_of(value)}")
    if len(bounds) > 2:
        raise FunctionError(f"too many slice indexes: {len(bounds)}")
    limits = [_integer(bound) for bound in bounds]
    start, end = (limits + [0])[0], (limits + [0, len(value)])[1] if len(limits) > 1 else len(value)
    for bound in (start, end):
        if not 0 <= bound <= len(value):
            raise FunctionError(f"index out of range: {bound}")
    if start > end:
        raise FunctionError(f"invalid slice index: {start} > {end}")
    return value[start:end]


def _basic(value: Any) -> str:
    """The class of values that one may compare with one another."""
    kind = kind_of(value)
    if kind not in ("bool", "string", "int", "float64", "nil"):
        raise FunctionError(f"invalid type for comparison: {kind}")
    return kind


def _equal(first: Any, *others: Any) -> bool:
    if not others:
        raise FunctionError("missing argument for comparison")
    for other in others:
        if "nil" not in (_basic(first), _basic(other)) and _basic(first) != _basic(other):
            raise FunctionError("incompatible types for comparison")
        if first == other:
            return True
    return False


def _less(first: Any, second: Any) -> bool:
    if _basic(first) != _basic(second):
        raise FunctionError("incompatible types for comparison")
    if _basic(first) in ("bool", "nil"):
        raise FunctionError("invalid type for comparison")
    less: bool = first < second
    return less


def _print(*values: Any) -> str:
    """Go's Sprint: a blank between two operands neither of which is text."""
    parts: list[str] = []
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            parts.append(" ")
        parts.append(go_text(value))
    return "".join(parts)


_VERB = re.compile(r"%([-+# 0]*)(\*|[0-9]{1,4})?(?:\.([0-9]{0,4}))?(.)", re.DOTALL)


def _printf(template: Any, *values: Any) -> str:
    rest = list(values)
    text = _VERB.sub(lambda match: _verb(match, rest), _string(template))
    if rest:
        text += "%!(EXTRA " + ", ".join(f"{kind_of(v)}={go_text(v)}" for v in rest) + ")"
    return text


def _verb(match: re.Match[str], rest: list[Any]) -> str:
    flags, width, precision, verb = match.groups()
    if verb == "%":
        return "%"
    if width == "*":
        if not rest or not isinstance(rest[0], int) or abs(rest[0]) > WIDEST:
            return "%!(BADWIDTH)"
        width = str(rest.pop(0))
    if not rest:
        return f"%!{verb}(MISSING)"
    value = rest.pop(0)
    text = _converted(value, verb, flags, precision)
    if text is None:
        return f"%!{verb}({kind_of(value)}={go_text(value)})"
    room = int(width or 0)
    if "-" in flags or room < 0:
        return text.ljust(abs(room))
    return text.zfill(room) if "0" in flags and verb not in "sqv" else text.rjust(room)


def _converted(value: Any, verb: str, flags: str, precision: str | None) -> str | None:
    """A value by one verb, without its width; None when it is not of the verb's kind."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    plus = "+" if "+" in flags and verb != "v" else ""
    if verb in "vs" and (verb == "v" or not (number or isinstance(value, bool))):
        text = go_text(value)
        return text[: int(precision or 0)] if precision is not None else text
    if verb == "q" and isinstance(value, str):
        return as_json(value)
    if verb == "q" and isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return "[" + " ".join(map(as_json, value)) + "]"
    if verb == "t" and isinstance(value, bool):
        return go_text(value)
    if verb in "dxXobc" and number and isinstance(value, int):
        return format(value, f"{plus}{verb}" if verb != "c" else "c")
    if verb in "xX" and isinstance(value, str):
        return value.encode().hex() if verb == "x" else value.encode().hex().upper()
    if verb in "fFeEgG" and isinstance(value, float):
        return format(value, f"{plus}.{precision or 6}{verb}")
    return None


def _html(*values: Any) -> str:
    from html import escape

    return escape(_print(*values)).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")


def _urlquery(*values: Any) -> str:
    from urllib.parse import quote_plus

    return quote_plus(_print(*values))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": lambda first, *values: next((v for v in (first, *values) if not truth(v)), (first, *values)[-1]),
    "or": lambda first, *values: next((v for v in (first, *values) if truth(v)), (first, *values)[-1]),
    "not": lambda value: not truth(value),
    "len": _length,
    "index": _index,
    "slice": _slice,
    "print": _print,
    "println": lambda *values: " ".join(map(go_text, values)) + "\n",
    "printf": _printf,
    "html": _html,
    "urlquery": _urlquery,
    "eq": _equal,
    "ne": lambda first, second: not _equal(first, second),
    "lt": _less,
    "le": lambda first, second: _less(first, second) or _equal(first, second),
    "gt": lambda first, second: not _less(first, second) and not _equal(first, second),
    "ge": lambda first, second: not _less(first, second),
    "json": as_json,
    "split": lambda text, separator: _string(text).split(separator) if _string(separator) else list(_string(text)),
    "join": _join,
    "title": _title,
    "lower": lambda text: _string(text).lower(),
    "upper": lambda text: _string(text).upper(),
    "pad": _pad,
    "truncate": _truncate,
}

HEADER_FUNCTIONS: dict[str, Callable[..., Any]] = FUNCTIONS | dict.fromkeys(
    ("json", "split", "join", "title", "lower", "upper", "truncate"), lambda value, *_: value
)
"""For the line of headers a column's name stays what it is, whatever the format does to the column's values."""
