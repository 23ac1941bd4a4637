"""Docker's options of which nothing can hold here: each is checked as Docker checks it, and a warning says what does
not hold, and what would help instead. A script that has them runs all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from ..errors import UsageError
from .container_options import size
from .options import invalid

_OPTIONS = (
    click.option("--cpu-rt-period", type=int, metavar="INT", help="Limit CPU real-time period (does not hold)"),
    click.option("--cpu-rt-runtime", type=int, metavar="INT", help="Limit CPU real-time runtime (does not hold)"),
    click.option("--kernel-memory", metavar="BYTES", help="Kernel memory limit (does not hold)"),
    click.option("--memory-swappiness", default=-1, metavar="INT", help="Tune memory swappiness (does not hold)"),
    click.option("--oom-kill-disable", is_flag=True, help="Disable OOM Killer (does not hold)"),
    click.option("--device-cgroup-rule", multiple=True, metavar="LIST", help="Add a device rule (does not hold)"),
    click.option(
        "--disable-content-trust/--no-disable-content-trust",
        default=True,
        help="Skip image verification (default true)",
    ),
)

_REAL_TIME = (
    "a share of real-time processing exists in cgroup version 1 only; an administrator can allow real-time "
    "priorities with a line in /etc/security/limits.conf, and --ulimit rtprio=N then gives them"
)
_RULE = re.compile(r"[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}")


def unheld_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with all of them."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def take_unheld(given: dict[str, Any]) -> list[str]:
    """Take these options out of what a command was given; a line for each that was named.

    Raises:
        UsageError: a value that Docker refuses as well, or content trust, of which there is none.
    """
    period, runtime = given.pop("cpu_rt_period"), given.pop("cpu_rt_runtime")
    kernel_memory, swappiness = given.pop("kernel_memory"), given.pop("memory_swappiness")
    rules, oom_kill_disable = given.pop("device_cgroup_rule"), given.pop("oom_kill_disable")
    if not given.pop("disable_content_trust"):
        raise UsageError("content trust is not checked here", hint="name the image by its digest: NAME@sha256:...")
    if kernel_memory is not None:
        size(kernel_memory, "--kernel-memory")
    if not -1 <= swappiness <= 100:
        raise UsageError(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    for rule in rules:
        if not _RULE.fullmatch(rule):
            raise invalid(rule, "--device-cgroup-rule", f"invalid device cgroup format '{rule}'")
    named = {
        f"--cpu-rt-period does not hold: {_REAL_TIME}": period,
        f"--cpu-rt-runtime does not hold: {_REAL_TIME}": runtime,
        "--kernel-memory does not hold: the kernel has given it up, its memory counts for --memory": kernel_memory,
        "--memory-swappiness does not hold: it exists in cgroup version 1 only; an administrator can set the machine's "
        "with sysctl vm.swappiness=N": swappiness >= 0,
        "--oom-kill-disable does not hold: it exists in cgroup version 1 only; --oom-score-adj says who is killed "
        "first": oom_kill_disable,
        "--device-cgroup-rule does not hold: the container can use the devices that --device gives it, as far as you "
        "can; device nodes only an administrator makes": rules,
    }
    return [line for line, value in named.items() if value]
