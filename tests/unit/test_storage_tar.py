"""Headers and streams of tar, with the standard library's tarfile as the other end."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootless.errors import InvalidError
from rootless.storage import tarheader
from rootless.storage.tarstream import TarStream
from rootless.storage.untar import inner_path
from tests.storage.archives import END, Archive, header, padded, pax, record, summed

RELAXED = settings(deadline=None, database=None)
"""No example is kept in the checkout, which the user who runs the tests need not be able to write."""


def stream(data: bytes, step: int = 1 << 16) -> TarStream:
    return TarStream(data[at : at + step] for at in range(0, len(data), step))


names = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=300)
xattr_names = st.text(st.characters(codec="ascii", min_codepoint=33, exclude_characters="="), min_size=1, max_size=20)


@st.composite
def entries(draw: st.DrawFn) -> list[tuple[tarfile.TarInfo, bytes]]:
    found = []
    for _ in range(draw(st.integers(1, 6))):
        info = tarfile.TarInfo(draw(names).rstrip("/") or "x")
        info.type = draw(
            st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
        )
        data = draw(st.binary(max_size=2000)) if info.isreg() else b""
        info.size, info.mode = len(data), draw(st.integers(0, 0o7777))
        info.uid, info.gid = draw(st.integers(0, 2**40)), draw(st.integers(0, 2**20))
        info.mtime = draw(st.integers(-(2**34), 2**40))
        if info.issym() or info.islnk():
            info.linkname = draw(names)
        found.append((info, data))
    return found


@settings(RELAXED, max_examples=200)
@given(entries(), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]), st.integers(1, 1500))
def test_reads_what_tarfile_writes(made: list[tuple[tarfile.TarInfo, bytes]], form: int, step: int) -> None:
    """Long names, large numbers and old times in either format, in chunks that end anywhere."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, encoding="utf-8") as tar:
        for info, data in made:
            tar.addfile(info, io.BytesIO(data))
    archive = stream(buffer.getvalue(), step)
    for count, (entry, (info, data)) in enumerate(zip(archive, made, strict=True)):
        name = info.name + ("/" if info.isdir() else "")
        assert entry.name.rstrip(b"/") == name.encode().rstrip(b"/") and entry.link == info.linkname.encode()
        assert (entry.type, entry.mode, entry.uid, entry.gid) == (info.type, info.mode, info.uid, info.gid)
        assert entry.mtime == info.mtime * 10**9 and entry.size == len(data)
        if count % 2:  # what is not asked for is passed over
            assert b"".join(bytes(piece) for piece in archive.data()) == data
    archive.drain()


@RELAXED
@given(st.dictionaries(xattr_names, st.binary(max_size=100), max_size=5))
def test_attributes_of_any_bytes(xattrs: dict[str, bytes]) -> None:
    """Values are binary: capabilities are full of NULs and newlines."""
    records = [record(b"SCHILY.xattr." + name.encode() + b"=" + value) for name, value in xattrs.items()]
    (entry,) = stream(pax(*records) + header(b"f") + END)
    assert entry.xattrs == {name.encode(): value for name, value in xattrs.items()}


@RELAXED
@given(st.binary(max_size=3000))
def test_no_bytes_do_anything_but_parse_or_be_refused(data: bytes) -> None:
    """Noise behind a good beginning: InvalidError is all that may come of it."""
    for start in b"", header(b"f"), pax(record(b"path=x"))[:512]:
        try:
            for _ in (archive := stream(start + data)):
                list(archive.data())
        except InvalidError:
            pass


@settings(RELAXED, max_examples=300)
@given(st.integers(0, 511), st.binary(min_size=1, max_size=16), st.sampled_from([b"0", b"x", b"S", b"L", b"1", b"3"]))
def test_no_field_does_anything_but_parse_or_be_refused(at: int, field: bytes, kind: bytes) -> None:
    """Any bytes in any place of a header with a correct checksum."""
    raw = bytearray(header(b"f", kind))
    raw[at : at + len(field)] = field
    try:
        for entry in (archive := stream(summed(raw[:512]) + bytes(5000))):
            assert entry.size >= 0 and all(length > 0 and offset >= 0 for offset, length in entry.sparse or ())
            list(archive.data())
    except InvalidError:
        pass


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"0000644\0", 0o644),
        (b"000644 \0", 0o644),
        (b"   644 \0", 0o644),
        (b"644\0\0\0\0\0", 0o644),
        (b"77777777", 0o77777777),
        (b"\0" * 8, 0),
        (b" " * 8, 0),
        (b"644\0junk", 0o644),
        (b"\x80\0\0\0\0\0\x01\0", 256),
        (b"\x80" + b"\xff" * 7, 2**56 - 1),
        (b"\xff" * 8, -1),
        (b"\xff\xff\xff\xff\xff\xff\xff\0", -256),
    ],
)
def test_numbers(raw: bytes, value: int) -> None:
    assert tarheader.number(raw, signed=True) == value


