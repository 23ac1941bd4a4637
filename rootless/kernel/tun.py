"""Interfaces whose packets a process reads and writes: /dev/net/tun (linux Documentation/networking/tuntap.rst)."""

from __future__ import annotations

import fcntl
import os
import struct

PATH = "/dev/net/tun"

# linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000

IFNAMSIZ = 16


def create(name: str) -> int:
    """A new interface in the caller's network namespace: a descriptor that reads and writes one IP packet at a time.

    The interface lives as long as the descriptor and its copies, whatever namespace their holders are in.

    Raises:
        OSError: the device can't be opened; EPERM without CAP_NET_ADMIN over the namespace, EBUSY when the name is
            taken.
    """
    fd = os.open(PATH, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack(f"{IFNAMSIZ}sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    except BaseException:
        os.close(fd)
        raise
    return fd
