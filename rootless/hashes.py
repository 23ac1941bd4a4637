"""SHA-256 of small texts, without OpenSSL: `import hashlib` loads its library, which takes longer than all else that a
command such as `stop` does. The interpreter's own module is what `random` uses for the same reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha2 import sha256
    except ImportError:
        try:
            from _sha256 import sha256  # before Python 3.12
        except ImportError:  # a Python that was built without
            from hashlib import sha256

__all__ = ["sha256"]
