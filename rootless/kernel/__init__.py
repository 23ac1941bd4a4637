"""One thin wrapper for each system call, under the kernel's names. A leaf: nothing here knows what a container is."""
