"""The texts of -v, --mount and --volumes-from: what they mean, and that what means nothing gets Docker's words.

The words are those of docker/cli (opts/mount.go, internal/volumespec) and moby (daemon/volume/mounts/linux_parser.go).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rootless.container.mount_texts import parse_mount, parse_volume, parse_volumes_from
from rootless.container.mounts import Mount, combine, require_outside_proc, require_source
from rootless.errors import InvalidError, NotFoundError, RootlessError, UsageError

VOLUMES = {
    "/data": Mount(type="volume", target="/data", anonymous=True),
    "data:/d": Mount(type="volume", target="/d", source="data", text="data:/d"),
    "data:/d/../e/": Mount(type="volume", target="/e", source="data", text="data:/d/../e/"),
    "data://d": Mount(type="volume", target="/d", source="data", text="data://d"),
    "data:/d:ro": Mount(type="volume", target="/d", source="data", text="data:/d:ro", read_only=True),
    "data:/d:nocopy,z": Mount(type="volume", target="/d", source="data", text="data:/d:nocopy,z", no_copy=True),
    "/h:/d": Mount(type="bind", target="/d", source="/h", text="/h:/d", create=True),
    "/h/../i:/d:ro,rslave": Mount(
        type="bind",
        target="/d",
        source="/i",
        text="/h/../i:/d:ro,rslave",
        create=True,
        read_only=True,
        propagation="rslave",
    ),
    "/h:/d:rprivate,cached": Mount(type="bind", target="/d", source="/h", text="/h:/d:rprivate,cached", create=True),
    "/h:/d:U": Mount(type="bind", target="/d", source="/h", text="/h:/d:U", create=True, own=True),
    "/h:/d:exec,nodev": Mount(
        type="bind", target="/d", source="/h", text="/h:/d:exec,nodev", create=True, flags=("exec", "nodev")
    ),
    "/h:/d:O": Mount(type="overlay", target="/d", source="/h", text="/h:/d:O"),
    "/h:/d:O,upperdir=/u,workdir=/w": Mount(
        type="overlay", target="/d", source="/h", text="/h:/d:O,upperdir=/u,workdir=/w", upper="/u", work="/w"
    ),
}


@pytest.mark.parametrize("text", VOLUMES)
def test_volume_texts(text: str) -> None:
    assert parse_volume(text) == VOLUMES[text]


def test_what_begins_with_a_dot_is_a_path_of_the_callers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_volume("./x:/d").source == f"{tmp_path}/x"
    assert parse_volume(".:/d").text == f"{tmp_path}:/d"
    assert parse_mount("type=bind,src=.,dst=/d").source == str(tmp_path)


BAD_VOLUMES: dict[str, tuple[type[RootlessError], str]] = {
    "": (UsageError, "invalid empty volume spec"),
    "a::b": (UsageError, "invalid spec: a::b: empty section between colons"),
    ":/d": (UsageError, "invalid spec: :/d: empty section between colons"),
    "a:/b:ro:x": (UsageError, "invalid spec: a:/b:ro:x: too many colons"),
    "/d:ro": (InvalidError, "invalid volume specification: '/d:ro'"),
    "a:/d:foo": (InvalidError, "invalid mode: foo"),
    "/h:/d:nocopy": (
        InvalidError,
        (
            "invalid volume specification: '/h:/d:nocopy': "
            'invalid mount config for type "bind": field VolumeOptions must not be specified'
        ),
    ),
    "a:/d:ro,rw": (InvalidError, "invalid mode: ro,rw"),
    "a:/d:slave,rslave": (InvalidError, "invalid mode: slave,rslave"),
    "a:/d:upperdir=/u": (InvalidError, "invalid mode: upperdir=/u"),
    "a:d": (
        InvalidError,
        (
            "invalid volume specification: 'a:d': invalid mount config for type \"volume\": invalid mount path: 'd' "
            "mount path must be absolute"
        ),
    ),
    "d": (
        InvalidError,
        (
            "invalid volume specification: 'd': invalid mount config for type \"volume\": invalid mount path: 'd' "
            "mount path must be absolute"
        ),
    ),
    "/h:/": (
        InvalidError,
        (
            "invalid volume specification: '/h:/': invalid mount config for type \"bind\": invalid specification: "
            "destination can't be '/'"
        ),
    ),
    "a:/x/..": (
        InvalidError,
        (
            "invalid volume specification: 'a:/x/..': invalid mount config for type \"volume\": invalid specification: "
            "destination can't be '/'"
        ),
    ),
    "a:/d:O": (InvalidError, "invalid volume specification: 'a:/d:O': the mode O needs a directory of the machine's"),
    "/h:/d:O,upperdir=/u": (
        InvalidError,
        "invalid volume specification: '/h:/d:O,upperdir=/u': upperdir and workdir must be given together",
    ),
}


@pytest.mark.parametrize("text", BAD_VOLUMES)
def test_volume_texts_that_mean_nothing(text: str) -> None:
    kind, message = BAD_VOLUMES[text]
    with pytest.raises(kind) as refused:
        parse_volume(text)
    assert refused.value.message == message


MOUNTS = {
    "type=bind,source=/h,target=/d": Mount(type="bind", target="/d", source="/h"),
    "TYPE=BIND,src=/h,destination=/d,ro": Mount(type="bind", target="/d", source="/h", read_only=True),
    "type=bind,src=/h,dst=/d,readonly=false": Mount(type="bind", target="/d", source="/h"),
    "type=bind,src=/h,dst=/d,bind-propagation=rslave,bind-create-src": Mount(
        type="bind", target="/d", source="/h", propagation="rslave", create=True
    ),
    "type=bind,src=/h,dst=/d,bind-recursive=disabled": Mount(
        type="bind", target="/d", source="/h", recursive="disabled"
    ),
    "type=bind,src=/h,dst=/d,ro,bind-recursive=writable": Mount(
        type="bind", target="/d", source="/h", read_only=True, recursive="writable"
    ),
    '"type=bind","src=/with, comma",dst=/d': Mount(type="bind", target="/d", source="/with, comma"),
    "source=v,target=/d": Mount(type="volume", target="/d", source="v"),
    "target=/d": Mount(type="volume", target="/d", anonymous=True),
    "type=volume,src=v,dst=/d,volume-nocopy,volume-subpath=a/b": Mount(
        type="volume", target="/d", source="v", no_copy=True, subpath="a/b"
    ),
    "src=v,dst=/d,volume-label=a=b,volume-label=c,volume-opt=type=none": Mount(
        type="volume", target="/d", source="v", labels={"a": "b", "c": ""}, volume_options={"type": "none"}
    ),
    "type=tmpfs,dst=/d,tmpfs-size=1m,tmpfs-mode=700": Mount(type="tmpfs", target="/d", options="mode=700,size=1048576"),
    "type=tmpfs,dst=/d,readonly": Mount(type="tmpfs", target="/d", options="ro", read_only=True),
}


@pytest.mark.parametrize("text", MOUNTS)
def test_mount_texts(text: str) -> None:
    assert parse_mount(text) == MOUNTS[text]


BAD_MOUNTS: dict[str, tuple[type[RootlessError], str]] = {
    "": (UsageError, "value is empty"),
    "type": (UsageError, "invalid field 'type' must be a key=value pair"),
    "type=": (UsageError, "invalid value for 'type': value is empty"),
    "type=bind, src=/h,dst=/d": (
        UsageError,
        "invalid option 'src' in ' src=/h': option should not have whitespace",
    ),
    "type=bind,src=/h ,dst=/d": (UsageError, "invalid value for 'src' in 'src=/h ': value should not have whitespace"),
    "foo=bar,dst=/d": (UsageError, "unknown option 'foo' in 'foo=bar'"),
    "type=bind,src=/h,dst=/d,readonly=maybe": (
        UsageError,
        (
            "invalid value for 'readonly': invalid boolean value (\"maybe\"): must be one of "
            '"true", "1", "false", or "0" (default "true")'
        ),
    ),
    "type=bind,src=/h,dst=/d,bind-nonrecursive": (
        UsageError,
        "bind-nonrecursive is deprecated, use bind-recursive=disabled instead",
    ),
    "type=bind,src=/h,dst=/d,bind-recursive=x": (
        UsageError,
        'invalid value for bind-recursive: x (must be "enabled", "disabled", "writable", or "readonly")',
    ),
    "type=bind,src=/h,dst=/d,bind-recursive=writable": (
        UsageError,
        "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
    ),
    "type=bind,src=/h,dst=/d,ro,bind-recursive=readonly": (
        UsageError,
        "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction",
    ),
    "type=volume,dst=/d,bind-propagation=slave": (
        UsageError,
        "cannot mix 'bind-*' options with mount type 'volume'",
    ),
    "type=bind,src=/h,dst=/d,volume-nocopy": (UsageError, "cannot mix 'volume-*' options with mount type 'bind'"),
    "type=bind,src=/h,dst=/d,tmpfs-size=1": (UsageError, "cannot mix 'tmpfs-*' options with mount type 'bind'"),
    "type=tmpfs,dst=/d,tmpfs-size=big": (UsageError, "invalid value for tmpfs-size: invalid size: 'big'"),
    "type=tmpfs,dst=/d,tmpfs-mode=rwx": (
        UsageError,
        'invalid value for tmpfs-mode: strconv.ParseUint: parsing "rwx": invalid syntax',
    ),
    "type=bind,src=/h": (InvalidError, 'invalid mount config for type "bind": field Target must not be empty'),
    "type=bind,dst=/d": (InvalidError, 'invalid mount config for type "bind": field Source must not be empty'),
    "type=bind,src=h,dst=/d": (
        InvalidError,
        "invalid mount config for type \"bind\": invalid mount path: 'h' mount path must be absolute",
    ),
    "type=bind,src=/h,dst=d": (
        InvalidError,
        "invalid mount config for type \"bind\": invalid mount path: 'd' mount path must be absolute",
    ),
    "type=bind,src=/h,dst=/d,bind-propagation=up": (
        InvalidError,
        'invalid mount config for type "bind": invalid propagation mode: up',
    ),
    "type=tmpfs,src=/h,dst=/d": (
        InvalidError,
        'invalid mount config for type "tmpfs": field Source must not be specified',
    ),
    "type=floppy,dst=/d": (InvalidError, 'invalid mount config for type "floppy": mount type unknown'),
    "dst=/d,volume-subpath=x": (
        InvalidError,
        'invalid mount config for type "volume": must not set Subpath when using anonymous volumes',
    ),
    "src=v,dst=/d,volume-subpath=a/../../x": (
        InvalidError,
        'invalid mount config for type "volume": subpath must be a relative path within the volume',
    ),
    "src=v,dst=/d,volume-driver=nfs": (
        InvalidError,
        'create v: error looking up volume plugin nfs: plugin "nfs" not found',
    ),
}


@pytest.mark.parametrize("text", BAD_MOUNTS)
def test_mount_texts_that_mean_nothing(text: str) -> None:
    kind, message = BAD_MOUNTS[text]
    with pytest.raises(kind) as refused:
        parse_mount(text)
    assert refused.value.message == message


def test_volumes_from() -> None:
    assert parse_volumes_from("other") == ("other", False)
    assert parse_volumes_from("other:ro") == ("other", True)
    assert parse_volumes_from("other:rw,z") == ("other", False)
    for text in "other:nocopy", "other:rslave", "other:foo":
        with pytest.raises(InvalidError, match=f"invalid mode: {text.partition(':')[2]}"):
            parse_volumes_from(text)


def volume(target: str, source: str = "v") -> Mount:
    return Mount(type="volume", target=target, source=source)


def test_two_mounts_at_one_place() -> None:
    for wanted, tmpfs in ([volume("/x"), volume("/x", "w")], ()), ([volume("/x")], ("/x",)):
        with pytest.raises(InvalidError, match="Duplicate mount point: /x"):
            combine([], wanted, tmpfs, [])


def test_what_takes_whose_place() -> None:
    found = combine([volume("/a", "old"), volume("/b", "kept")], [volume("/a", "new")], ["/t"], ["/a", "/t", "/own"])
    assert found == (
        volume("/a", "new"),
        volume("/b", "kept"),
        Mount(type="volume", target="/own", anonymous=True),
    )


def test_a_volume_without_a_name_is_asked_for_twice_and_made_once() -> None:
    anonymous = Mount(type="volume", target="/x", anonymous=True)
    assert combine([], [anonymous, anonymous], [], ["/x"]) == (anonymous,)
    assert combine([volume("/x", "other")], [anonymous], [], []) == (volume("/x", "other"),)


@pytest.mark.parametrize(
    ("target", "source", "reason"),
    [
        ("/proc", "", "not of type proc"),
        ("/proc/", "/tmp", "not of type proc"),
        ("/x/../proc/sys", "", "inside /proc"),
        ("/proc/self/fd", "/proc", "inside /proc"),
    ],
)
def test_proc_is_not_covered(target: str, source: str, reason: str) -> None:
    """The way to execve(2) and every later `exec` lead through it; runc's words."""
    with pytest.raises(InvalidError, match=f"cannot be mounted because it is {reason}"):
        require_outside_proc(target, source)


def test_what_may_be_mounted_near_proc() -> None:
    for target, source in (("/proc", "/proc"), ("/proc/cpuinfo", "/x"), ("/processes", ""), ("/srv/proc", "")):
        require_outside_proc(target, source)


def test_a_source_that_has_to_be_there(tmp_path: Path) -> None:
    require_source(Mount(type="bind", target="/d", source=str(tmp_path)))
    with pytest.raises(NotFoundError) as refused:
        require_source(Mount(type="bind", target="/d", source=f"{tmp_path}/missing"))
    assert refused.value.message == (
        f'invalid mount config for type "bind": bind source path does not exist: {tmp_path}/missing'
    )
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(0)
    if os.geteuid():
        with pytest.raises(InvalidError, match=r"closed/x: permission denied"):
            require_source(Mount(type="bind", target="/d", source=f"{tmp_path}/closed/x"))
