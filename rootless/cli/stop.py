"""`rootless stop`, `restart`, `kill`, `pause` and `unpause`."""

from __future__ import annotations

import click

from ..container.signals import parse
from .context import Context
from .each import for_each, for_each_at_once
from .options import Command


def _signal(text: str) -> int | None:
    return parse(text) if text else None


def _seconds(given: float | None) -> float | None:
    """Docker's numbers: a negative one waits for ever."""
    return given if given is None or given >= 0 else -1.0


_signal_option = click.option(
    "-s", "--signal", "number", default="", metavar="STRING", help="Signal to send to the container"
)
_time_option = click.option(
    "-t", "--timeout", "--time", "seconds", type=int, metavar="INT", help="Seconds to wait before killing the container"
)


@click.command(cls=Command, at_least=1, short_help="Stop one or more running containers")
@_signal_option
@_time_option
@click.argument("containers", nargs=-1)
@click.pass_context
def stop(ctx: click.Context, /, containers: tuple[str, ...], number: str, seconds: int | None) -> int:
    """Stop one or more running CONTAINERS: by their stop signal, and after a while by SIGKILL."""
    from ..container import operate

    context: Context = ctx.obj
    chosen = _signal(number)

    def work(name: str) -> None:
        operate.stop(context.containers.resolve(name), chosen, _seconds(seconds))

    return for_each_at_once(containers, work)


@click.command(cls=Command, at_least=1, short_help="Restart one or more containers")
@_signal_option
@_time_option
@click.argument("containers", nargs=-1)
@click.pass_context
def restart(ctx: click.Context, /, containers: tuple[str, ...], number: str, seconds: int | None) -> int:
    """Stop one or more CONTAINERS, if they run, and start them again."""
    from ..container import starting
    from . import streams

    context: Context = ctx.obj
    chosen = _signal(number)

    def work(name: str) -> None:
        container = context.containers.resolve(name)
        started = starting.restart(container, chosen, _seconds(seconds), streams.window(), debug=context.debug)
        streams.warn(started.warnings if started is not None else ())

    return for_each(containers, work)


@click.command(cls=Command, at_least=1, short_help="Kill one or more running containers")
@click.option("-s", "--signal", "number", default="KILL", metavar="STRING", help="Signal to send to the container")
@click.argument("containers", nargs=-1)
@click.pass_context
def kill(ctx: click.Context, /, containers: tuple[str, ...], number: str) -> int:
    """Send a signal, SIGKILL if none is named, to PID 1 of each of CONTAINERS."""
    from ..container import operate

    context: Context = ctx.obj
    chosen = parse(number)
    return for_each(containers, lambda name: operate.kill(context.containers.resolve(name), chosen))


@click.command(cls=Command, at_least=1, short_help="Pause all processes within one or more containers")
@click.argument("containers", nargs=-1)
@click.pass_context
def pause(ctx: click.Context, /, containers: tuple[str, ...]) -> int:
    """Let no process of CONTAINERS run until `unpause`."""
    from ..container import operate

    context: Context = ctx.obj
    return for_each(containers, lambda name: operate.pause(context.containers.resolve(name)))


@click.command(cls=Command, at_least=1, short_help="Unpause all processes within one or more containers")
@click.argument("containers", nargs=-1)
@click.pass_context
def unpause(ctx: click.Context, /, containers: tuple[str, ...]) -> int:
    """Let the processes of paused CONTAINERS run again."""
    from ..container import operate

    context: Context = ctx.obj
    return for_each(containers, lambda name: operate.unpause(context.containers.resolve(name)))
