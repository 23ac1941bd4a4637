"""The Dockerfile instructions that `import --change` and `commit --change` apply to an image's configuration.

An instruction is read as moby's builder reads it (dockerfile/parser in buildkit, builder/dockerfile/dispatchers.go):
CMD, ENTRYPOINT, SHELL and VOLUME take a JSON array or plain words; variables out of the configuration's own environment
are expanded in ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR, and nowhere else.
"""

from __future__ import annotations

import posixpath
import re
import signal
from collections.abc import Callable, Iterable

import msgspec

from ..errors import InvalidError
from . import expand, healthcheck, words
from .spec import RunConfig

DEFAULT_SHELL = ["/bin/sh", "-c"]

_PORT = re.compile(r"(?:[^/]*:)?([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/([A-Za-z]*))?", re.ASCII)
_CONTINUED = re.compile(r"\\[ \t]*\n")


def apply(config: RunConfig, changes: Iterable[str]) -> RunConfig:
    """The configuration after these instructions, in their order; `config` itself stays as it is.

    Raises:
        InvalidError: an instruction is unknown or malformed; names it.
    """
    editor = _Editor(config.changed())
    for change in changes:
        editor.apply(_CONTINUED.sub("", change))
    return editor.config


def parse_command(text: str) -> tuple[list[str], bool]:
    """The words of a command and whether they were given as a JSON array; plain text is one word for a shell.

    Raises:
        InvalidError: a JSON array of something else than strings.
    """
    if text.startswith("["):
        try:
            found = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return [text], False  # `[ -f x ] && y` is a fine line for a shell
        if not all(isinstance(item, str) for item in found):
            raise InvalidError("when using JSON array syntax, arrays must be comprised of strings only")
        return found, True
    return ([text] if text else []), False


def parse_pairs(text: str, instruction: str) -> list[tuple[str, str]]:
    """The names and values after ENV or LABEL, with quotes and variables still in them: `a=b "c d"=e`, or `a b c`.

    Raises:
        InvalidError: a word without `=`, or a name without a value.
    """
    parts = words.split(text)
    if not parts:
        raise InvalidError(f"{instruction} requires at least one argument")
    if "=" not in parts[0]:
        name, *value = text.split(None, 1)
        if not value:
            raise InvalidError(f"{instruction} must have two arguments")
        return [(name, value[0].strip())]
    pairs = [part.partition("=") for part in parts]
    for part, (name, equals, _) in zip(parts, pairs, strict=True):
        if not equals:
            raise InvalidError(f"Syntax error - can't find = in {part!r}. Must be of the form: name=value")
        if not name:
            raise InvalidError(f"{instruction} names can not be blank")
    return [(name, value) for name, _, value in pairs]


def parse_ports(word: str) -> list[str]:
    """`80`, `53/udp` or `8000-8003/tcp` as the keys that ExposedPorts has.

    Raises:
        InvalidError: in Docker's words.
    """
    match = _PORT.fullmatch(word)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if match is None or max(first, last) > 65535:
        raise InvalidError(f"invalid containerPort: {word}")
    if last < first:
        raise InvalidError(f"invalid range specified for port: {word}")
    protocol = (match[3] or "tcp").lower()
    if protocol not in ("tcp", "udp", "sctp"):
        raise InvalidError(f"invalid proto: {protocol}")
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def check_signal(text: str) -> str:
    """`text`, when it names a signal: `SIGTERM`, `TERM`, `RTMIN+3` or a number.

    Raises:
        InvalidError: it does not.
    """
    if text.isascii() and text.isdigit():
        known = 0 < int(text) <= signal.SIGRTMAX
    else:
        name = text.upper().removeprefix("SIG")
        known = bool(re.fullmatch(r"RTMIN(\+([0-9]|1[0-5]))?|RTMAX(-([0-9]|1[0-4]))?", name, re.ASCII))
        known = known or f"SIG{name}" in signal.Signals.__members__
    if not known:
        raise InvalidError(f"Invalid signal: {text}")
    return text


def set_variable(environment: list[str], name: str, value: str) -> list[str]:
    """A copy of `NAME=value` lines with one set, in its old place if it had one."""
    line = f"{name}={value}"
    if not any(old.partition("=")[0] == name for old in environment):
        return [*environment, line]
    return [line if old.partition("=")[0] == name else old for old in environment]


