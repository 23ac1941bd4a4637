"""Why a controller can't be had, and the line by which an administrator would change that."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from ..kernel import cgroup as kernel
from . import systemd
from .cgroup import top

UNIFIED = "an administrator can boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line"
DROP_IN = "/etc/systemd/system/user@.service.d/delegate.conf"


def explain(controllers: frozenset[str]) -> str:
    """What is missing for these controllers, and what to do about it; a part of one line."""
    home = kernel.own()
    names = ", ".join(sorted(controllers))
    if home is None:
        return f"no cgroup of version 2 can be seen here; {UNIFIED}"
    if absent := controllers - kernel.controllers(top(home)):
        remedy = f"; {UNIFIED}" if _has_version_one() else ""
        return f"cgroup version 2 does not have {', '.join(sorted(absent))} here{remedy}"
    if os.path.isdir("/run/systemd/system"):
        return _explain_systemd(names)
    if os.access(home / "cgroup.procs", os.W_OK) and os.access(home, os.W_OK):
        where = shlex.quote(str(home))
        move = f"for p in $(cat {where}/cgroup.procs); do echo $p > {where}/shell/cgroup.procs; done"
        return f"your cgroup {home} has processes of its own; you can run: mkdir {where}/shell; {move}"
    return f"no cgroup with {names} is delegated to you; {_delegate(top(home), controllers)}"


def explain_parent(parent: str) -> str:
    """Why nothing may be made below a cgroup that somebody names, and what to do about it; a part of one line."""
    home = kernel.own()
    if home is None:
        return f"no cgroup of version 2 can be seen here; {UNIFIED}"
    place = shlex.quote(os.path.join(top(home) if parent.startswith("/") else home, parent.lstrip("/")))
    return f"it is not delegated to you; an administrator can run: mkdir -p {place}; chown -R {_user()} {place}"


def _has_version_one() -> bool:
    """Whether controllers are mounted as version 1, where version 2 can't have them."""
    with open("/proc/self/mountinfo") as file:
        return any(line.partition(" - ")[2].startswith("cgroup ") for line in file)


def _explain_systemd(names: str) -> str:
    if not systemd.sockets():
        linger = f"an administrator can run: loginctl enable-linger {_user()}"
        return f"no service manager of yours is running, as a login (not su or sudo) starts one; {linger}"
    line = f"mkdir -p {os.path.dirname(DROP_IN)} && printf '[Service]\\nDelegate=yes\\n' > {DROP_IN}"
    remedy = f"an administrator can run: {line} && systemctl daemon-reload; then log in anew"
    return f"systemd does not delegate {names} to you; {remedy}"


def _delegate(top: Path, controllers: frozenset[str]) -> str:
    """A cgroup for the user, with a leaf for the user's shell."""
    enable = " ".join(f"+{name}" for name in sorted(controllers))
    place = shlex.quote(str(top / f"rootless-{_user()}"))
    return (
        f"an administrator can run: mkdir -p {place}/shell; chown -R {_user()} {place}; echo '{enable}' > "
        f"{shlex.quote(str(top))}/cgroup.subtree_control; echo PID-OF-YOUR-SHELL > {place}/shell/cgroup.procs"
    )


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
