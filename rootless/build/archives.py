"""Archives that come with a build: a context on standard input, what ADD unpacks.

Which they are is told by their first bytes, never by a name (storage/archives.py).
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from ..errors import InvalidError
from ..storage import tarheader as th
from ..storage.archives import BZIP2, CHUNK, XZ, uncompressed
from ..storage.tarheader import BLOCK

_GZIP = b"\x1f\x8b\x08"
_GZIP_FORMAT = 31
"""zlib's number for a gzip header and trailer (zlib.h, inflateInit2)."""
_COMPRESSED = (XZ, BZIP2, _GZIP, b"\x28\xb5\x2f\xfd")


def looks_like_archive(head: bytes) -> bool:
    """Whether data that begin so (512 bytes, or all of them) are meant as an archive, and not as text."""
    return head.startswith(_COMPRESSED) or _is_header(head[:BLOCK])


def is_archive(stream: BinaryIO) -> bool:
    """Whether `stream` is a tar archive, compressed or not: its first header is one. It is read from.

    One that is cut off further on is one, too: whoever unpacks it shall find that out.
    """
    head = stream.read(CHUNK)
    try:
        if head.startswith(_GZIP):
            return _is_header(zlib.decompressobj(_GZIP_FORMAT).decompress(head, BLOCK))
        return _is_header(uncompressed(io.BytesIO(head)).read(BLOCK))
    except (InvalidError, zlib.error):
        return False


def _is_header(block: bytes) -> bool:
    try:
        return len(block) == BLOCK and bool(th.parse_header(block).name)
    except InvalidError:
        return False


def chunks(stream: BinaryIO) -> Iterator[bytes]:
    """All that is left in a stream, piece by piece."""
    while chunk := stream.read(CHUNK):
        yield chunk
