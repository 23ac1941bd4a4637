"""The process of the command `rootless`: what comes before its modules are imported, and what after its work.

Importing them takes most of a short command's time.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

# A command lives for a tenth of a second and makes no cycles worth finding; looking for them while the modules are
# imported takes a tenth of that. Monitors, which live long, turn it on again (runtime/background.py).
gc.disable()

# Until there is something to clear away, ctrl-c ends this process as it ends any other, and not with a traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# msgspec takes a function from typing_extensions, where some other package has brought that, and what it drags in takes
# as long as all the rest of msgspec. typing has the same function. What is None here is not found (importlib).
if "typing_extensions" not in sys.modules:
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    import msgspec  # noqa: F401

    del sys.modules["typing_extensions"]


def command() -> NoReturn:
    """The whole process, with an end without the interpreter's, which takes apart what the kernel frees."""
    from .main import main

    code: object = 130
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        main()
    except KeyboardInterrupt:
        pass
    except SystemExit as end:
        code = end.code
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)