@pytest.mark.parametrize(
    "raw",
    [b"0000648\0", b"-000644\0", b"+000644\0", b"0x00644\0", b"0_00644\0", b"64 4\0\0\0\0", b"\xd9\xa1\0\0\0\0\0\0"],
)
def test_what_is_no_number(raw: bytes) -> None:
    """What int() would take, and an octal field must not hold."""
    with pytest.raises(InvalidError, match="where a number belongs|negative"):
        tarheader.number(raw)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0", 0),
        (b"1350244992.023960108", 1350244992_023960108),
        (b"1.5", 1_500_000_000),
        (b"1.", 10**9),
        (b".5", 500_000_000),
        (b"1.0000000019", 1_000_000_001),
        (b"-1", -(10**9)),
        (b"-0.25", -250_000_000),
        (b"-1.0000000001", -1_000_000_001),
        (b"-1.0000000000", -1_000_000_000),
    ],
)
def test_times_keep_every_nanosecond(text: bytes, value: int) -> None:
    """A float has 53 bits: today's nanoseconds need 61."""
    assert tarheader.nanoseconds(text) == value


def test_later_records_and_headers_win() -> None:
    """pax(1): the last value of a key counts; an empty one gives the field back to the header."""
    (entry,) = stream(pax(record(b"path=a"), record(b"path=b"), record(b"uid=7"), record(b"uid=")) + header(b"f") + END)
    assert (entry.name, entry.uid) == (b"b", 0)
    (entry,) = stream(pax(record(b"uid=7")) + pax(record(b"gid=8")) + header(b"f") + END)
    assert (entry.uid, entry.gid) == (7, 8)


def test_records_are_for_one_entry() -> None:
    first, second = stream(pax(record(b"uid=7"), record(b"SCHILY.xattr.user.a=b")) + header(b"f") + header(b"g") + END)
    assert (first.uid, second.uid, second.xattrs) == (7, 0, {})


def test_the_size_of_a_record_is_the_size_of_the_data() -> None:
    """Files of 8 GiB and more have a size of zero in the header."""
    first, second = stream(pax(record(b"size=600")) + header(b"f") + padded(b"x" * 600) + header(b"g") + END)
    assert (first.size, second.name) == (600, b"g")


SPARSE_BAD = {
    "backwards": (b"GNU.sparse.map=100,10,0,10", b"20"),
    "overlapping": (b"GNU.sparse.map=0,10,5,10", b"20"),
    "beyond the end": (b"GNU.sparse.map=995,10,1000,10", b"20"),
    "more than the data": (b"GNU.sparse.map=0,10,20,100", b"20"),
    "less than the data": (b"GNU.sparse.map=0,10", b"20"),
    "no numbers": (b"GNU.sparse.map=a,b", b"20"),
    "negative": (b"GNU.sparse.map=-5,20", b"20"),
}


@pytest.mark.parametrize("what", SPARSE_BAD)
def test_sparse_maps_that_lie(what: str) -> None:
    text, size = SPARSE_BAD[what]
    data = (
        pax(record(text), record(b"GNU.sparse.size=1000"), record(b"size=" + size)) + header(b"f") + padded(b"x" * 20)
    )
    with pytest.raises(InvalidError, match="sparse file's map|should have a number"):
        list(stream(data + END))


@pytest.mark.parametrize("length", [2**63, 10**20 - 1])
def test_a_sparse_file_longer_than_any_file(length: int) -> None:
    """ftruncate(2) takes a signed number of 64 bits."""
    records = record(b"GNU.sparse.map=0,0"), record(b"GNU.sparse.realsize=%d" % length)
    with pytest.raises(InvalidError, match=f"{length} bytes: no file has so many"):
        list(stream(pax(*records) + header(b"f") + END))


