"""The keys that end an attachment and leave the container running: a sequence found in what is typed."""

from __future__ import annotations


class DetachKeys:
    """A sequence of keys, and how much of it has been typed last.

    What might be its beginning is held back until it is clear that it is not: the container then gets all of it.
    """

    def __init__(self, sequence: bytes) -> None:
        self.sequence = sequence
        self._matched = 0

    @classmethod
    def parse(cls, text: str) -> DetachKeys:
        """`ctrl-p,ctrl-q`, `a,b`: single letters, `DEL`, or `ctrl-` and a letter or one of @ [ \\ ] ^ _.

        Raises:
            ValueError: names the key that is none.
        """
        return cls(bytes(_key(part) for part in text.split(",")))

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """What of `typed` and of what was held back goes to the container, and whether the sequence is complete."""
        passed = bytearray()
        for byte in typed:
            if byte == self.sequence[self._matched]:
                self._matched += 1
                if self._matched == len(self.sequence):
                    self._matched = 0
                    return bytes(passed), True
                continue
            passed += self.sequence[: self._matched]
            self._matched = 1 if byte == self.sequence[0] else 0
            if not self._matched:
                passed.append(byte)
        return bytes(passed), False


def _key(text: str) -> int:
    if len(text) == 1 and text.isascii():
        return ord(text)
    if text == "DEL":
        return 0x7F
    name = text.removeprefix("ctrl-")
    if name != text and len(name) == 1:
        if "a" <= name <= "z":
            return ord(name) - ord("a") + 1
        if name in "@[\\]^_":
            return ord(name) - ord("@")
    raise ValueError(f"unknown character: '{text}'")
