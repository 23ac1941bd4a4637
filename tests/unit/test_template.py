"""Formats give what Docker's command line gives for them: the expectations are the output of `docker inspect` 28.2 for
the same document, errors included where their words are ours to choose."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootless.cli.template import Map, NilList, NilMap, Template, TemplateError, plain

DOCUMENT: dict[str, Any] = {
    "Id": "a1b2",
    "Name": "/web",
    "RestartCount": 3,
    "State": {"Status": "running", "Running": True, "Paused": False},
    "Mounts": [
        {"Source": "/a", "Destination": "/b", "RW": True},
        {"Source": "/c", "Destination": "/d", "RW": False},
    ],
    "Config": {
        "Hostname": "h",
        "User": "",
        "Env": ["A=1", "B=x y"],
        "Labels": Map({"com.x": "1", "b": "two", "empty": ""}),
        "ExposedPorts": Map({"80/tcp": {}, "443/tcp": {}}),
        "Entrypoint": NilList(),
        "Volumes": NilMap(),
    },
    "NetworkSettings": {
        "Ports": Map({"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}),
        "Networks": Map({"bridge": {"IPAddress": "172.17.0.2"}, "other": {"IPAddress": "10.0.0.2"}}),
    },
    "Label": lambda name: {"q": "w"}.get(name, ""),
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("", ""),
        ("plain } }} text", "plain } }} text"),
        ("{{.Id}}{{.ID}}", "a1b2a1b2"),
        ("{{.Name}} {{.RestartCount}} {{.State.Running}}", "/web 3 true"),
        ("{{.Config.Env}} {{.Config.Labels}}", "[A=1 B=x y] map[b:two com.x:1 empty:]"),
        ("{{.Config.ExposedPorts}} {{.Config.Entrypoint}} {{.Config.Volumes}}", "map[443/tcp:{} 80/tcp:{}] [] map[]"),
        ("{{json .Config.Labels}}", '{"b":"two","com.x":"1","empty":""}'),
        ("{{json .Config.Entrypoint}} {{json .Config.Volumes}} {{json nil}}", "null null null"),
        ('{{json "a<b>&\\""}}', '"a<b>&\\""'),
        ("{{range .Config.Env}}{{.}},{{end}}", "A=1,B=x y,"),
        ("{{range $i, $e := .Config.Env}}{{if $i}}, {{end}}{{$e}}{{end}}", "A=1, B=x y"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "b=two;com.x=1;empty=;"),
        ("{{range .Config.Entrypoint}}x{{else}}none{{end}}", "none"),
        ("{{range .Mounts}}{{.Source}}{{if not .RW}}:ro{{end}} {{end}}", "/a /c:ro "),
        ("{{(index .Mounts 0).Source}}", "/a"),
        ('{{index .Config.Labels "com.x"}} {{index .Config.Labels "no"}}|{{.Config.Labels.no}}', "1 |<no value>"),
        ("{{.Config.Labels.no.more}}", "<no value>"),
        ('{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', "8080"),
        ("{{range $p, $c := .NetworkSettings.Ports}}{{$p}}->{{(index $c 0).HostPort}}{{end}}", "80/tcp->8080"),
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", "172.17.0.2 10.0.0.2 "),
        ("{{with .Config}}{{.Hostname}} {{$.Name}}{{end}}", "h /web"),
        ("{{with .Config.User}}user{{else}}nouser{{end}}", "nouser"),
        ("{{with $y := .Name}}{{$y}}{{end}}", "/web"),
        ("{{if and .State.Running (eq .RestartCount 3)}}y{{end}}", "y"),
        ("{{if or .State.Paused (gt .RestartCount 2)}}y{{end}}", "y"),
        ('{{if eq .State.Status "dead" "running"}}y{{end}}', "y"),
        ('{{if ne .Name "/web"}}a{{else if lt .RestartCount 5}}b{{else}}c{{end}}', "b"),
        ('{{le 1 1}} {{ge 1 2}} {{lt "a" "b"}} {{eq 1 1 2}} {{not 0}} {{not "x"}}', "true false true true true false"),
        ("{{and 1 0 .Nope}} {{or 1 .Nope}} {{and 1 2}} {{or 0 0}}", "0 1 2 0"),
        ('{{.Name | printf "%s-%d" "x"}}', "x-%!d(string=/web)"),
        ('{{printf "%q %v %d %5d|%-5d|%05d %x %X %o %t %%" .Name .Config.Env 7 7 7 7 255 255 8 true}}',)
        + ('"/web" [A=1 B=x y] 7     7|7    |00007 ff FF 10 true %',),
        ('{{printf "%s" 5}} {{printf "%d"}} {{printf "a" 1}} {{printf "%z" 1}}',)
        + ("%!s(int=5) %!d(MISSING) a%!(EXTRA int=1) %!z(int=1)",),
        ('{{printf "%10s|%-10s|%.2s|%+d|%c" "abc" "abc" "abc" 5 65}}', "       abc|abc       |ab|+5|A"),
        ('{{printf "%f %.2f %e %g %v %q" 1.5 1.5 1.5 1.5 1.0 .Config.Env}}',)
        + ('1.500000 1.50 1.500000e+00 1.5 1 ["A=1" "B=x y"]',),
        ('{{print "a" 1 2 "b"}} {{print 1 2}} {{println "a" 1}}', "a1 2b 1 2 a 1\n"),
        ("{{len .Name}} {{len .Config.Env}} {{len .Config.Labels}}", "4 2 3"),
        (
            '{{upper .Name}} {{lower "ABC"}} {{title "it\'s a-b"}} {{join .Config.Env ","}}',
            "/WEB abc It'S A-B A=1,B=x y",
        ),
        ('{{split "a:b:c" ":"}} {{pad "x" 2 3}}|{{pad "" 2 3}}|{{truncate "abcdef" 3}}', "[a b c]   x   ||abc"),
        ('{{slice "abcdef" 1}} {{slice "abcdef" 1 3}} {{slice .Config.Env 1}}', "bcdef bc [B=x y]"),
        ('{{html "<a href=\'x\'>\\"&"}} {{urlquery "a b&c"}}', "&lt;a href=&#39;x&#39;&gt;&#34;&amp; a+b%26c"),
        ("{{$x := 1}}{{$x}}{{$x = 2}}{{$x}}", "12"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{$x := 3}}{{$x}}{{end}}{{$x}}", "32"),
        ('{{range .Config.Env}}{{if eq . "B=x y"}}{{break}}{{end}}{{.}}{{end}}', "A=1"),
        ('{{range .Config.Env}}{{if eq . "A=1"}}{{continue}}{{end}}{{.}}{{end}}', "B=x y"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("a {{- .Id -}} b", "aa1b2b"),
        ("a {{- /* c */ -}} b|a {{/* c */}} b", "ab|a  b"),
        ("{{.Id}} \n {{- .Id}}", "a1b2a1b2"),
        ("{{\"a\\tb\"}} {{`raw\\n`}} {{'a'}} {{0x1F}} {{1e3}} {{1.50}} {{-3}}", "a\tb raw\\n 97 31 1000 1.5 -3"),
        ("{{1.5e-7}} {{1e21}} {{100000000000}}", "1.5e-07 1e+21 100000000000"),
        ("{{ .Config.Env | json }} {{ json . | len | gt 10 }}", '["A=1","B=x y"] false'),
        ("{{.Name | }}", "/web"),
        ('{{.Label "q"}}|{{.Label "z"}}|{{"q" | .Label}}', "w||w"),
        ("{{.State}} {{.Mounts}}", "{running true false} [{/a /b true} {/c /d false}]"),
    ],
)
def test_what_a_format_gives(template: str, expected: str) -> None:
    document = {k: v for k, v in DOCUMENT.items() if k != "Label"} if "json ." in template else DOCUMENT
    assert Template(template).render(document) == expected


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ("{{.Nope}}", ':1:2: executing "" at <.Nope>: map has no entry for key "Nope"'),
        ("x\n{{.Config.Nope}}", ':2:9: executing "" at <.Config.Nope>: map has no entry for key "Nope"'),
        ("{{.Name.Foo}}", ':1:7: executing "" at <.Name.Foo>: can\'t evaluate field Foo in type string'),
        ("{{foo}}", ':1: function "foo" not defined'),
        ("a\n{{.Name", ":2: unclosed action"),
        ("{{", ":1: unclosed action"),
        ("{{if}}x{{end}}", ":1: missing value for if"),
        ("{{if .Name}}x", ":1: unexpected EOF"),
        ("{{end}}", ":1: unexpected {{end}}"),
        ("{{else}}", ":1: unexpected {{else}}"),
        ("{{if .Name}}a{{else}}b{{else}}c{{end}}", ":1: expected end; found {{else}}"),
        ("{{$nope}}", ':1: undefined variable "$nope"'),
        ("{{range $x := .Config.Env}}{{end}}{{$x}}", ':1: undefined variable "$x"'),
        ("{{if true}}{{$x := 1}}{{end}}{{$x}}", ':1: undefined variable "$x"'),
        ("{{break}}", ":1: {{break}} outside {{range}}"),
        ("{{range .Name}}{{end}}", ':1:8: executing "" at <.Name>: range can\'t iterate over /web'),
        (
            "{{index .Config.Env 5}}",
            ':1:2: executing "" at <index .Config.Env 5>: error calling index: index out of range: 5',
        ),
        ("{{len 3}}", ':1:2: executing "" at <len 3>: error calling len: len of type int'),
        ('{{eq "a" 1}}', ':1:2: executing "" at <eq "a" 1>: error calling eq: incompatible types for comparison'),
        ("{{lt true false}}", ':1:2: executing "" at <lt true false>: error calling lt: invalid type for comparison'),
        ('{{.Name "x"}}', ':1:2: executing "" at <.Name>: Name is not a method but has arguments'),
        ("{{.Config .Hostname}}", ':1:2: executing "" at <.Config>: Config is not a method but has arguments'),
        ('{{"x" "y"}}', ':1:2: executing "" at <"x">: can\'t give argument to non-function "x"'),
        ("{{1 | 2}}", ":1: non executable command in pipeline stage 2"),
        ("{{len}}", ':1:2: executing "" at <len>: wrong number of args for len: want 1 got 0'),
        ("{{and}}", ':1:2: executing "" at <and>: wrong number of args for and: want at least 1 got 0'),
        ("{{.Label}}", ':1:2: executing "" at <.Label>: wrong number of args for Label: want 1 got 0'),
        ("{{(.Name}}", ":1: unclosed left paren"),
        ("{{.Name)}}", ":1: unexpected right paren"),
        ('{{"abc}}', ":1: unterminated quoted string"),
        ("{{`abc}}", ":1: unterminated raw quoted string"),
        ("{{/* abc}}", ":1: unclosed comment"),
        ("{{/* abc */ x}}", ":1: comment ends before closing delimiter"),
        ("{{}}", ":1: missing value for command"),
        ("{{nil}}", ':1:2: executing "" at <nil>: nil is not a command'),
        ("{{.Name}}{{3x}}", ":1: unexpected <x> in operand"),
        ("{{%}}", ":1: unexpected '%' in command"),
        ('{{define "x"}}a{{end}}', ":1: {{define}} is not supported in a format"),
        ("{{range 99999999}}{{end}}", ':1:8: executing "" at <99999999>: range over 99999999: too much'),
        ('{{"abc" | len | slice "a"}}',)
        + (':1:16: executing "" at <slice "a">: error calling slice: index out of range: 3',),
    ],
)
def test_a_bad_format_is_one_line_that_says_where(template: str, error: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(template).render(DOCUMENT)
    assert str(caught.value) == f"template parsing error: template: {error}"


@pytest.mark.parametrize(
    "template", ["{{if .Id}}" * 500, "{{(" * 1 + "(" * 500, "{{" + "(" * 500 + ".Id" + ")" * 500 + "}}"]
)
def test_nesting_without_end_is_refused(template: str) -> None:
    with pytest.raises(TemplateError, match="depth exceeded|unclosed"):
        Template(template)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ('{{pad "x" 99999999999 1}}', "more than 1000000 blanks"),
        ('{{pad "x" 1 -1}}', "negative repeat count"),
        ('{{truncate "abc" -1}}', "slice bounds out of range"),
    ],
)
def test_widths_that_cannot_be(template: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        Template(template).render({})


def test_a_width_that_would_fill_the_memory_is_no_width() -> None:
    """As Go's fmt has it."""
    assert Template('{{printf "%*d" 9999999999 1}}').render({}).startswith("%!(BADWIDTH)")


def test_output_without_end_is_refused() -> None:
    loop = "{{range 1000}}" * 4 + '{{printf "%9999d" 1}}' + "{{end}}" * 4
    with pytest.raises(TemplateError, match="the output is too long"):
        Template(loop).render({})


@settings(database=None, deadline=None)
@given(st.text(alphabet='{}.aN|"`$:=() -/*if1end', max_size=25) | st.text(max_size=12).map(lambda t: "{{" + t + "}}"))
def test_any_text_is_a_template_or_refused_as_one(text: str) -> None:
    outcome: str
    try:
        outcome = Template(text).render({"a": {"N": 1}, "N": [1, "x"]})
    except TemplateError as problem:
        outcome = str(problem).partition(" ")[0]
    assert outcome in (text, "template") or "{{" in text


def test_plain_is_what_json_shall_say() -> None:
    assert plain({"a": NilList(), "b": NilMap(), "c": Map({"z": [NilMap()], "a": 1})}) == {
        "a": None,
        "b": None,
        "c": {"a": 1, "z": [None]},
    }
