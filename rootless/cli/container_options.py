"""The options that describe a container, the same for `run` and `create`, and how their texts are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import click

from ..container import signals, sizes
from ..container.health import Check
from ..container.record import Ulimit
from ..container.spec import Options
from ..errors import RootlessError, UsageError
from .env_options import environment, labels
from .log_options import LOG_OPTIONS, read_log_options
from .mount_options import MOUNT_OPTIONS, read_mounts
from .namespace_options import namespace_options, read_namespaces
from .network_options import network_options, read_network
from .options import invalid
from .storage_options import read_storage, storage_option

_OPTIONS = (
    click.option("--name", default="", help="Assign a name to the container"),
    click.option("--rm", "auto_remove", is_flag=True, help="Remove the container and its files when it exits"),
    click.option("--cidfile", default="", metavar="FILE", help="Write the container ID to the file"),
    click.option("-a", "--attach", multiple=True, metavar="LIST", help="Attach to STDIN, STDOUT or STDERR"),
    click.option("-i", "--interactive", is_flag=True, help="Keep STDIN open even if not attached"),
    click.option("-t", "--tty", is_flag=True, help="Allocate a pseudo-TTY"),
    click.option("-e", "--env", multiple=True, metavar="LIST", help="Set environment variables"),
    click.option("--env-file", multiple=True, metavar="FILE", help="Read in a file of environment variables"),
    click.option("-w", "--workdir", default="", metavar="DIR", help="Working directory inside the container"),
    click.option("-u", "--user", default="", metavar="USER", help="Username or UID (format: <name|uid>[:<group|gid>])"),
    click.option("--group-add", multiple=True, metavar="LIST", help="Add additional groups to join"),
    click.option("--entrypoint", metavar="PATH", help="Overwrite the default ENTRYPOINT of the image"),
    click.option("-h", "--hostname", default="", metavar="NAME", help="Container host name"),
    click.option("--domainname", default="", metavar="NAME", help="Container NIS domain name"),
    click.option("-l", "--label", multiple=True, metavar="LIST", help="Set meta data on a container"),
    click.option("--label-file", multiple=True, metavar="FILE", help="Read in a line delimited file of labels"),
    click.option("--health-cmd", metavar="STRING", help="Command to run to check health"),
    click.option(
        "--health-interval", metavar="DURATION", help="Time between running the check (ms|s|m|h) (default 30s)"
    ),
    click.option("--health-retries", type=int, metavar="INT", help="Consecutive failures needed to report unhealthy"),
    click.option("--health-start-interval", metavar="DURATION", help="Time between checks during the start period"),
    click.option(
        "--health-start-period", metavar="DURATION", help="Start period to initialize before counting failures"
    ),
    click.option("--health-timeout", metavar="DURATION", help="Maximum time to allow one check to run (default 30s)"),
    click.option("--no-healthcheck", is_flag=True, help="Disable any container-specified HEALTHCHECK"),
    click.option("--restart", default="no", metavar="STRING", help="Restart policy to apply when a container exits"),
    *LOG_OPTIONS,
    storage_option,
    click.option("--stop-signal", default="", metavar="STRING", help="Signal to stop the container"),
    click.option("--stop-timeout", default=10, metavar="INT", help="Timeout (in seconds) to stop a container"),
    click.option("--init", is_flag=True, help="Run an init that forwards signals and reaps processes"),
    click.option("--read-only", is_flag=True, help="Mount the container's root filesystem as read only"),
    *MOUNT_OPTIONS,
    click.option("--shm-size", default="64m", metavar="BYTES", help="Size of /dev/shm"),
    click.option("--cgroup-parent", default="", metavar="STRING", help="Optional parent cgroup for the container"),
    click.option("--ulimit", multiple=True, metavar="LIST", help="Ulimit options"),
    click.option("--cap-add", multiple=True, metavar="LIST", help="Add Linux capabilities"),
    click.option("--cap-drop", multiple=True, metavar="LIST", help="Drop Linux capabilities"),
    click.option("--privileged", is_flag=True, help="Give extended privileges to this container"),
    click.option("--security-opt", multiple=True, metavar="LIST", help="Security Options"),
)

DEFAULT_SHM_SIZE = 64 << 20
"""Bytes; also for a size of 0, which for tmpfs itself would mean no limit."""

DEFAULT_CHECK = Check(test=())


def container_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with all of them."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return namespace_options(network_options(function))


def read_options(*, command: tuple[str, ...], env: Sequence[str], env_file: Sequence[str], **given: Any) -> Options:
    """What the options say, checked as far as a text can be.

    Raises:
        UsageError: a text that means nothing.
        NotFoundError: a file that is not there.
    """
    security = _Security(given.pop("security_opt"))
    storage = read_storage(given.pop("storage_opt"))
    namespaces = read_namespaces(given)
    network = read_network(given)
    mounts = read_mounts(given)
    health = health_check(given)
    policy, retries = restart_policy(given.pop("restart"))
    if policy != "no" and given["auto_remove"]:
        raise UsageError("conflicting options: cannot specify both --restart and --rm")
    if given["stop_signal"]:
        signals.parse(given["stop_signal"])
    return Options(
        command=command,
        attach=tuple(attached(text) for text in given.pop("attach")),
        env=tuple(environment(env, env_file)),
        labels=dict(labels(given.pop("label"), given.pop("label_file"))),
        restart=policy,
        health=Check(**({"test": ()} | health)),
        health_set=tuple(health),
        restart_retries=retries,
        log=read_log_options(given.pop("log_driver"), given.pop("log_opt")),
        shm_size=size(given.pop("shm_size"), "--shm-size") or DEFAULT_SHM_SIZE,
        ulimits=tuple(ulimit(text) for text in given.pop("ulimit")),
        no_new_privileges=security.no_new_privileges,
        seccomp=security.seccomp,
        unmasked=security.unmasked,
        **namespaces,
        storage_opt=storage,
        **network,
        **mounts,
        **given,
    )


def attached(text: str) -> str:
    """The name of a stream, as `--attach` takes it."""
    if text.lower() not in ("stdin", "stdout", "stderr"):
        raise invalid(text, "-a, --attach", "valid streams are STDIN, STDOUT and STDERR")
    return text.lower()


def health_check(given: dict[str, Any]) -> dict[str, Any]:
    """Take the --health-* options out of `given`: the fields of the check that they set.

    Raises:
        UsageError: a time that is none, or a negative one.
    """
    command, retries = given.pop("health_cmd"), given.pop("health_retries")
    found: dict[str, Any] = {}
    if command is not None:
        found["test"] = ("CMD-SHELL", command)
    if retries is not None:
        if retries < 0:
            raise UsageError("--health-retries cannot be negative")
        found["retries"] = retries or DEFAULT_CHECK.retries
    for field in "interval", "timeout", "start_period", "start_interval":
        text = given.pop(f"health_{field}")
        if text is not None:
            found[field] = _duration(text, f"--health-{field.replace('_', '-')}") or getattr(DEFAULT_CHECK, field)
    return found


def _duration(text: str, flag: str) -> int:
    from ..image.healthcheck import duration

    try:
        value = duration(text)
    except RootlessError:
        raise invalid(text, flag, f'time: invalid duration "{text}"') from None
    if value < 0:
        raise UsageError(f"{flag} cannot be negative")
    return value


def restart_policy(text: str) -> tuple[str, int]:
    """`no`, `always`, `unless-stopped`, `on-failure[:RETRIES]`: (policy, retries; 0 for as many as it takes)."""
    name, colon, count = text.partition(":")
    if name not in ("no", "always", "unless-stopped", "on-failure"):
        raise UsageError(
            f"invalid restart policy: unknown policy '{name}'",
            hint="use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
        )
    if not colon:
        return name, 0
    if name != "on-failure":
        raise UsageError("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if not count.isdecimal():
        raise UsageError("invalid restart policy: maximum retry count must be an integer")
    return name, int(count)


def size(text: str, flag: str) -> int:
    """A number of bytes with Docker's suffixes b, k, m, g, t, p (powers of 1024), in any case, also as kb, mb ..."""
    try:
        return sizes.parse(text)
    except UsageError as problem:
        raise invalid(text, flag, problem.message) from None


