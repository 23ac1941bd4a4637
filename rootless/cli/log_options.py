"""`--log-driver` and `--log-opt` of `run` and `create`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ..container.record import LogConfig
from ..runtime.logs import JSON_FILE, check_options

LOG_OPTIONS = (
    click.option("--log-driver", default=JSON_FILE, metavar="STRING", help="Logging driver for the container"),
    click.option("--log-opt", multiple=True, metavar="LIST", help="Log driver options"),
)
"""The decorators, to be laid around a command that takes `log_driver` and `log_opt`."""


def read_log_options(driver: str, texts: Sequence[str]) -> LogConfig:
    """What a container's spec keeps of them. Of an option that was given twice, the last value counts.

    Raises:
        UsageError: an unknown driver or option, or a value that means nothing.
    """
    options = dict(text.partition("=")[::2] for text in texts)
    check_options(driver, options)
    return LogConfig(driver, options)
