"""Words as a Dockerfile has them: quotes, escapes and variables, without a shell.

The rules are those of moby's `shell` lexer (frontend/dockerfile/shell/lex.go), which every instruction that expands
variables goes through: a backslash outside quotes takes the next character as it is; inside double quotes only before
`"`, `$` and itself; nothing is special inside single quotes. `${name:-word}`, `${name:+word}` and `${name:?word}` are
understood, also without the colon.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InvalidError

_NAME_START = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_NAME = _NAME_START | frozenset("0123456789")


def expand(word: str, environment: Mapping[str, str]) -> str:
    """One word with its variables replaced and its quotes removed; blanks in a value don't split it.

    Raises:
        InvalidError: a quote or brace that is not closed, an unknown modifier, `${name:?word}` without a value.
    """
    return _Expansion(word, environment).until("")


class _Expansion:
    """A cursor over one word."""

    def __init__(self, word: str, environment: Mapping[str, str]) -> None:
        self._word = word
        self._at = 0
        self._environment = environment

    def _next(self) -> str:
        """The character under the cursor, which moves on; empty at the end."""
        character = self._word[self._at : self._at + 1]
        self._at += 1
        return character

    def _peek(self) -> str:
        return self._word[self._at : self._at + 1]

    def until(self, end: str) -> str:
        """Expand up to the unquoted character `end`, which is consumed; to the end of the word when `end` is empty."""
        parts: list[str] = []
        while True:
            character = self._next()
            if character == end:
                return "".join(parts)
            if not character:
                raise InvalidError(f"no closing {end!r} in {self._word!r}")
            if character == "'":
                parts.append(self._single())
            elif character == '"':
                parts.append(self._double())
            elif character == "$":
                parts.append(self._variable())
            elif character == "\\":
                parts.append(self._next())
            else:
                parts.append(character)

    def _single(self) -> str:
        end = self._word.find("'", self._at)
        if end < 0:
            raise InvalidError(f"unexpected end of statement while looking for matching single-quote in {self._word!r}")
        text = self._word[self._at : end]
        self._at = end + 1
        return text

    def _double(self) -> str:
        parts: list[str] = []
        while True:
            character = self._next()
            if not character:
                raise InvalidError(
                    f"unexpected end of statement while looking for matching double-quote in {self._word!r}"
                )
            if character == '"':
                return "".join(parts)
            if character == "$":
                parts.append(self._variable())
            elif character == "\\" and self._peek() in ('"', "$", "\\"):
                parts.append(self._next())
            else:
                parts.append(character)

    def _variable(self) -> str:
        """What stands after a dollar sign."""
        if self._peek() == "{":
            self._at += 1
            return self._braced()
        name = self._name()
        return self._environment.get(name, "") if name else "$"

    def _name(self) -> str:
        start = self._at
        if self._peek() in _NAME_START:
            while self._peek() and self._peek() in _NAME:
                self._at += 1
        elif self._peek() and self._peek() in "0123456789@*#?-$!":
            self._at += 1  # a positional or special parameter, which never has a value here
        return self._word[start : self._at]

    def _braced(self) -> str:
        name = self._name()
        if not name:
            raise InvalidError(f"bad substitution in {self._word!r}")
        value = self._environment.get(name)
        modifier = self._next()
        if modifier == "}":
            return value or ""
        if not modifier:
            raise InvalidError(f"no closing '}}' in {self._word!r}")
        if modifier == ":":
            value = value or None  # with a colon an empty value counts as none
            modifier = self._next()
        if modifier not in ("-", "+", "?"):
            raise InvalidError(f"unsupported modifier ({modifier}) in substitution in {self._word!r}")
        return self._modified(name, value, modifier, self.until("}"))

    def _modified(self, name: str, value: str | None, modifier: str, word: str) -> str:
        if modifier == "+":
            return word if value is not None else ""
        if value is None and modifier == "?":
            raise InvalidError(f"{name}: {word or 'not allowed to be unset'}")
        return word if value is None else value


def split(text: str) -> list[str]:
    """The words of `text`, parted at blanks outside quotes, with quotes and escapes still in them.

    An unclosed quote is left for `expand` to refuse.
    """
    words: list[str] = []
    word = ""
    quote = ""
    escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character.isspace():
            if word:
                words.append(word)
            word = ""
            continue
        word += character
    return [*words, word] if word else words
