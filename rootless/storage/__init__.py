"""The store: content-addressed blobs, the layers unpacked from them, and the drivers that stack these."""
