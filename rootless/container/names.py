"""Names of containers: what one may be called, and what one is called that was given no name."""

from __future__ import annotations

import os
import re

from ..errors import InvalidError

_VALID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")

# fmt: off
_LEFT = [
    "agile", "amber", "ardent", "blithe", "brave", "breezy", "bright", "brisk", "calm", "candid", "cheerful",
    "clever", "cosmic", "crisp", "curious", "dapper", "daring", "deft", "dreamy", "eager", "earnest", "easy",
    "elegant", "fair", "fearless", "festive", "fluent", "frank", "gentle", "gleaming", "glad", "golden", "graceful",
    "hardy", "hearty", "honest", "hopeful", "humble", "jaunty", "jolly", "jovial", "keen", "kind", "lively",
    "loyal", "lucid", "lucky", "mellow", "merry", "mild", "modest", "neat", "nimble", "noble", "patient", "placid",
    "playful", "plucky", "poised", "polite", "proud", "quick", "quiet", "radiant", "rapid", "ready", "robust",
    "rosy", "serene", "sharp", "silent", "sincere", "smart", "snappy", "spry", "steady", "stoic", "sunny", "swift",
    "tender", "thrifty", "tidy", "trusty", "upbeat", "valiant", "vivid", "warm", "wise", "witty", "zealous",
    "zesty",
]
_RIGHT = [
    "abel", "ampere", "archimedes", "aryabhata", "babbage", "bardeen", "bassi", "bell", "bernoulli", "bohr",
    "boole", "born", "bose", "brahe", "cantor", "carson", "cauchy", "cerf", "chandra", "clarke", "codd", "conway",
    "copernicus", "curie", "dalton", "darwin", "descartes", "dijkstra", "dirac", "einstein", "erdos", "euclid",
    "euler", "faraday", "fermat", "fermi", "feynman", "fibonacci", "fourier", "franklin", "galileo", "galois",
    "gauss", "germain", "goedel", "goodall", "hamilton", "heisenberg", "herschel", "hertz", "hilbert", "hodgkin",
    "hopper", "hubble", "huygens", "hypatia", "joule", "kepler", "knuth", "kovalevsky", "lagrange", "lamarr",
    "laplace", "leibniz", "liskov", "lovelace", "maxwell", "mayer", "meitner", "mendel", "mendeleev", "moore",
    "napier", "newton", "noether", "ohm", "pascal", "pasteur", "pauli", "planck", "poincare", "ramanujan",
    "riemann", "ritchie", "rubin", "rutherford", "sagan", "schroedinger", "shannon", "tesla", "thompson",
    "torvalds", "turing", "volta", "wiles", "wing", "wu", "yonath",
]
# fmt: on


def validate(name: str) -> str:
    """`name` without the leading slash that Docker also accepts.

    Raises:
        InvalidError: in Docker's words, when it has other than letters, digits, `_`, `.` and `-`, or one character.
    """
    bare = name.removeprefix("/")
    if not _VALID.fullmatch(bare) or len(bare) > 128:
        raise InvalidError(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return bare


def generate() -> str:
    """A name in Docker's manner: an adjective and the surname of somebody who found something out."""
    first, second = (int.from_bytes(os.urandom(4)) for _ in range(2))
    return f"{_LEFT[first % len(_LEFT)]}_{_RIGHT[second % len(_RIGHT)]}"
