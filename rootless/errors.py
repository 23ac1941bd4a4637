"""One tree of errors: what went wrong, to what, and what to do next.

    RootlessError                     1 (from `run` 125: the engine failed, not the command)
    ├── UsageError                    125: an option or argument that makes no sense
    ├── NotFoundError                 no such image, container, volume, user
    ├── ConflictError                 a name that is taken, a thing that is in use
    ├── InvalidError                  a document or an archive from outside that is not what it should be
    ├── StoreError                    the store on disk: a newer format, damage, no space
    ├── UnavailableError              what this kernel or machine does not offer
    └── CommandError                  126 / 127: the container's command can't be executed / is not there

Every error is one line. Only `cli.main` turns one into text and an exit code; nothing else prints.
"""

from __future__ import annotations

from collections.abc import Callable


class RootlessError(Exception):
    """What the user is told. `message` says what happened and to what; `hint`, when there is one, what to do next.

    Attributes:
        exit_code: what the command line ends with, unless the command has a code of its own for the engine's failures.
        picture: lines to be shown above it, as those of a file around what is wrong in it; mostly none.
    """

    exit_code = 1
    picture = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Callable[..., RootlessError], tuple[type[RootlessError], dict[str, object]]]:
        """Errors cross from a child in the room to its caller by pickle, which by itself drops keyword arguments."""
        return _rebuild, (type(self), self.__dict__)

    def __str__(self) -> str:
        """The whole line, printable."""
        text = f"{self.message}; {self.hint}" if self.hint else self.message
        return printable(text)


def printable(text: str) -> str:
    """`text` as it may be shown on a terminal: what is not printable, as a control character, appears as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def encodable(text: str) -> str:
    """`text` as JSON can hold it: a word of a command line need not be UTF-8 (execve(2)), and what is not (a surrogate,
    PEP 383) appears as U+FFFD, as Go's encoders write it."""
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)


def _rebuild(kind: type[RootlessError], state: dict[str, object]) -> RootlessError:
    error = kind.__new__(kind, state.get("message", ""))
    error.__dict__.update(state)
    return error


class UsageError(RootlessError):
    """The command line makes no sense, whatever the state of the store."""

    exit_code = 125


class NotFoundError(RootlessError):
    """The named thing does not exist."""


class ConflictError(RootlessError):
    """The thing exists already, or is in use."""


class InvalidError(RootlessError):
    """A document, an archive or an answer from outside is malformed, hostile or not what was promised.

    So is a value of an option that Docker's client passes on and its engine refuses: no UsageError, and another code.
    """


class StoreError(RootlessError):
    """The store can't be read or written."""


class UnavailableError(RootlessError):
    """This kernel, machine or account lacks something; the hint names who can change it and how."""


class CommandError(RootlessError):
    """An end with a code of its own. PID 1 could not execute the command: Docker's 126 (found, not executable) or 127
    (not found)."""

    def __init__(self, message: str, *, exit_code: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class Interrupted(Exception):
    """No error: a signal ends this command, after it has left everything in order. As in a shell: 128 + number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