def ulimit(text: str) -> Ulimit:
    """`NAME=SOFT[:HARD]`; -1 is unlimited, a hard limit left out equals the soft one."""
    from ..runtime.privileges import LIMITS

    name, _, values = text.partition("=")
    soft, _, hard = values.partition(":")
    if not re.fullmatch(r"-?\d+(:-?\d+)?", values):
        raise invalid(text, "--ulimit", f"invalid ulimit argument: {text}")
    if name not in LIMITS:
        raise invalid(text, "--ulimit", f"invalid ulimit type: {name}")
    limit = Ulimit(name, int(soft), int(hard or soft))
    if limit.hard >= 0 and (limit.soft < 0 or limit.soft > limit.hard):
        message = f"ulimit soft limit must be less than or equal to hard limit: {limit.soft} > {limit.hard}"
        raise invalid(text, "--ulimit", message)
    return limit


class _Security:
    """`--security-opt`: no-new-privileges, seccomp=, systempaths=, and those that ask for what is so anyway."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.no_new_privileges = False
        self.seccomp = ""
        self.unmasked = False
        for text in texts:
            self._read(text)

    def _read(self, text: str) -> None:
        name, value = re.match(r"([^=:]*)[=:]?(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
        if name == "no-new-privileges" and value in ("", "true", "false"):
            self.no_new_privileges = value != "false"
        elif name == "seccomp" and value:
            self.seccomp = _seccomp(value)
        elif name == "systempaths" and value == "unconfined":
            self.unmasked = True
        elif text not in ("apparmor=unconfined", "label=disable"):
            hint = "there are: no-new-privileges, seccomp=unconfined|builtin|FILE, systempaths=unconfined"
            raise UsageError(f'invalid argument "{text}" for "--security-opt" flag: unknown option', hint=hint)


def _seccomp(value: str) -> str:
    if value == "unconfined":
        return value
    if value == "builtin":
        return ""
    from ..runtime.seccomp import read_profile

    return read_profile(value).decode()
