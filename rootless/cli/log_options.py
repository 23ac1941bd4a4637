"""`--log-driver` and `--log-opt` of `run` and `create`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from ..container.record import LogConfig
from ..runtime.logs import JSON_FILE, check_options

_OPTIONS = (
    click.option("--log-driver", default=JSON_FILE, metavar="STRING", help="Logging driver for the container"),
    click.option("--log-opt", "log_opts", multiple=True, metavar="LIST", help="Log driver options"),
)


def log_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with both."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def read_log_options(driver: str, texts: Sequence[str]) -> LogConfig:
    """What a container's spec keeps of them. Of an option that was given twice, the last value counts.

    Raises:
        UsageError: an unknown driver or option, or a value that means nothing.
    """
    options = dict(text.partition("=")[::2] for text in texts)
    check_options(driver, options)
    return LogConfig(driver, options)
