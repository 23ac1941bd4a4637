"""Variables, quotes and escapes in the words of a Dockerfile.

The rules are those of BuildKit's lexer (frontend/dockerfile/shell/lex.go; "Environment replacement" in Docker's
reference of the Dockerfile): an escape outside quotes takes the next character as it is; inside double quotes only
before `"`, `$` and itself; nothing is special inside single quotes. `${name}` takes `:-` `-` `:+` `+` `:?` `?` `#` `##`
`%` `%%` `/` and `//`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import InvalidError
from . import shellpattern

SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""What Go's unicode.IsSpace takes for white space; str.isspace has four control characters more."""

LONGEST = 16 << 20
"""Characters of an expanded word. `ENV a=$a$a` doubles with each line; no word that is meant is as long as this."""

_SPECIAL = "@*#?-$!"
"""Names of the shell's own parameters (POSIX, 2.5.2), which no Dockerfile ever sets."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """What became of a word.

    Attributes:
        text: as one word.
        words: split at the blanks that stand outside quotes, those of variables' values too; never an empty one.
        used, missing: the variables that it named, with a value and without.
    """

    text: str
    words: tuple[str, ...]
    used: frozenset[str]
    missing: frozenset[str]


@dataclass(frozen=True, slots=True)
class Lexer:
    """How words are read.

    Attributes:
        escape: the character of the `escape` directive.
        raw_quotes, raw_escapes: leave quotes or escapes in the result.
        plain_quotes: quotes are characters like any other, as in the content of a here-document.
        keep_missing: a variable without a value stays as it is written.
    """

    escape: str = "\\"
    raw_quotes: bool = False
    raw_escapes: bool = False
    plain_quotes: bool = False
    keep_missing: bool = False

    def expand(self, text: str, environment: Mapping[str, str]) -> Expansion:
        """Read `text` as words.

        Raises:
            InvalidError: a quote or a brace that is not closed, an unknown modifier, `${name:?word}` without a value.
        """
        cursor = _Cursor(self, text, environment)
        try:
            found, words = cursor.until("", raw_escapes=self.raw_escapes)
        except (InvalidError, RecursionError) as problem:
            what = problem.message if isinstance(problem, InvalidError) else "substitutions are nested too deeply"
            raise InvalidError(f'failed to process "{text[:200]}": {what}') from problem
        return Expansion(found, tuple(words), frozenset(cursor.used), frozenset(cursor.missing))


class Expander:
    """The variables that instructions see at one point of a stage, and which of them the instructions named.

    Attributes:
        used, missing: names so far, with a value and without.
    """

    def __init__(self, environment: Mapping[str, str], *, escape: str = "\\") -> None:
        self._environment = environment
        self._lexer = Lexer(escape)
        self.used: set[str] = set()
        self.missing: set[str] = set()

    def word(self, text: str) -> str:
        """`text` as one word; blanks in a value don't split it. InvalidError as `Lexer.expand`."""
        return self._expand(self._lexer, text).text

    def words(self, text: str) -> list[str]:
        """`text` as words; blanks in a value do split it. InvalidError as `Lexer.expand`."""
        return list(self._expand(self._lexer, text).words)

    def document(self, text: str) -> str:
        """The content of a here-document whose name had no quotes. InvalidError as `Lexer.expand`."""
        return self._expand(Lexer(plain_quotes=True), text).text

    def _expand(self, lexer: Lexer, text: str) -> Expansion:
        found = lexer.expand(text, self._environment)
        self.used |= found.used
        self.missing |= found.missing
        return found


