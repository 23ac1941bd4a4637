"""`import --change` reads instructions as the builder does: what each makes of a configuration, and what is refused."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootless.errors import InvalidError
from rootless.image import words
from rootless.image.changes import apply, parse_command
from rootless.image.expand import Lexer
from rootless.image.healthcheck import duration
from rootless.image.spec import RunConfig


def result(*changes: str, **before: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(apply(RunConfig(**before), changes))
    return found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ('CMD ["/bin/sh"]', {"Cmd": ["/bin/sh"]}),
        ("cmd echo hi", {"Cmd": ["/bin/sh", "-c", "echo hi"]}),
        ("CMD [ -f x ] && echo y", {"Cmd": ["/bin/sh", "-c", "[ -f x ] && echo y"]}),
        ("CMD echo $HOME '$X'", {"Cmd": ["/bin/sh", "-c", "echo $HOME '$X'"]}),
        ("CMD []", {"Cmd": []}),
        ("CMD a \\\n  b", {"Cmd": ["/bin/sh", "-c", "a   b"]}),
        ('ENTRYPOINT ["/init", "--x"]', {"Entrypoint": ["/init", "--x"]}),
        ("ENTRYPOINT []", {}),
        ("ENTRYPOINT run it", {"Entrypoint": ["/bin/sh", "-c", "run it"]}),
        ('ENV A=1 B=\'x y\' C="z\\"" D=e\\ f', {"Env": ["A=1", "B=x y", 'C=z"', "D=e f"]}),
        ("ENV A some  text ", {"Env": ["A=some  text"]}),
        ("ENV A=b=c", {"Env": ["A=b=c"]}),
        ('LABEL a=b c="d e"', {"Labels": {"a": "b", "c": "d e"}}),
        ("LABEL a b c", {"Labels": {"a": "b c"}}),
        ('LABEL "a b"=c', {"Labels": {"a b": "c"}}),
        ("EXPOSE 80", {"ExposedPorts": {"80/tcp": {}}}),
        (
            "EXPOSE 80 53/UDP 8000-8002/sctp",
            {"ExposedPorts": {f"{p}": {} for p in ("80/tcp", "53/udp", "8000/sctp", "8001/sctp", "8002/sctp")}},
        ),
        ("EXPOSE 8080:80", {"ExposedPorts": {"80/tcp": {}}}),
        ("VOLUME /a /b", {"Volumes": {"/a": {}, "/b": {}}}),
        ('VOLUME ["/a b", "/c"]', {"Volumes": {"/a b": {}, "/c": {}}}),
        ("USER 1000:1000", {"User": "1000:1000"}),
        ("WORKDIR /a/../b//c/", {"WorkingDir": "/b/c"}),
        ("WORKDIR //a b", {"WorkingDir": "/a b"}),
        ("STOPSIGNAL SIGQUIT", {"StopSignal": "SIGQUIT"}),
        ("STOPSIGNAL 9", {"StopSignal": "9"}),
        ("STOPSIGNAL rtmin+3", {"StopSignal": "rtmin+3"}),
        ('SHELL ["/bin/bash", "-c"]', {"Shell": ["/bin/bash", "-c"]}),
        ("ONBUILD RUN make  all", {"OnBuild": ["RUN make  all"]}),
        ("HEALTHCHECK NONE", {"Healthcheck": {"Test": ["NONE"]}}),
        ("HEALTHCHECK CMD curl -f  x", {"Healthcheck": {"Test": ["CMD-SHELL", "curl -f  x"]}}),
        (
            'HEALTHCHECK --interval=1m30s --timeout=.5s --retries=3 --start-period=1h cmd ["true"]',
            {
                "Healthcheck": {
                    "Test": ["CMD", "true"],
                    "Interval": 90 * 10**9,
                    "Timeout": 5 * 10**8,
                    "StartPeriod": 3600 * 10**9,
                    "Retries": 3,
                }
            },
        ),
    ],
)
def test_one_instruction(change: str, expected: dict[str, Any]) -> None:
    assert result(change) == expected


@pytest.mark.parametrize(
    ("change", "words_of_refusal"),
    [
        ("RUN true", "RUN is not a valid change command"),
        ("", "nothing is not a valid change command"),
        ('CMD ["a", 1]', "when using JSON array syntax, arrays must be comprised of strings only"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV A=1 B", "Syntax error - can't find = in 'B'. Must be of the form: name=value"),
        ("ENV =1", "ENV names can not be blank"),
        ("ENV A='x", 'failed to process "\'x": unexpected end of statement while looking for matching single-quote'),
        ('LABEL a="x', 'failed to process ""x": unexpected end of statement while looking for matching double-quote'),
        ("ENV A=${B", "failed to process \"${B\": syntax error: missing '}'"),
        ("ENV A=${}", 'failed to process "${}": syntax error: bad substitution'),
        ("ENV A=${B:x}", 'failed to process "${B:x}": unsupported modifier (:x) in substitution'),
        ("ENV A=${B:?missing}", 'failed to process "${B:?missing}": B: missing'),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("EXPOSE http", "invalid containerPort: http"),
        ("EXPOSE 65536", "invalid containerPort: 65536"),
        ("EXPOSE 9-8", "invalid range specified for port: 9-8"),
        ("EXPOSE 80/icmp", "invalid proto: icmp"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ('VOLUME [" "]', "VOLUME specified can not be an empty string"),
        ("USER", "USER requires exactly one argument"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("STOPSIGNAL NO", "Invalid signal: NO"),
        ("STOPSIGNAL 65", "Invalid signal: 65"),
        ("STOPSIGNAL rtmin+99", "Invalid signal: rtmin+99"),
        ("SHELL /bin/sh", "SHELL requires the arguments to be in JSON form"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD onbuild RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK RUN x", "Unknown type 'RUN' in HEALTHCHECK (try CMD)"),
        ("HEALTHCHECK --interval=1us CMD x", "Interval 'interval' cannot be less than 1ms"),
        ("HEALTHCHECK --interval=1 CMD x", "invalid duration '1'"),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
        ("HEALTHCHECK --retries=x CMD x", "--retries 'x' is not a number"),
        ("HEALTHCHECK --colour=red CMD x", "Unknown flag: colour"),
        ("HEALTHCHECK --interval CMD x", "Missing a value on flag: interval"),
    ],
)
def test_refused_with_its_reason(change: str, words_of_refusal: str) -> None:
    with pytest.raises(InvalidError) as caught:
        apply(RunConfig(), [change])
    assert str(caught.value).startswith(words_of_refusal)


def test_a_new_entry_point_takes_the_inherited_command_away_but_not_a_command_given_before_it() -> None:
    assert result('ENTRYPOINT ["/e"]', cmd=["old"]) == {"Entrypoint": ["/e"]}
    assert result('CMD ["c"]', 'ENTRYPOINT ["/e"]', cmd=["old"]) == {"Entrypoint": ["/e"], "Cmd": ["c"]}


def test_variables_come_from_the_configuration_as_it_was_before_the_instruction() -> None:
    env = ["PATH=/bin", "E="]
    assert result("ENV PATH=/x:$PATH Y=$Z Z=1", env=env)["Env"] == ["PATH=/x:/bin", "E=", "Y=", "Z=1"]
    assert result("WORKDIR ${PATH}/x", env=env)["WorkingDir"] == "/bin/x"
    assert result("USER ${E:-me}", env=env)["User"] == "me"
    assert result("USER ${E-me}x", env=env)["User"] == "x"
    assert result("USER ${PATH:+yes}", env=env)["User"] == "yes"
    assert result("USER '$PATH'", env=env)["User"] == "$PATH"
    assert result('USER "a$PATH\\$\\x"', env=env)["User"] == "a/bin$\\x"
    assert result("EXPOSE $P", env=["P=80 81"])["ExposedPorts"] == {"80/tcp": {}, "81/tcp": {}}
    assert result("ENV P=$ Q=$1x", env=env)["Env"][2:] == ["P=$", "Q=x"]
    assert result("ENV N=${A:-${PATH}}", env=env)["Env"][2:] == ["N=/bin"]


def test_the_shell_form_uses_the_images_own_shell() -> None:
    assert result('SHELL ["/bin/ash", "-ec"]', "CMD x")["Cmd"] == ["/bin/ash", "-ec", "x"]


def test_the_configuration_that_was_given_is_left_alone() -> None:
    before = RunConfig(env=["A=1"], labels={"a": "b"}, volumes={"/v": {}})
    apply(before, ["ENV A=2", "LABEL a=c d=e", "VOLUME /w", "USER x"])
    assert before == RunConfig(env=["A=1"], labels={"a": "b"}, volumes={"/v": {}})


@settings(database=None, deadline=None)
@given(st.text(alphabet="aA$ {}:-+?'\"\\_1=", max_size=30))
def test_no_text_breaks_the_expansion(text: str) -> None:
    """Whatever is written, it is expanded or refused; a single-quoted text stays what it is."""
    with suppress(InvalidError):
        Lexer().expand(text, {"a": "1", "A": "x y"})
    if "'" not in text:
        assert Lexer().expand(f"'{text}'", {}).text == text


@settings(database=None, deadline=None)
@given(st.text(max_size=40))
def test_splitting_loses_nothing_but_blanks(text: str) -> None:
    assert "".join("".join(words.split(text)).split()) == "".join(text.split())


@pytest.mark.parametrize("text", ["", "1", "s", "1.2.3s", "1s1", "--1s", "1 s", "1d", ".s", "١s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidError):
        duration(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("-0", 0), ("1.5h", 5400 * 10**9), ("-2ms", -2 * 10**6), ("1us", 1000), ("3µs10ns", 3010)],
)
def test_durations_as_go_reads_them(text: str, expected: int) -> None:
    assert duration(text) == expected


def test_a_json_array_too_deep_to_read_is_a_shell_line() -> None:
    assert parse_command("[" * 100_000) == (["[" * 100_000], False)
