"""Pseudo-terminals of a devpts instance (pts(4)) and window sizes (ioctl_tty(2))."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

# asm-generic/ioctls.h, which the termios module does not carry.
TIOCSPTLCK = 0x40045431
TIOCGPTN = 0x80045430
TIOCGPTPEER = 0x5441


def open_pair(ptmx: str = "/dev/ptmx") -> tuple[int, int, int]:
    """A new terminal of the devpts instance behind `ptmx`: (controlling side, terminal side, number under /dev/pts).

    The terminal side is opened through the controlling one (TIOCGPTPEER): no path is followed, so nothing that was put
    in its place can be opened instead.
    """
    controller = os.open(ptmx, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(controller, TIOCSPTLCK, struct.pack("i", 0))
        number = struct.unpack("i", fcntl.ioctl(controller, TIOCGPTN, b"\0\0\0\0"))[0]
        terminal = fcntl.ioctl(controller, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except BaseException:
        os.close(controller)
        raise
    return controller, terminal, number


def make_controlling(terminal: int) -> None:
    """Make `terminal` the controlling terminal of the caller, who must lead a session without one (TIOCSCTTY)."""
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def window_size(fd: int) -> tuple[int, int]:
    """(rows, columns) of a terminal (TIOCGWINSZ)."""
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8))
    return rows, columns


def set_window_size(fd: int, rows: int, columns: int) -> None:
    """Set a terminal's size; the kernel sends SIGWINCH to its foreground process group (TIOCSWINSZ)."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
