"""The command of a container as a `Program`: what PID 1 becomes, and the pattern for a process of `exec`."""

from __future__ import annotations

import os
from pathlib import Path

from .. import idmap as ids_of
from ..container import capabilities, userns
from ..container.record import Spec
from ..idmap import IdMap
from ..kernel.caps import Cap
from ..paths import Paths
from . import limits, seccomp
from .program import Program


def main_program(spec: Spec, paths: Paths, idmap: IdMap, window: tuple[int, int], debug: bool, cgroup: str) -> Program:
    """The container's own command.

    Args:
        cgroup: the directory of its cgroup, empty for none. For limits that this has no file for there are stand-ins.
    """
    granted = capabilities.resolve(spec.cap_add, spec.cap_drop, spec.privileged)
    program = Program(
        argv=spec.argv,
        env=spec.env,
        workdir=spec.workdir,
        user=spec.user,
        group_add=spec.group_add,
        tty=spec.tty,
        stdin_open=spec.stdin_open,
        init=spec.init,
        ulimits=spec.ulimits,
        no_new_privileges=spec.no_new_privileges,
        capabilities=granted,
        filter=_filter(spec, granted, paths),
        idmap=userns.nested(spec.userns, idmap),
        window=window,
        debug=debug,
        oom_score_adj=spec.resources.oom_score_adj,
        accounts=_accounts(spec),
    )
    missing = limits.lacking(Path(cgroup) if cgroup else None, spec.resources)
    return limits.with_stand_ins(program, spec.resources, missing)


def _accounts(spec: Spec) -> tuple[str, str]:
    """The lines that the image's files lack of whom the caller is inside, with keep-id."""
    ids = userns.kept(spec.userns)
    if ids is None:
        return "", ""
    name = ids_of.account_name(os.geteuid())
    return f"{name}:*:{ids.uid}:{ids.gid}:{name}:{spec.workdir}:/bin/sh", f"{name}:x:{ids.gid}:"


def _filter(spec: Spec, granted: frozenset[Cap], paths: Paths) -> seccomp.Filter | None:
    if spec.privileged or spec.seccomp == "unconfined":
        return None
    return seccomp.prepare(spec.seccomp.encode() or None, granted, paths)
