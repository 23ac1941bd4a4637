"""ADD: local archives are unpacked, URLs are fetched."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import zstandard

from tests.build.site import Site


def tar(content: bytes = b"text\n") -> bytes:
    """A directory with a file and a link, of an owner of its own, and a file that is set-user-id."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, kind, mode in (
            ("d", tarfile.DIRTYPE, 0o750),
            ("d/f", tarfile.REGTYPE, 0o4711),
            ("l", tarfile.SYMTYPE, 0o777),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.uid, entry.gid, entry.mtime = kind, mode, 3, 4, 1000000
            entry.linkname = "d/f" if kind == tarfile.SYMTYPE else ""
            entry.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(content) if entry.size else None)
    return packed.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
}
STAT = "cd /x; stat -c '%n %F %a %u:%g' d d/f; readlink l; cat l; date -u -r d/f +%s"
SHOWN = "d directory 750 3:4\nd/f regular file 4711 3:4\nd/f\ntext\n1000000\n"


def test_archives_are_unpacked_whatever_they_are_called(site: Site) -> None:
    files = {f"a.{name}": pack(tar()) for name, pack in PACKERS.items()}
    adds = "".join(f"ADD a.{name} /{name}/\n" for name in PACKERS)
    site.ok(f"FROM busybox\n{adds}", files=files)
    for name in PACKERS:
        assert site.sh(STAT.replace("/x", f"/{name}")) == SHOWN


def test_archives_that_are_not_unpacked(site: Site) -> None:
    site.ok("FROM busybox\nADD --unpack=false a.tar /b/\nCOPY a.tar /c\n", files={"a.tar": tar()})
    assert site.sh("cd /; sha256sum b/a.tar c | cut -c1-64") == f"{hashlib.sha256(tar()).hexdigest()}\n" * 2


def test_chmod_is_for_what_is_copied_and_not_for_what_is_unpacked(site: Site) -> None:
    """As in BuildKit: a directory of the archive would lose the bit that lets it be searched."""
    site.ok("FROM busybox\nADD --chmod=600 x.tar g /e/\n", files={"x.tar": tar(), "g": "g"})
    assert site.sh("stat -c '%n %a' /e/d /e/d/f /e/g") == "/e/d 750\n/e/d/f 4711\n/e/g 600\n"


def test_an_archive_joins_what_is_there(site: Site) -> None:
    site.ok(
        "FROM busybox\nRUN mkdir -p /x/d && echo old > /x/d/old\nADD --chown=9:9 a.tar /x\n", files={"a.tar": tar()}
    )
    assert site.sh("cd /x; cat d/old d/f; stat -c %u:%a . d d/f") == "old\ntext\n0:755\n9:750\n9:4711\n"


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["tar", "gz"])
def test_an_archive_that_is_cut_off(site: Site, pack: Callable[[bytes], bytes]) -> None:
    data = pack(tar(os.urandom(100_000)))
    said = site.fails("FROM busybox\nADD a.tar /x/\n", files={"a.tar": data[: len(data) // 2]})
    assert said.splitlines()[-1].startswith("rootless: ") and "2 | >>> ADD a.tar /x/" in said


class Served(BaseHTTPRequestHandler):
    files: dict[str, bytes]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        data = self.files.get(self.path)
        self.send_response(200 if data is not None else 404)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *_: object) -> None:
        pass


NAMELESS = {"/": b"", "/%2e%2e": b"", "/a%00b": b""}
"""What tells no name for a file."""


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Served]]]:
    """A web server: its address, and what it serves and was asked for."""
    handler = type("Handler", (Served,), {"files": {**NAMELESS, "/file": b"text\n", "/a.tar": tar()}, "asked": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()
        thread.join()


def test_urls(site: Site, web: tuple[str, type[Served]]) -> None:
    url, served = web
    text = (
        f"FROM busybox\nADD {url}/file /x/\nADD --chmod=644 --chown=5 {url}/file /y\n"
        f"ADD {url}/a.tar /z/\nADD --unpack=true {url}/a.tar /u/\n"
    )
    site.ok(text)
    shown = site.sh("stat -c '%n %a %u' /x/file /y /z/a.tar /u/d/f; cat /x/file")
    assert shown == "/x/file 600 0\n/y 644 5\n/z/a.tar 600 0\n/u/d/f 4711 3\ntext\n"
    assert site.ok(text).count("CACHED") == 4
    served.files["/file"] = b"new\n"
    assert site.ok(text).count("CACHED") == 0
    assert site.sh("cat /x/file /y") == "new\nnew\n"


def test_what_urls_call_their_files(site: Site, web: tuple[str, type[Served]]) -> None:
    """The last part of the path, decoded; none is needed where the destination names the file."""
    url, served = web
    served.files |= dict.fromkeys(
        ("/a%20b", "/deep%2Fc?query=/d", "/..%2f..%2fetc%2fe", "/%2e%2e", "/a%00b"), b"text\n"
    )
    adds = "".join(f"ADD {url}{path} /x/\n" for path in ("/a%20b", "/deep%2Fc?query=/d", "/..%2f..%2fetc%2fe"))
    site.ok(f"FROM busybox\n{adds}ADD {url}/%2e%2e /f\nADD {url}/a%00b /g\nADD {url}/ /h\n")
    assert site.sh("ls /x; cat /f /g /h") == "a b\nc\ne\ntext\ntext\n"


def test_a_checksum_is_proved_and_saves_a_look(site: Site, web: tuple[str, type[Served]]) -> None:
    url, served = web
    right = hashlib.sha256(b"text\n").hexdigest()
    text = f"FROM busybox\nADD --checksum=sha256:{right} {url}/file /x\n"
    site.ok(text)
    served.asked.clear()
    assert "CACHED" in site.ok(text) and not served.asked
    said = site.fails(text.replace(right, "0" * 64))
    assert right in said and "0" * 64 in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ADD {url}/none /x", "404"),
        ("ADD http://127.0.0.1:1/file /x", "127.0.0.1"),
        ("ADD {url}/ /x/", "cannot determine filename from url"),
        ("ADD {url}/%2e%2e /x/", "cannot determine filename from url"),
        ("ADD {url}/a%00b /x/", "cannot determine filename from url"),
        ("ADD http://[x/ /x/", "is not a valid URL"),
        ("ADD http://host:port/x /x/", "is not a valid URL"),
        ("ADD http:///x /x/", "is not a valid URL"),
        ("ADD http://127.0.0.1:99999/x /x/", "is not a valid URL"),
        ('ADD ["http://127.0.0.1:1/a\\nHost: b", "/x/"]', "is not a valid URL"),
        ("ADD https://127.0.0.1:1/x.git /x/", "not repositories"),
        ("ADD --checksum=md5:00 {url}/file /x", "md5"),
        ("ADD --unpack=true {url}/file /x", "is not an archive"),
    ],
)
def test_urls_that_lead_nowhere(bare_site: Site, web: tuple[str, type[Served]], line: str, said: str) -> None:
    told = bare_site.fails(f"FROM busybox\n{line.format(url=web[0])}\n")
    assert said in told.splitlines()[-1], told
