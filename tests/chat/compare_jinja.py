#!/usr/bin/env python3
"""Renders many expressions with `loadline template` and with Python's jinja2, set up as transformers does, and shows
where they differ. Run by hand (needs python3-jinja2): tests/chat/compare_jinja.py LOADLINE [SEED [COUNT]]
"""
import copy
import datetime
import itertools
import json
import random
import re
import subprocess
import sys
import tempfile

import jinja2
import jinja2.ext
import jinja2.sandbox

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5)
INPUT = {
    "s": "Hello, World", "e": "", "u": "Zoë 東京 ß ŉ 𝕏", "w": "  a\tb \n c  ", "q": "<a href=\"x\">'&'</a>", "digits": "12.50",
    "i": 7, "n": -3, "z": 0, "f": 2.5, "g": 1e100, "h": 0.1, "whole": 3.0, "big": 12345678901234567890123, "t": True, "no": False, "none": None,
    "l": [3, 1, 2], "ls": ["b", "A", "c", "a"], "le": [], "ll": [[1, 2], [3, 4], []], "mixed": [1, "a", None, True, 2.0, [1], {"k": "v"}],
    "d": {"b": 1, "a": "x", "C": None}, "de": {}, "dd": {"x": {"y": [1, {"z": "deep"}]}, "items": 5},
    "people": [{"name": "Bob", "age": 30, "city": {"n": "Oslo"}}, {"name": "ann", "age": 25, "city": {"n": "Rome"}}, {"name": "Cid", "age": 30}],
    "esc": "a\\b\"c'd\n\t\r\x00\x1f\x7f\u2028é",
}


def reference():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: NOW.strftime(form)
    return environment


def expected(environment, text):
    try:
        rendered = environment.from_string(text).render(**copy.deepcopy(INPUT))  # filters change lists in place
        return re.sub(" at 0x[0-9a-f]+>", ">", rendered), None
    except Exception as error:  # of any kind
        return None, f"{type(error).__name__}: {error}"


def given(program, text, folder):
    path = f"{folder}/t.jinja"
    with open(path, "w", newline="") as file:
        file.write(text)
    result = subprocess.run([program, "template", "--chat-template-file", path, "--input", f"{folder}/in.json", "--now", NOW.isoformat()],
                            capture_output=True)
    if result.returncode != 0:
        return None, f"({result.returncode}) " + result.stderr.decode(errors="replace").strip()
    return result.stdout.decode(errors="replace"), None


