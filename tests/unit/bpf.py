"""An interpreter for seccomp's dialect of classic BPF, so that a filter can be asked about calls nobody should make."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

AUDIT_ARCH_X86_64 = 0xC000003E
AUDIT_ARCH_I386 = 0x40000003
AUDIT_ARCH_AARCH64 = 0xC00000B7
AUDIT_ARCH_ARM = 0x40000028

_LD_ABS, _LD_MEM, _ST, _JA, _RET, _AND = 0x20, 0x60, 0x02, 0x05, 0x06, 0x54
_JUMPS: dict[int, Callable[[int, int], bool]] = {
    0x15: lambda a, k: a == k,
    0x25: lambda a, k: a > k,
    0x35: lambda a, k: a >= k,
    0x45: lambda a, k: bool(a & k),
}


class Program:
    """A compiled filter (struct sock_filter). Anything the dialect does not have is an error, never a verdict."""

    def __init__(self, raw: bytes) -> None:
        self.instructions = list(struct.iter_unpack("=HBBI", raw))

    def run(self, arch: int, number: int, arguments: Sequence[int] = ()) -> int:
        """What the kernel would make of this call: the filter's return value (an action, with its data)."""
        padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
        data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, arch, 0, *(a & 0xFFFFFFFFFFFFFFFF for a in padded))
        accumulator, memory, at = 0, [0] * 16, 0
        while True:
            code, jt, jf, k = self.instructions[at]
            at += 1
            if code == _RET:
                return int(k)
            if code == _LD_ABS:
                (accumulator,) = struct.unpack_from("=I", data, k)
            elif code == _JA:
                at += k
            elif code in _JUMPS:
                at += jt if _JUMPS[code](accumulator, k) else jf
            elif code == _AND:
                accumulator &= k
            elif code == _ST:
                memory[k] = accumulator
            elif code == _LD_MEM:
                accumulator = memory[k]
            else:
                raise AssertionError(f"instruction {code:#x} at {at - 1} is not one that a seccomp filter uses")
