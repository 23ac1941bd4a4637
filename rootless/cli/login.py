"""`rootless login` and `rootless logout`."""

from __future__ import annotations

import sys

import click

from ..errors import InvalidError, RootlessError
from .options import Command
from .registry_options import registry_options

HUB = "docker.io"


@click.command(cls=Command, at_most=1, short_help="Authenticate to a registry")
@click.option("-u", "--username", default="", metavar="STRING", help="Username")
@click.option("-p", "--password", default="", metavar="STRING", help="Password or access token")
@click.option("--password-stdin", is_flag=True, help="Take the password from standard input")
@registry_options
@click.argument("server", required=False)
def login(
    server: str | None, username: str, password: str, password_stdin: bool, tls_verify: bool | None, authfile: str
) -> None:
    """Authenticate to SERVER, docker.io by default, and remember it for pull and push."""
    from ..registry import login as registry
    from ..registry.credentials import Credentials

    host = _host(server)
    if password_stdin:
        password = _from_stdin(username, password)
    elif password:
        print(
            "rootless: warning: --password shows it to everybody on this machine: use --password-stdin", file=sys.stderr
        )
    if not username and not password and _still_good(host, tls_verify, authfile):
        click.echo("Login Succeeded")
        return
    if not username or not password:
        username, password = _ask(username, password)
    where = registry.login(host, Credentials(username, password), verify=tls_verify, authfile=authfile)
    if "/" in where:
        print(f"rootless: warning: the password is stored unencrypted in {where}", file=sys.stderr)
    click.echo("Login Succeeded")


@click.command(cls=Command, at_most=1, short_help="Log out from a registry")
@click.option("--authfile", default="", metavar="FILE", help="Path of the authentication file")
@click.argument("server", required=False)
def logout(server: str | None, authfile: str) -> None:
    """Forget what `login` remembers of SERVER, docker.io by default."""
    from ..registry import credentials

    host = _host(server)
    if credentials.erase(host, authfile=authfile):
        click.echo(f"Removing login credentials for {host}")
    else:
        click.echo(f"Not logged in to {host}")
    if credentials.find(host, authfile=authfile) is not None:
        print(
            f"rootless: warning: another tool's login to {host} stands in another file and is still used",
            file=sys.stderr,
        )


def _still_good(host: str, verify: bool | None, authfile: str) -> bool:
    """Whether the registry takes what an earlier login left. Only who wants to be somebody else logs out first."""
    from ..registry import login as registry
    from ..registry.session import DeniedError

    try:
        user = registry.login_again(host, verify=verify, authfile=authfile)
    except DeniedError as problem:
        print(f"rootless: the credentials of an earlier login are no longer good: {problem}", file=sys.stderr)
        return False
    if user is None:
        return False
    click.echo("Authenticating with existing credentials..." + f" [Username: {user}]" * bool(user))
    return True


def _host(server: str | None) -> str:
    """The registry that was meant: people also give the URL of its API."""
    host = (server or HUB).removeprefix("https://").removeprefix("http://").partition("/")[0]
    if not host:
        raise InvalidError(f"{server!r} is not a registry", hint="it should read HOST[:PORT]")
    return HUB if host in ("index.docker.io", "registry-1.docker.io") else host


def _from_stdin(username: str, password: str) -> str:
    if password:
        raise RootlessError("--password and --password-stdin are mutually exclusive")
    if not username:
        raise RootlessError("Must provide --username with --password-stdin")
    given = sys.stdin.read().rstrip("\r\n")
    if not given:
        raise RootlessError("password is empty", hint="standard input should hold it")
    return given


def _ask(username: str, password: str) -> tuple[str, str]:
    if not sys.stdin.isatty():
        raise RootlessError("cannot perform an interactive login from a non TTY device", hint="use --password-stdin")
    username = username or click.prompt("Username")
    return username, password or click.prompt("Password", hide_input=True)