FILTERS = """abs attr('name') batch(2) batch(2,'-') capitalize center(20) center count default('D') default('D',true) d dictsort dictsort(true)
dictsort(by='value') dictsort(reverse=true) e escape filesizeformat filesizeformat(true) first float float(9) forceescape format('x') format(1,2) groupby('age') indent
indent(2) indent(2,true) indent(width=2,first=true,blank=true) indent('>>') int int(5) int(0,16) items join join('-') join(', ',attribute='name') last length list lower
map('upper') map(attribute='name') map(attribute='city.n',default='?') map('length') map('string') map('default','z') max min max(attribute='age') pprint reject reject('odd') rejectattr('age','equalto',30) rejectattr('city')
replace('l','L') replace('l','L',1) replace('','-') reverse round round(1) round(1,'ceil') round(1,'floor') safe select select('string') select('number') selectattr('age') selectattr('age','gt',26) selectattr('city','defined')
slice(2) slice(2,'x') sort sort(reverse=true) sort(attribute='age') sort(attribute='age,name') sort(case_sensitive=true) string striptags sum sum(attribute='age') sum(start=10) title tojson tojson(indent=2) tojson(indent=0)
tojson(sort_keys=true) tojson(separators=(',',':')) tojson(ensure_ascii=true) tojson(indent=4,separators=(', ',' : ')) trim trim('H') trim(' ') truncate(5) truncate(5,true) truncate(5,true,'') truncate(5,leeway=0) unique unique(case_sensitive=true) unique(attribute='age') upper urlencode urlize wordcount wordwrap(5)
wordwrap(5,false) xmlattr xmlattr(false)""".split()
TESTS = """defined undefined none boolean true false integer float number string mapping iterable sequence callable sameas(true) sameas(none) escaped in([3,'a']) in('Hello') even odd divisibleby(3) lower upper eq(7) equalto('x')
ne(7) gt(1) ge(7) lt(9) le(2) greaterthan(2) lessthan(2) filter test""".split()
METHODS = """strip() strip('H') strip(' a') lstrip() rstrip() rstrip('d') split() split(',') split(', ',1) split(' ') rsplit(',',1) rsplit() splitlines() splitlines(true) partition(',') rpartition('o') upper() lower() title() capitalize() casefold() swapcase()
startswith('H') startswith(('a','H')) startswith('l',2) endswith('d') endswith(('x','d')) find('o') find('o',5) rfind('o') index('l') count('l') replace('l','L') replace('l','L',1) zfill(15) center(20,'*') ljust(15) rjust(15,'.') isdigit() isalpha() isalnum() isspace() isupper() islower() istitle() isnumeric() isdecimal() isidentifier() isascii() isprintable()
join(['a','b']) join(ls) format(1,2) format(a=1) encode() removeprefix('He') removesuffix('ld') expandtabs(4) translate({72:'J'}) items() keys() values() get('a') get('zz') get('zz',1) copy() index(1) count(1) pop() append(1) __class__ bit_length() is_integer() as_integer_ratio() real maketrans('a','b') conjugate() hex() fromkeys(['a'])""".split()
BINARY = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "and", "or", "in", "not in"]
SUBSCRIPTS = ["[0]", "[-1]", "[1:]", "[:-1]", "[::-1]", "[::2]", "[5:1:-2]", "['a']", "[99]", ".a", ".name", "[true]", "[none]", "[1.0]", "[-2:]", "[:0]", ".0", "[:100]", "['x'].y", "[0][0]", "[none:2]"]
LITERALS = ["1", "-1", "1.0", "1e3", "1.5e-7", "1_000", "0x1F", "0b11", "0o17", "1e16", "123456789.123", "'a\\nb'", "'\\u00e9\\x41'", '"it\'s"', "'a' 'b'", "[1,'a',]", "(1,)", "(1,2)", "()", "{}", "{'a':1,'b':[none]}",
            "true", "None", "[true,None,'it\\'s',\"q\\\"\"]", "2**0.5", "10**20", "7//-2", "-7%3", "1/3", "100/10", "{1:2,none:3}", "'%s-%d' % ('a',3)", "'%05.2f|%x|%-5s|' % (3.14159,255,'ab')", "'{:>5}|{:.2f}|{!r}'.format('a',2,'b')", "1 if false", "1 if none else 2",
            "not 1", "-f", "+i", "1 < 2 < 3", "'a' in 'abc'", "1 == 1.0", "'' == false", "0 == false", "none == none", "[1,2] == [1,2]", "{'a':1} == {'a':1.0}", "range(3)", "range(3)|list", "range(5,0,-2)|list", "dict(a=1,b=2)", "namespace(a=1).a",
            "lipsum|string|length > 5", "cycler('a','b').next()", "joiner('|')()", "loop", "[1,2,3]|sum / 2", "strftime_now('%d %b %Y %H:%M:%S %A %B %j %y %I %p %w %%')", "strftime_now('%-d %e %-m %U')", "undefined_thing", "undefined_thing.x", "none.x", "i.x.y", "'a' ~ 1 ~ none ~ true ~ 1.0 ~ [1] ~ {'a':1}"]
STATEMENTS = [
    "{% for x in V %}{{ loop.index }}/{{ loop.length }}{{ x }}{{ ',' if not loop.last }}{% else %}empty{% endfor %}",
    "{% for x in V if x %}{{ loop.revindex }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a','b') }}{% endfor %}",
    "{% for a, b in V %}{{ a }}={{ b }};{% endfor %}", "{% for k, v in V.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in V|dictsort %}{{ k }}={{ v }};{% endfor %}",
    "{% for x in V %}{% if loop.first %}{% continue %}{% endif %}{{ x }}{% if loop.index > 2 %}{% break %}{% endif %}{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for x in V %}{% set ns.n = ns.n + 1 %}{% set y = x %}{% endfor %}{{ ns.n }}{{ y is defined }}",
    "{% macro m(a, b='B', c=a) %}[{{ a }}{{ b }}{{ c }}{{ varargs }}{{ kwargs }}]{% endmacro %}{{ m(V) }}{{ m(V, 1) }}{{ m(b=2, a=V) }}{{ m(V, 1, 2, 3) if true }}{{ m.name }}{{ m.arguments }}",
    "{% macro m(a) %}<{{ caller(a) }}>{% endmacro %}{% call(x) m(V) %}({{ x }}){% endcall %}", "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}{{ V }}{% endcall %}",
    "{% set x %}a{{ V }}b{% endset %}{{ x|length }}{{ x }}", "{% set x | upper %}a{{ V }}b{% endset %}{{ x }}", "{% filter upper %}x{{ V }}{% endfilter %}", "{% set a, b = V %}{{ a }}|{{ b }}",
    "{% with a = V, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}", "  {% if V %}\n yes\n  {%- else -%}\n no\n  {% endif %}\n\n x", "a\n  {# comment #}\n  b {#- c -#} \n d", "{% raw %}{{ x }}{% endraw %}{{ V }}", "{%+ if true %}\n  x{% endif +%}\n y",
    "{% for x in V recursive %}{{ x if x is string or x is number else '' }}{% if x is iterable and x is not string and x is not mapping %}({{ loop(x) }}){% endif %}{{ loop.depth }}{% endfor %}",
    "{% for x in V %}{% for y in V %}{{ loop.index0 }}{% endfor %}{{ loop.index0 }}{% endfor %}", "{% if V is string %}s{% elif V is mapping %}m{% elif V is iterable %}i{% else %}o{% endif %}", "{% set x = 1 %}{% if V %}{% set x = 2 %}{% endif %}{{ x }}", "{% for x in V %}{{ loop.changed(x) }}{% endfor %}",
    "{{ raise_exception('no ' ~ V) }}", "{% autoescape true %}{{ V }}{% endautoescape %}", "{% block b %}{{ V }}{% endblock %}", "{{ self }}", "{% generation %}{{ V }}{% endgeneration %}", "{% do V.append(1) %}", "{{- V -}}\n  x", "x\n {{- V }}\n", "{{ V }}\n\n", "\n{{ V }}\n",
    "{% set d = {} %}{% set d.x = V %}{{ d }}", "{{ dict(d, x=V) }}", "{{ [V, V]|unique|list }}", "{{ {'k': V}|tojson }}", "{{ [V]|string }}{{ [V]|join }}", "{{ (V, 1)|tojson }}", "{{ 'x' if V else 'y' }}", "{{ V is defined and V is not none }}", "{{ V|default('d', boolean=True) }}",
]


