"""`python -m rootless.network.respawn PARENT USER NET ROOM READY ERRORS READY_AT -- COMMAND...`: becomes a helper.

For a monitor under trio, which must not fork: the numbers are descriptors that it passed on (spawn.py).
"""

from __future__ import annotations

import sys

from .setup import Place
from .spawn import become


def main() -> None:
    """See the module."""
    parent, user, net, room, ready, errors, ready_at = map(int, sys.argv[1:8])
    become(sys.argv[9:], Place(0, {"user": user, "net": net}, room), ready, errors, parent, ready_at)


if __name__ == "__main__":
    main()
