"""The copy-on-write filesystem: `rootless.fuse`, through a link in a checkout, by a rewrite in the wheel."""
