"""`login`: ask a registry whether it takes somebody's credentials, and keep them."""

from __future__ import annotations

from . import config, credentials, http
from .certs import Contexts
from .client import Repository
from .config import Place
from .credentials import Credentials
from .http import Http


def login(host: str, given: Credentials, *, verify: bool | None = None, authfile: str = "") -> str:
    """Check the credentials and keep them; says where.

    Args:
        host: `docker.io`, `quay.io`, `localhost:5000` ...
        verify: `--tls-verify`; None for what registries.conf says.

    Raises:
        DeniedError: the registry refuses them; nothing is kept.
        TransferError: it can't be reached.
    """
    _ask(host, given, verify)
    return credentials.store(host, given, authfile=authfile)


def login_again(host: str, *, verify: bool | None = None, authfile: str = "") -> str | None:
    """Check the credentials that an earlier login left: whose they are (empty for a token's), None for none.

    Raises:
        DeniedError, TransferError: as `login`.
    """
    known = credentials.find(host, authfile=authfile)
    if known is None:
        return None
    _ask(host, known, verify)
    return known.username


def _ask(host: str, given: Credentials, verify: bool | None) -> None:
    place = config.load().home(f"{host}/", verify=verify)
    http.run(_check, Place(place.host, "", place.insecure), given)


async def _check(place: Place, given: Credentials) -> None:
    contexts = Contexts()
    async with Http(tls=contexts) as client:
        await Repository(client, contexts, place, given).check_login()