class _Words:
    """Collects a text and its words side by side."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._words: list[str] = []
        self._word: list[str] = []
        self._length = 0

    def add(self, text: str, *, splits: bool) -> None:
        """Append; where it `splits`, blanks end a word."""
        self._length += len(text)
        if self._length > LONGEST:
            raise InvalidError(f"the result is longer than {LONGEST} characters")
        self._text.append(text)
        if not splits:
            self._word.append(text)
            return
        for character in text:
            if character in SPACE:
                self._end()
            else:
                self._word.append(character)

    def _end(self) -> None:
        if word := "".join(self._word):
            self._words.append(word)
        self._word.clear()

    def result(self) -> tuple[str, list[str]]:
        self._end()
        return "".join(self._text), self._words


class _Cursor:
    """A place in a text that is being expanded."""

    def __init__(self, lexer: Lexer, text: str, environment: Mapping[str, str]) -> None:
        self._lexer = lexer
        self._text = text
        self._at = 0
        self._environment = environment
        self._raw_escapes = lexer.raw_escapes
        self.used: set[str] = set()
        self.missing: set[str] = set()
        self._special: dict[str, Callable[[], str]] = {"$": self._dollar, "<": self._heredoc}
        if not lexer.plain_quotes:
            self._special |= {"'": self._single, '"': self._double}

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        """The character here, which the cursor then has behind it; empty at the end."""
        character = self._peek()
        self._at += 1
        return character

    def until(self, stop: str, *, raw_escapes: bool) -> tuple[str, list[str]]:
        """Expand up to the unquoted character `stop`, which is consumed; to the end of the text when it is empty."""
        before, self._raw_escapes = self._raw_escapes, raw_escapes
        try:
            return self._until(stop)
        finally:
            self._raw_escapes = before

    def _until(self, stop: str) -> tuple[str, list[str]]:
        words = _Words()
        while character := self._peek():
            if character == stop:
                self._at += 1
                return words.result()
            if character in self._special:
                words.add(self._special[character](), splits=character == "$")
            elif character == self._lexer.escape:
                self._at += 1
                words.add((character if self._raw_escapes else "") + self._next(), splits=False)
            else:
                words.add(self._plain(stop), splits=True)
        if stop:
            raise InvalidError(f"syntax error: missing '{stop}'" + (" in ${}" if stop == "/" else ""))
        return words.result()

    def _plain(self, stop: str) -> str:
        """Characters without a meaning, as many as there are."""
        start = self._at
        while (c := self._peek()) and c != stop and c != self._lexer.escape and c not in self._special:
            self._at += 1
        return self._text[start : self._at]

    def _quote(self, character: str) -> str:
        return character if self._lexer.raw_quotes else ""

    def _single(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise InvalidError("unexpected end of statement while looking for matching single-quote")
        text = self._text[self._at + 1 : end]
        self._at = end + 1
        return self._quote("'") + text + self._quote("'")

    def _double(self) -> str:
        self._at += 1
        parts = [self._quote('"')]
        while character := self._peek():
            if character == '"':
                self._at += 1
                return "".join([*parts, self._quote('"')])
            parts.append(self._dollar() if character == "$" else self._double_character())
        raise InvalidError("unexpected end of statement while looking for matching double-quote")

    def _double_character(self) -> str:
        character = self._next()
        if character != self._lexer.escape:
            return character
        raw = character if self._raw_escapes else ""
        if self._peek() in ('"', "$", self._lexer.escape):
            return raw + self._next()
        return raw + character

    def _heredoc(self) -> str:
        """Blanks between `<<` and the name don't part them."""
        self._at += 1
        if self._peek() != "<":
            return "<"
        start = self._at - 1
        self._at += 1
        while self._peek() in ("\t", "\r", " "):
            self._at += 1
        return self._text[start : self._at]

    def _dollar(self) -> str:
        self._at += 1
        if self._peek() == "{":
            self._at += 1
            return self._braced()
        name = self._name()
        if not name:
            return "$"
        value = self._value(name)
        if value is None and self._lexer.keep_missing:
            return f"${name}"
        return value or ""

    def _name(self) -> str:
        start = self._at
        if self._peek().isdecimal():
            while self._peek().isdecimal():
                self._at += 1
        elif self._peek() and self._peek() in _SPECIAL:
            self._at += 1
        else:
            while (c := self._peek()) and (c.isalpha() or c.isdecimal() or c == "_"):
                self._at += 1
        return self._text[start : self._at]

    def _value(self, name: str) -> str | None:
        value = self._environment.get(name)
        (self.missing if value is None else self.used).add(name)
        return value

    def _braced(self) -> str:
        if self._peek() in ("{", "}", ":"):
            raise InvalidError("syntax error: bad substitution")
        name = self._name()
        modifier = self._next()
        if not modifier:
            raise InvalidError("syntax error: missing '}'")
        if modifier == "}":
            value = self._value(name)
            return f"${{{name}}}" if value is None and self._lexer.keep_missing else value or ""
        if modifier == "/":
            return self._replaced(name)
        if modifier == ":":
            modifier += self._next()
        if modifier not in ("-", "+", "?", "#", "%", ":-", ":+", ":?"):
            raise InvalidError(f"unsupported modifier ({modifier}) in substitution")
        word = self.until("}", raw_escapes=modifier in "#%")[0]
        value = self._value(name)
        if value is None and self._lexer.keep_missing:
            return f"${{{name}{modifier}{word}}}"
        return _modified(name, value, modifier, word)

    def _replaced(self, name: str) -> str:
        every = self._peek() == "/"
        self._at += every
        pattern = self.until("/", raw_escapes=True)[0]
        replacement = self.until("}", raw_escapes=True)[0]
        value = self._value(name)
        if value is None and self._lexer.keep_missing:
            return f"${{{name}/{'/' if every else ''}{pattern}/{replacement}}}"
        return shellpattern.replaced(value or "", pattern, replacement, every=every)


def _modified(name: str, value: str | None, modifier: str, word: str) -> str:
    """`${name<modifier>word}` of a variable with this value, None for none."""
    if modifier in "#%":
        longest = word.startswith(modifier)
        trim = shellpattern.without_prefix if modifier == "#" else shellpattern.without_suffix
        return trim(value or "", word.removeprefix(modifier) if longest else word, longest=longest)
    counts_empty = modifier.startswith(":")
    given = value if value or not counts_empty else None
    if modifier.endswith("+"):
        return word if given is not None else ""
    if given is None and modifier.endswith("?"):
        what = "empty" if value is not None else "unset"
        raise InvalidError(f"{name}: {word or f'is not allowed to be {what}'}")
    return word if given is None else given
