"""`rootless stop`, `restart`, `kill`, `pause` and `unpause`."""

from __future__ import annotations

from ..container.signals import parse
from . import flags
from .context import Context
from .each import for_each, for_each_at_once


def _signal(text: str) -> int | None:
    return parse(text) if text else None


def _seconds(given: float | None) -> float | None:
    """Docker's numbers: a negative one waits for ever."""
    return given if given is None or given >= 0 else -1.0


_signal_option = flags.option(
    "-s", "--signal", "number", default="", metavar="STRING", help="Signal to send to the container"
)
_time_option = flags.option(
    "-t",
    "--timeout",
    "--time",
    "seconds",
    integer=True,
    metavar="INT",
    help="Seconds to wait before killing the container",
)


@flags.command("CONTAINER [CONTAINER...]", at_least=1)
@_signal_option
@_time_option
@flags.argument("containers", many=True)
def stop(context: Context, /, containers: tuple[str, ...], number: str, seconds: int | None) -> int:
    """Stop one or more running CONTAINERS: by their stop signal, and after a while by SIGKILL."""
    from ..container import operate

    chosen = _signal(number)

    def work(name: str) -> None:
        operate.stop(context.containers.resolve(name), chosen, _seconds(seconds))

    return for_each_at_once(containers, work)


@flags.command("CONTAINER [CONTAINER...]", at_least=1)
@_signal_option
@_time_option
@flags.argument("containers", many=True)
def restart(context: Context, /, containers: tuple[str, ...], number: str, seconds: int | None) -> int:
    """Stop one or more CONTAINERS, if they run, and start them again."""
    from ..container import starting
    from . import streams

    chosen = _signal(number)

    def work(name: str) -> None:
        container = context.containers.resolve(name)
        started = starting.restart(container, chosen, _seconds(seconds), streams.window(), debug=context.debug)
        streams.warn(started.warnings if started is not None else ())

    return for_each(containers, work)


@flags.command("CONTAINER [CONTAINER...]", at_least=1)
@flags.option("-s", "--signal", "number", default="KILL", metavar="STRING", help="Signal to send to the container")
@flags.argument("containers", many=True)
def kill(context: Context, /, containers: tuple[str, ...], number: str) -> int:
    """Send a signal, SIGKILL if none is named, to PID 1 of each of CONTAINERS."""
    from ..container import operate

    chosen = parse(number)
    return for_each(containers, lambda name: operate.kill(context.containers.resolve(name), chosen))


@flags.command("CONTAINER [CONTAINER...]", at_least=1)
@flags.argument("containers", many=True)
def pause(context: Context, /, containers: tuple[str, ...]) -> int:
    """Let no process of CONTAINERS run until `unpause`."""
    from ..container import operate

    return for_each(containers, lambda name: operate.pause(context.containers.resolve(name)))


@flags.command("CONTAINER [CONTAINER...]", at_least=1)
@flags.argument("containers", many=True)
def unpause(context: Context, /, containers: tuple[str, ...]) -> int:
    """Let the processes of paused CONTAINERS run again."""
    from ..container import operate

    return for_each(containers, lambda name: operate.unpause(context.containers.resolve(name)))
