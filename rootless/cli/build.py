"""`rootless build`, also `rootless image build` and `rootless builder build`."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ..errors import NotFoundError, RootlessError, UsageError
from . import streams
from .context import Context
from .obtain import Wanted, obtain
from .options import Command
from .registry_options import platform_option, registry_options

if TYPE_CHECKING:
    from ..build.builder import StepError
    from ..build.request import Request
    from ..image.store import Image

NETWORKS = ("default", "none", "host")


@click.command(cls=Command, at_least=1, at_most=1, short_help="Build an image from a Dockerfile")
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME[:TAG]", help="Name and optionally a tag of the image")
@click.option("-f", "--file", default="", metavar="FILE", help='Name of the Dockerfile (default "PATH/Dockerfile")')
@click.option("--build-arg", "arguments", multiple=True, metavar="NAME[=VALUE]", help="Set build-time variables")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Set metadata for an image")
@click.option("--target", default="", metavar="STAGE", help="Set the target build stage to build")
@click.option("--network", default="default", metavar="MODE", help='Set the networking mode of RUN ("default")')
@click.option("--allow", multiple=True, metavar="ENTITLEMENT", help="Let RUN --network=host have it: network.host")
@click.option("--no-cache", is_flag=True, help="Do not use cache when building the image")
@click.option("--pull", is_flag=True, help="Always attempt to pull all referenced images")
@click.option("-q", "--quiet", is_flag=True, help="Suppress the build output and print image ID on success")
@click.option(
    "--progress",
    type=click.Choice(["auto", "plain", "tty"]),
    envvar="BUILDKIT_PROGRESS",
    default="auto",
    help="Set type of progress output",
)
@click.option("--secret", "secrets", multiple=True, metavar="id=ID[,src=FILE|env=NAME]", help="Secret to expose to RUN")
@click.option("--ssh", "agents", multiple=True, metavar="ID[=SOCKET|KEY]", help="SSH agent or keys to expose to RUN")
@click.option("--cache-from", multiple=True, metavar="IMAGE", help="Images whose steps may be used again")
@click.option("--squash", is_flag=True, help="Squash newly built layers into a single new layer")
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="type=KIND,dest=PATH",
    help="Output: image, local, tar, oci, docker",
)
@click.option("--debug-shell", is_flag=True, help="Open a shell in the state before a step that fails")
@click.option("--rm", is_flag=True, hidden=True, help="Remove intermediate containers: they always are")
@click.option("--force-rm", is_flag=True, hidden=True, help="Always remove intermediate containers: they are")
@click.option("--iidfile", default="", metavar="FILE", help="Write the image ID to a file")
@platform_option
@registry_options
@click.argument("context", required=False, metavar="PATH | ARCHIVE | -")
@click.pass_context
def build(
    ctx: click.Context,
    /,
    context: str,
    file: str,
    quiet: bool,
    progress: str,
    iidfile: str,
    debug_shell: bool,
    tls_verify: bool | None,
    authfile: str,
    **given: Any,
) -> int:
    """Build an image from the Dockerfile and the files of a context: a directory, an archive, or - for what comes on
    standard input."""
    from ..build.build import Build
    from ..build.builder import StepError
    from ..build.context import open_context
    from . import build_progress

    here: Context = ctx.obj
    request = _request(given)
    wanted = Wanted("always" if request.pull else "missing", quiet, given["platform"], tls_verify, authfile)
    store = here.images
    here.containers.sweep()  # what a killed build has left
    if iidfile:
        _forget_id(iidfile)

    def image(name: str, platform: str) -> Image:
        return _image(here, wanted, name, platform)

    if debug_shell and "-" in (context, file):
        raise UsageError("--debug-shell needs standard input, from which the context or Dockerfile comes")
    with (
        open_context(context, file=file, stdin=_stdin(), directory=store.paths.tmp) as opened,
        build_progress.display(progress, sys.stderr, quiet=quiet) as display,
    ):
        made = Build(here.engine, request, opened, image, display)
        found: Image | None = None
        failure: StepError | None = None
        try:
            found = made.run(display.tick)
        except StepError as problem:
            problem.picture = "\n".join(filter(None, (display.failed(problem.vertex), problem.picture)))
            if problem.code is not None and not debug_shell:
                problem.hint = "build --debug-shell opens a shell in the state before it"
            failure = problem
    if failure is not None:
        if not debug_shell:
            raise failure
        _shell(here, failure, request.network)
        return 1
    if iidfile and found is not None:
        _write_id(iidfile, found.id)
    if quiet and found is not None:
        click.echo(found.id)
    return 0


def _request(given: dict[str, Any]) -> Request:
    """The options as the build takes them.

    Raises:
        UsageError, InvalidError: one of them makes no sense.
    """
    from ..build.destination import Output, parse_output
    from ..build.request import Request
    from ..build.scope import EPOCH
    from ..build.secrets import parse_agent, parse_secret
    from ..image import spec

    arguments = _arguments(given["arguments"])
    if EPOCH in os.environ:
        arguments.setdefault(EPOCH, os.environ[EPOCH])
    if given["network"] not in NETWORKS:
        raise UsageError(
            f"unsupported network mode {given['network']!r} for a build", hint=f"one of {', '.join(NETWORKS)}"
        )
    for name in given["allow"]:
        _check_allowed(name)
    if len(given["outputs"]) > 1:
        raise UsageError("a build has one --output", hint="build again for another one: every step is in the cache")
    return Request(
        platform=spec.parse_platform(given["platform"]) if given["platform"] else spec.host_platform(),
        names=tuple(_name(text) for text in given["tags"]),
        arguments=arguments,
        labels=_labels(given["labels"]),
        target=given["target"],
        network=given["network"],
        allowed=frozenset(given["allow"]),
        epoch=_epoch(arguments.get(EPOCH, "")),
        no_cache=given["no_cache"],
        pull=given["pull"],
        squash=given["squash"],
        secrets={secret.id: secret for secret in map(parse_secret, given["secrets"])},
        agents={agent.id: agent for agent in map(parse_agent, given["agents"])},
        cache_from=given["cache_from"],
        output=parse_output(given["outputs"][0]) if given["outputs"] else Output(),
    )


def _check_allowed(name: str) -> None:
    from ..build.request import NETWORK_HOST

    if name == "security.insecure":
        raise UsageError(f"{name} can't be allowed", hint="a RUN has all that an unprivileged user can give")
    if name != NETWORK_HOST:
        raise UsageError(f"invalid entitlement: {name}", hint=f"there is {NETWORK_HOST}")


def _shell(here: Context, failure: StepError, network: str) -> None:
    """A shell in the state before a failed step, until it ends."""
    from ..build.shell import open_shell
    from ..runtime.attach import Detached
    from ..runtime.forwarding import Signals

    print(f"{failure.picture}\nrootless: {failure}\na shell in the state before it:", file=sys.stderr, flush=True)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    started = open_shell(here.engine, failure, network, terminal=terminal, window=streams.window())
    with Signals(proxy=not terminal) as signals, suppress(Detached):
        streams.attach(started.connection, signals, stdin=True, terminal=terminal)


def _name(text: str) -> Any:
    from ..image import reference

    name = reference.parse(text).tagged()
    if name.digest:
        raise UsageError(f"invalid tag {text!r}: a digest can't be given to an image", hint="as NAME:TAG")
    return name


def _arguments(given: tuple[str, ...]) -> dict[str, str]:
    """`NAME=VALUE`, and for `NAME` what the environment has; a name that it hasn't is left out, as in Docker."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f"invalid build argument {text!r}", hint="as NAME=VALUE")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    for name, value in found.items():
        _check_text("build argument", f"{name}={value}")
    return found


