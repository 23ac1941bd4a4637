"""An open directory: which entry stands at which place, and what of it the kernel may keep.

A place is an index into `Directory.order`, the names as they were listed last; it stands until a name comes or goes. So
it means the same in every opening since, and in the listing that the kernel keeps (FOPEN_CACHE_DIR), also after the
kernel has forgotten the entries and they were found anew. An opening reads by the order that it began with: what goes
meanwhile leaves a gap, what comes is not in it.

Only one opening at a time may fill or read the kept listing, the `keeper`. So whoever reads on from a place reads on
in what he himself has begun with. With several the kernel may end a listing early: where a place is not in what another
one has filled (its name was removed before), and that fills its last page exactly, fs/fuse/readdir.c takes the end of
the page for the end of the directory. docs/decisions/0032-kept-listings.md has the proof.
"""

from __future__ import annotations

from .node import Directory


class Listing:
    """One opening of a directory.

    Attributes:
        node: the directory.
        names: the entries by place (but for . and .., which come first); None before the reading began.
        keeps: the kernel's listing is this opening's to fill and to read.
        kept: what the kernel has of the listing was filled by the order that still holds.
    """

    __slots__ = ("keeps", "kept", "names", "node")

    def __init__(self, node: Directory, *, live: bool) -> None:
        self.node = node
        self.names = node.order
        self.kept = node.order is not None
        self.keeps = not live and not node.keeper
        if self.keeps:
            node.keeper = True

    def close(self) -> None:
        """The kernel has no handle on it any more."""
        if self.keeps:
            self.node.keeper = False
