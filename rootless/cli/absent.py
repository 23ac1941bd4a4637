"""What Docker's command line has and this one has not on purpose, each with the reason that a user is told.

docs/differences.md is the list for people.
"""

from __future__ import annotations

_SWARM = "it is for clusters of machines, and there is no swarm here"
_WINDOWS = "it is for containers of Windows"
_DAEMON = "there is no daemon to be asked"

COMMANDS = {
    **dict.fromkeys(("config", "node", "secret", "service", "stack", "swarm"), _SWARM),
    "checkpoint": "to freeze a container's processes into files takes the machine's root (CRIU)",
    "context": _DAEMON,
    "manifest": "lists of manifests are not made here",
    "plugin": "there are no plugins",
    "search": "registries other than Docker Hub can't be searched; look at https://hub.docker.com",
    "trust": "content trust is not checked here; name an image by its digest",
}

OPTIONS = {
    **dict.fromkeys(("--cpu-count", "--cpu-percent", "--io-maxbandwidth", "--io-maxiops", "--isolation"), _WINDOWS),
    "--gpus": "the driver's own container tools would be needed; --device /dev/... gives a device that you may use",
    "--runtime": "there is one runtime, this one",
    "--use-api-socket": _DAEMON,
    "--host": _DAEMON,
    "--tls": _DAEMON,
    "--tlsverify": _DAEMON,
    "--checkpoint": COMMANDS["checkpoint"],
    "--checkpoint-dir": COMMANDS["checkpoint"],
    "--cluster": _SWARM,
}


def no_command(name: str) -> str:
    """The end of the sentence that there is no such command: why, if it is not there on purpose."""
    return f": {COMMANDS[name]}" if name in COMMANDS else ""


def no_option(name: str) -> str:
    """Likewise of an option."""
    return f": {OPTIONS[name]}" if name in OPTIONS else ""