@pytest.mark.parametrize("name", [b"", b"user.a\0b", b"\0"])
def test_names_that_no_attribute_has(name: bytes) -> None:
    with pytest.raises(InvalidError, match="extended attribute in a pax header has the name"):
        list(stream(pax(record(b"SCHILY.xattr." + name + b"=1")) + header(b"f") + END))


@pytest.mark.parametrize("data", [b"99999999999\n", b"1\n0\n", b"x\n", b"\n" * 512, b"-1\n"], ids=repr)
def test_sparse_maps_in_the_data_that_lie(data: bytes) -> None:
    """Format 1.0: the count, and as many pairs, must be within the data."""
    records = [b"GNU.sparse.major=1", b"GNU.sparse.minor=0", b"GNU.sparse.realsize=1000", b"GNU.sparse.name=f"]
    block = data.ljust(512, b"\0")
    archive = pax(*map(record, records)) + header(b"f", size=b"%011o\0" % 512) + block + END
    with pytest.raises(InvalidError, match="sparse|should have a number"):
        list(stream(archive))


def test_old_gnu_sparse_maps_end_with_their_last_block() -> None:
    raw = bytearray(header(b"f", b"S", b"%011o\0" % 0))
    raw[257:265] = b"ustar  \0"
    raw[482], raw[483:495] = 1, b"%011o\0" % 1000
    with pytest.raises(InvalidError, match="truncated"):
        list(stream(summed(raw)))
    extended = bytes(504) + b"\x01" + bytes(7)
    with pytest.raises(InvalidError, match="too large"):
        list(stream(summed(raw) + (b"%011o\0" % 0 * 42 + b"\x01" + bytes(7)) * 3000))
    with pytest.raises(InvalidError, match="truncated"):
        list(stream(summed(raw) + extended))


def test_without_the_end_mark() -> None:
    """Some writers leave it out, and every reader takes it; the layer's digest is what knows better."""
    assert [entry.name for entry in stream(header(b"a") + header(b"b"))] == [b"a", b"b"]
    assert list(stream(bytes(512))) == [] and list(stream(bytes(1024))) == []


def test_what_follows_the_end_mark_is_read() -> None:
    """It belongs to the layer's digest: tar fills up to a record of 10 kB."""
    seen = []

    def chunks() -> Iterator[bytes]:
        for chunk in (header(b"a"), END, bytes(9000), b"x"):
            seen.append(chunk)
            yield chunk

    archive = TarStream(chunks())
    assert len(list(archive)) == 1
    archive.drain()
    assert b"".join(seen) == header(b"a") + END + bytes(9000) + b"x"


def test_checksums_of_signed_bytes() -> None:
    """Some old programs added bytes above 127 as negative numbers."""
    raw = bytearray(header(b"\xff\xfe"))
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(b - 256 if b > 127 else b for b in raw)
    assert next(iter(stream(bytes(raw) + END))).name == b"\xff\xfe"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"a/b", b"a/b"),
        (b"./a//b/./c/", b"a/b/c"),
        (b"/etc/passwd", b"etc/passwd"),
        (b"a/../b", b"b"),
        (b"a/b/../../c", b"c"),
        (b".", b""),
        (b"/", b""),
        (b"", b""),
        (b"a/..", b""),
        (b"...", b"..."),
        (b"..a/b..", b"..a/b.."),
        (b"\xff\n", b"\xff\n"),
    ],
)
def test_paths_stay_inside(name: bytes, path: bytes) -> None:
    assert inner_path(name) == path


@pytest.mark.parametrize("name", [b"..", b"../a", b"/..", b"a/../..", b"./../a", b"a/../../b", b"//.."])
def test_paths_that_do_not(name: bytes) -> None:
    with pytest.raises(InvalidError, match="leads out of the layer"):
        inner_path(name)


def test_archive_helper_is_a_tar() -> None:
    """What the tests write by hand is what tarfile reads."""
    data = pax(record(b"path=long")) + header(b"f", size=b"%011o\0" % 3) + padded(b"abc") + END
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        (member,) = tar.getmembers()
        assert member.name == "long" and tar.extractfile(member).read() == b"abc"  # type: ignore[union-attr]
    assert next(iter(stream(Archive().file("f", b"x").bytes()))).size == 1