def _check_text(what: str, text: str) -> None:
    """Images' documents are JSON, which has no other bytes than those of UTF-8."""
    if any("\udc80" <= c <= "\udcff" for c in text):
        raise UsageError(f"invalid {what} {text!r}: it is not UTF-8", hint="recode it, or copy it in as a file")


def _labels(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    if any(not name for name, _, _ in pairs):
        raise UsageError("invalid label: its name is empty", hint="as NAME=VALUE")
    for text in given:
        _check_text("label", text)
    return {name: value for name, _, value in pairs}


def _epoch(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 13):
        raise UsageError(f"SOURCE_DATE_EPOCH is {text!r}", hint="it should be a number of seconds since 1970")
    return int(text)


def _image(here: Context, wanted: Wanted, name: str, platform: str) -> Image:
    """An image for the build, pulled if it is not here, or not for this platform."""

    from ..image import spec

    platform = platform or wanted.platform
    if wanted.pull != "always":
        try:
            found = here.images.resolve(name)
        except NotFoundError:
            pass
        else:
            made_for = spec.parse_platform(platform) if platform else None
            if made_for is None or (made_for.os, made_for.architecture) == (found.config.os, found.config.architecture):
                return found
    obtain(here, name, msgspec.structs.replace(wanted, platform=platform))
    return here.images.resolve(name)


def _stdin() -> Any:
    return sys.stdin.buffer if sys.stdin is not None else None


def _forget_id(iidfile: str) -> None:
    """An earlier build's must not stand there when this one fails."""
    try:
        Path(iidfile).unlink(missing_ok=True)
    except OSError as problem:
        raise RootlessError(f"--iidfile {iidfile}: {problem.strerror}") from problem


def _write_id(iidfile: str, image_id: str) -> None:
    try:
        Path(iidfile).write_text(image_id)
    except OSError as problem:
        raise RootlessError(f"--iidfile {iidfile}: {problem.strerror}") from problem
