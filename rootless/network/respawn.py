"""`python -m rootless.network.respawn PARENT USER NET ROOM READY ERRORS -- COMMAND...`: becomes a helper of a network.

For a monitor under trio, which must not fork: the numbers are descriptors that it passed on (spawn.py).
"""

from __future__ import annotations

import sys

from .setup import Place
from .spawn import become


def main() -> None:
    """See the module."""
    parent, user, net, room, ready, errors = map(int, sys.argv[1:7])
    namespaces = {"net": net} | ({"user": user} if user >= 0 else {})
    become(sys.argv[8:], Place(0, namespaces, room), ready, errors, parent)


if __name__ == "__main__":
    main()