def expressions(seed):
    names = list(INPUT)
    for value in LITERALS:
        yield "{{ " + value + " }}"
    for value, name in itertools.product(names, FILTERS):
        yield "{{ " + f"{value}|{name}" + " }}"
        if any(name.startswith(x) for x in ("batch", "items", "map", "re", "sel", "slice", "uniq", "groupby")):
            yield "{{ " + f"{value}|{name}|list" + " }}"
    for value, name in itertools.product(names, TESTS):
        yield "{{ " + f"{value} is {name}" + " }}{{ " + f"{value} is not {name}" + " }}"
    for value, name in itertools.product(names, METHODS):
        yield "{{ " + f"{value}.{name}" + " }}"
    for value, name in itertools.product(names, SUBSCRIPTS):
        yield "{{ " + f"{value}{name}" + " }}"
    for a, b, operator in itertools.product(names, names, BINARY):
        yield "{{ " + f"{a} {operator} {b}" + " }}"
    for value, text in itertools.product(names, STATEMENTS):
        yield text.replace("V", value)
    generator = random.Random(seed)
    while True:
        text = generator.choice(names + LITERALS)
        for _ in range(generator.randrange(1, 4)):
            kind = generator.randrange(5)
            if kind == 0:
                text = f"({text}).{generator.choice(METHODS)}"
            elif kind == 1:
                text = f"({text}){generator.choice(SUBSCRIPTS)}"
            elif kind == 2:
                text = f"({text}) {generator.choice(BINARY)} ({generator.choice(names + LITERALS)})"
            else:
                text = f"{text}|{generator.choice(FILTERS)}"
        if "**" in text:
            continue
        yield "{{ " + text + " }}" if generator.random() < 0.7 else generator.choice(STATEMENTS).replace("V", f"({text})")


def main():
    program, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 2000
    environment = reference()
    folder = tempfile.mkdtemp()
    with open(f"{folder}/in.json", "w") as file:
        json.dump(INPUT, file)
    cases = list(itertools.islice(expressions(seed), count))
    if len(sys.argv) > 4:
        random.Random(seed).shuffle(cases)
    differ = lenient = 0
    good = [(text, value) for text in cases for value, error in [expected(environment, text)] if error is None and "\n" != text[-1:]]
    bad = [(text, error) for text in cases for value, error in [expected(environment, text)] if error is not None]
    # Those that render, many in one template; where that goes wrong, one by one.
    def check(group):
        nonlocal differ
        whole = "\x01".join(text for text, value in group)
        wanted, error = expected(environment, whole)
        got, problem = given(program, whole, folder)
        if got == wanted and error is None:
            return
        if len(group) > 1:
            check(group[: len(group) // 2])
            check(group[len(group) // 2 :])
            return
        differ += 1
        print(f"{group[0][0]!r}\n  wanted {wanted!r} {error or ''}\n  given  {got!r} {problem or ''}", flush=True)

    for i in range(0, len(good), 64):
        check(good[i : i + 64])
    for text, error in bad[:: max(1, len(bad) // 600)]:
        got, problem = given(program, text, folder)
        if got is not None and "SecurityError" not in error:
            lenient += 1
            print(f"{text!r}\n  fails there: {error}\n  given {got!r}", flush=True)
    print(f"{len(good)} rendered, {differ} differ; {len(bad)} fail there, {lenient} of a sample do not here")


main()