class _Editor:
    """A configuration, and whether one of the instructions set its command."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self._command_set = False

    def apply(self, change: str) -> None:
        instruction, *rest = change.strip().split(None, 1) or [""]
        handlers: dict[str, Callable[[str], None]] = {
            "CMD": self._cmd,
            "ENTRYPOINT": self._entrypoint,
            "ENV": self._env,
            "EXPOSE": self._expose,
            "HEALTHCHECK": self._healthcheck,
            "LABEL": self._label,
            "ONBUILD": self._onbuild,
            "SHELL": self._shell,
            "STOPSIGNAL": self._stopsignal,
            "USER": self._user,
            "VOLUME": self._volume,
            "WORKDIR": self._workdir,
        }
        handler = handlers.get(instruction.upper())
        if handler is None:
            known = ", ".join(handlers)
            raise InvalidError(f"{instruction or 'nothing'} is not a valid change command", hint=f"use one of {known}")
        handler(rest[0] if rest else "")

    def _expanded(self, text: str) -> str:
        environment = dict(line.partition("=")[::2] for line in self.config.env or [])
        return expand.Lexer().expand(text, environment).text

    def _single(self, text: str, instruction: str) -> str:
        if not text:
            raise InvalidError(f"{instruction} requires exactly one argument")
        return self._expanded(text)

    def _command_line(self, text: str) -> list[str]:
        """The shell form is given to the image's shell, which is a part of the configuration."""
        command, exec_form = parse_command(text)
        return command if exec_form or not command else [*(self.config.shell or DEFAULT_SHELL), *command]

    def _cmd(self, text: str) -> None:
        self.config.cmd = self._command_line(text)
        self._command_set = bool(self.config.cmd)

    def _entrypoint(self, text: str) -> None:
        self.config.entrypoint = self._command_line(text) or None
        if not self._command_set:
            # A command that was inherited was meant for the old entry point.
            self.config.cmd = None

    def _env(self, text: str) -> None:
        environment = self.config.env or []
        for name, value in parse_pairs(text, "ENV"):
            environment = set_variable(environment, self._expanded(name), self._expanded(value))
        self.config.env = environment

    def _label(self, text: str) -> None:
        pairs = parse_pairs(text, "LABEL")
        new = {self._expanded(name): self._expanded(value) for name, value in pairs}
        self.config.labels = (self.config.labels or {}) | new

    def _expose(self, text: str) -> None:
        if not text:
            raise InvalidError("EXPOSE requires at least one argument")
        ports = [port for word in self._expanded(text).split() for port in parse_ports(word)]
        self.config.exposed_ports = (self.config.exposed_ports or {}) | {port: {} for port in ports}

    def _volume(self, text: str) -> None:
        listed, exec_form = parse_command(text)
        paths = [self._expanded(path).strip() for path in (listed if exec_form else text.split())]
        if not paths:
            raise InvalidError("VOLUME requires at least one argument")
        if "" in paths:
            raise InvalidError("VOLUME specified can not be an empty string")
        self.config.volumes = (self.config.volumes or {}) | {path: {} for path in paths}

    def _workdir(self, text: str) -> None:
        path = posixpath.join("/", self.config.working_dir or "/", self._single(text, "WORKDIR"))
        self.config.working_dir = posixpath.normpath("/" + path.lstrip("/"))

    def _user(self, text: str) -> None:
        self.config.user = self._single(text, "USER")

    def _stopsignal(self, text: str) -> None:
        self.config.stop_signal = check_signal(self._single(text, "STOPSIGNAL"))

    def _shell(self, text: str) -> None:
        command, exec_form = parse_command(text)
        if not exec_form:
            raise InvalidError("SHELL requires the arguments to be in JSON form")
        if not command:
            raise InvalidError("SHELL requires at least one argument")
        self.config.shell = command

    def _healthcheck(self, text: str) -> None:
        self.config.healthcheck = healthcheck.parse(text, parse_command)

    def _onbuild(self, text: str) -> None:
        trigger = text.split(None, 1)[0].upper() if text else ""
        if not trigger:
            raise InvalidError("ONBUILD requires at least one argument")
        if trigger == "ONBUILD":
            raise InvalidError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
        if trigger in ("FROM", "MAINTAINER"):
            raise InvalidError(f"{trigger} isn't allowed as an ONBUILD trigger")
        self.config.on_build = [*(self.config.on_build or []), text]
