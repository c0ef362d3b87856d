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

# Whole templates: scopes, macros, white space, and what is no template at all.
TEMPLATES = [
# scopes
"{% set x = 1 %}{% for i in [1,2] %}{{ x }}{% set x = 2 %}{{ x }}{% endfor %}{{ x }}",
"{% for i in [1,2] %}{% if loop.first %}{% set a = 'q' %}{% endif %}{{ a }}{% endfor %}{{ a is defined }}",
"{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}{% set x = 2 %}{{ m() }}",
"{% set x = 0 %}{% macro m() %}{{ x }}{% set x = 5 %}{{ x }}{% endmacro %}{{ m() }}{{ x }}",
"{% for i in [7] %}{% macro m(a=i) %}{{ a }}{{ i }}{% endmacro %}{{ m() }}{% endfor %}{{ m is defined }}",
"{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}",
"{% if true %}{% macro m() %}in{% endmacro %}{% endif %}{{ m() }}",
"{% if false %}{% macro m() %}in{% endmacro %}{% endif %}{{ m is defined }}",
"{% set loop = 'L' %}{% for i in [1] %}{{ loop.index }}{% endfor %}{{ loop }}",
"{% for loop in [1,2] %}{{ loop }}{% endfor %}",
"{% for x in l %}{% for y in l if y != x %}{{ loop.index }}:{{ y }} {% endfor %}|{% endfor %}",
"{% for x in l if loop.index > 1 %}{{ x }}{% endfor %}",
"{% for x in l if x in ls or x > 1 %}{{ x }}{{ loop.length }}{% else %}none{% endfor %}",
"{% for a, (b, c) in [[1,[2,3]],[4,[5,6]]] %}{{ a }}{{ b }}{{ c }};{% endfor %}",
"{% for a, b in [[1,2,3]] %}{{ a }}{% endfor %}", "{% for a, b in ['xy','zw'] %}{{ b }}{{ a }}{% endfor %}",
"{% for (a, b) in d.items() %}{{ loop.index }}{{ a }}{% endfor %}",
"{% for k in d %}{{ k }}={{ d[k] }},{% endfor %}{% for v in d.values() %}{{ v }}{% endfor %}{% for k in d.keys()|sort %}{{ k }}{% endfor %}",
"{% for i in range(2) %}{% for j in range(2) %}{% if j %}{% continue %}{% endif %}{{ i }}{{ j }}{% endfor %}{% break %}{% endfor %}",
"{% for x in l %}{% if loop.last %}{% break %}{% endif %}{{ x }},{% else %}E{% endfor %}",
"{% for m in people %}{% set name = m.name %}{% if loop.previtem is defined and loop.previtem.age > m.age %}<{% endif %}{{ name }}{% if not loop.last and loop.nextitem.age != m.age %}|{% endif %}{% endfor %}",
"{% for m in people %}{% set outer = loop %}{% for k, v in m.items() %}{{ outer.index0 }}.{{ loop.index0 }}{{ k }} {% endfor %}{% endfor %}",
"{% for x in [1,2,3] recursive %}{{ x }}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}",
"{% for n in [{'n':'a','c':[{'n':'b','c':[]},{'n':'c','c':[{'n':'d','c':[]}]}]}] recursive %}<{{ n.n }}{{ loop.depth }}{% if n.c %}{{ loop(n.c) }}{% endif %}>{% endfor %}",
"{% set ns = namespace(found=false, items=[], d={}) %}{% for x in l %}{% if x == 1 %}{% set ns.found = true %}{% endif %}{% set ns.items = ns.items + [x] %}{% endfor %}{{ ns.found }}{{ ns.items }}{{ ns.d }}",
"{% set ns = namespace(a=1, b='x') %}{% set ns.c = ns.a + 1 %}{{ ns.c }}{{ ns['b'] }}{{ ns.zz is defined }}{{ ns.zz }}", "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}", "{{ namespace(a=1) }}", "{{ namespace(a=1)['a'] }}{{ 'a' in namespace(a=1) }}",
"{% set ns.x = 1 %}", "{% set d.x = 1 %}", "{% set a = b = 1 %}", "{% set a, b = 1 %}", "{% set a, b = 'xy' %}{{ a }}{{ b }}", "{% set (a, b), c = [1, 2], 3 %}{{ a }}{{ b }}{{ c }}", "{% set a, = [1] %}{{ a }}", "{% set x = 1, %}{{ x }}", "{% set x = 1, 2 %}{{ x }}",
"{% set x %}{% endset %}[{{ x }}]{{ x == '' }}", "{% set x %}\n  a\n{% endset %}[{{ x }}]", "{% set x | trim | upper %}  a b {% endset %}[{{ x }}]", "{% set x | replace('a', 'b') %}banana{% endset %}{{ x }}", "{% set x %}{% set y = 5 %}{{ y }}{% endset %}{{ x }}{{ y is defined }}",
# macros
"{% macro m(a, b=2, *c) %}{% endmacro %}", "{% macro m(a, a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}", "{% macro m(a=1) %}{{ a }}{% endmacro %}{{ m(none) }}{{ m(undefined_thing) }}{{ m() }}",
"{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(3) }}{{ m(3, 4) }}{{ m(b=4, a=3) }}", "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}{{ m(none) }}", "{% macro m(**kw) %}{% endmacro %}", "{% macro m() %}{{ kwargs }}{{ varargs }}{% endmacro %}{{ m(1, 2, x=3) }}{{ m(*[1,2], **{'k': 1}) }}",
"{% macro m() %}a{{ caller() if caller else 'none' }}{% endmacro %}{{ m() }}{% call m() %}C{% endcall %}", "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}", "{% macro m(x) %}{{ caller(x, 2) }}{% endmacro %}{% call(a, b=9) m(1) %}{{ a }}-{{ b }}{% endcall %}",
"{% macro m() %}{{ caller(1) }}{% endmacro %}{% call m() %}{% endcall %}", "{% macro m(t) %}<{{ t }}>{% endmacro %}{{ m('x')|upper }}{{ m('y') ~ m('z') }}{{ m('w') + '!' }}{{ m('q')|length }}{{ m is callable }}", "{% macro f(n) %}{{ n }}{% if n > 0 %},{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
"{% macro m(x) -%}  {{ x }}  {%- endmacro %}[{{ m(1) }}]", "{% macro m(x) %}\n{{ x }}\n{% endmacro %}[{{ m(1) }}]", "{{ m(1) }}{% macro m(x) %}{{ x }}{% endmacro %}", "{% macro m(l) %}{% for x in l %}{% if x is iterable and x is not string %}[{{ m(x) }}]{% else %}{{ x }}{% endif %}{% endfor %}{% endmacro %}{{ m(ll) }}",
"{% macro m() %}{% set ns = namespace(v='') %}{% for x in ls %}{% set ns.v = ns.v + x %}{% endfor %}{{ ns.v }}{% endmacro %}{{ m() }}{{ m() }}", "{% macro out(v) %}{{ v }}{% endmacro %}{% set r = out({'a': [1, none]}) %}{{ r }}{{ r is string }}", "{% macro m(a='x', b) %}{% endmacro %}", "{{ caller }}", "{% call 1 %}{% endcall %}",
# white space
"a\n{%- if true -%}\n b \n{%- endif -%}\n c", "a  {%- if true %}\n b{% endif %}", "{% if true %}\n\n\nb{% endif %}\n\n", "  {{ 1 }}  \n  {% if true %} x {% endif %}  \n y", "{{ 1 }}\n{# c #}\n{{ 2 }}", "  {#- c -#}  x", "a{# c\n d #}\nb", "\t{% set x = 1 %}\t\n\tq", "x{%+ if true %} y{%+ endif %} z", "   {%+ if true %}y{% endif %}", "{% if true -%}\n\n  y  \n\n{%- endif %}z", "{{- 1 -}}", " {{- 1 -}} {{- 2 -}} ", "{{ '  x  ' -}}   y", "a\r\n{% if true %}\r\nb\r\n{% endif %}\r\nc\r\n", "a\rb\r{% if true %}\rc{% endif %}", "{% raw %}\n {{ x }} {% endraw %}\n y", "{%- raw -%} {{ x }} {%- endraw -%} y", "a {% raw %}{% if %}{# x #}{% endraw %} b", "{% set x = 1 %}\n\n{% set y = 2 %}\n{{ x }}{{ y }}\n", "\n\n{{ 1 }}\n\n\n", "{% for x in [1,2] -%}\n  {{ x }}\n{%- endfor %}\nend\n", "{% for x in [1,2] %}{{ x }}\n{% endfor %}", "a\n  {%- set x = 1 %}\n  {%- set y = 2 %}\n{{- x }}\n{{ y -}}\n b", "{%   if   true   %}x{%   endif   %}", "{%-if true-%}x{%-endif-%}", "{{1}}{{'a'}}{{\"b\"}}", "{% if true %}{# c #}{% endif %}x", "{{ 1 }}{##}{{ 2 }}", "{{ '{{' }}{{ '}}' }}{{ '{%' }}", "a{% if true %}\n{% endif %}b", "{% if true %}  \n  x{% endif %}", "{% if true %}\t\nx{% endif %}",
# expressions
"{{ [1, 2, 3][-1] }}{{ [1,2,3][1:][0] }}{{ 'abc'[1] }}{{ 'abc'[-1:] }}{{ 'abc'[::-1] }}", "{{ (1, 2)[0] }}{{ {'a': {'b': [1, {'c': 'x'}]}}.a.b[1].c }}", "{{ d['zz'] is defined }}{{ d.zz is defined }}{{ d.zz }}{{ d['zz']|default('q') }}{{ d.zz.y is defined }}", "{{ d.get('b') }}{{ d.get('zz') }}{{ d.get('zz', 'q') }}{{ d.get('zz', default='q') }}", "{{ d.items()|list }}{{ d.items()|length }}{{ d.keys() }}{{ d.values() }}{{ d.items() }}", "{{ dd.items }}{{ dd['items'] }}{{ dd.items() }}", "{{ people[0].city.n }}{{ people[2].city }}{{ people[2].city is defined }}{{ people[9] }}{{ people[9] is defined }}",
"{{ 1 if true else 2 if false else 3 }}{{ (1 if false) }}{{ (1 if false) is defined }}", "{{ true and false or true }}{{ not true or true }}{{ not (true or true) }}{{ 1 and 2 }}{{ 0 or '' or 'x' }}{{ none or 'd' }}", "{{ 1 in [1] and 2 not in [1] }}{{ 'a' in d }}{{ 'b' in d.values() }}{{ not 'b' in d }}", "{{ 1 < 2 == true }}{{ 1 < 2 and 2 < 3 }}{{ 3 > 2 > 1 }}{{ 1 == 1.0 == true }}", "{{ 'a' < 'b' }}{{ [1,2] < [1,3] }}{{ (1,) == [1] }}", "{{ 5 // 2 }}{{ 5 % 3 }}{{ -5 // 2 }}{{ 5 / 2 }}{{ 4 / 2 }}{{ 2 ** 3 ** 2 }}{{ -2 ** 2 }}", "{{ 'x' * 3 }}{{ [1] * 2 + [3] }}{{ 'a' ~ 1 ~ none ~ [1] }}", "{{ '%s' % 'a' }}{{ '%s %s' % ('a', 1) }}{{ '%(a)s' % {'a': 1} }}{{ '%d%%' % 5 }}{{ '%05d|%-5s|%5s|%.2f|%r' % (3, 'a', 'b', 1.234, 'c') }}", "{{ '{} {}'.format(1, 'a') }}{{ '{0}{1}{0}'.format('a', 'b') }}{{ '{a}'.format(a=1) }}{{ '{:.2f}'.format(1.5) }}{{ '{:>5}|{:<5}|{:^5}|'.format('a','b','c') }}{{ '{:,}'.format(1234567) }}{{ '{!r}'.format('a') }}{{ '{{}}'.format() }}{{ '{0[a]}{1.b}'.format({'a': 1}, 2) }}",
"{{ 'a,b,,c'.split(',') }}{{ ' a  b '.split() }}{{ 'a b c'.split(' ', 1) }}{{ 'abc'.split('') }}", "{{ 'a\\nb\\r\\nc'.splitlines() }}{{ 'a-b'.partition('-') }}{{ 'x'.join(['a','b']) }}{{ 'abc'.find('c') }}{{ 'abc'.index('z') }}", "{{ 'Hello'.startswith('He') and 'Hello'.endswith(('x','o')) }}{{ 'Hello'.removeprefix('He') }}{{ 'abcabc'.replace('a','x',1) }}{{ 'abcabc'.count('a') }}{{ 'a'.isalpha() }}{{ '١'.isdigit() }}", "{{ '  x '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ '\\n\\nx'.lstrip('\\n') }}|{{ 'x\\n'.rstrip() }}|{{ none.strip() }}", "{{ 'a' 'b' }}{{ 'it\\'s' }}{{ \"q\\\"q\" }}{{ 'a\\\\b' }}{{ '\\u00e9\\n\\t' }}{{ '\\x41\\101' }}{{ '\\N{BULLET}' }}", "{{ 1_000 }}{{ 0xff }}{{ 1e3 }}{{ 1.5 }}{{ .5 }}", "{{ 5. }}", "{{ 1.e3 }}", "{{ [] or {} or () or none }}{{ [] is sameas [] }}{{ {} == {} }}", "{{ l is iterable and l is not mapping and l is not string }}{{ l is sequence }}{{ d is sequence }}{{ 1 is number and 1.0 is float and 1 is integer and true is boolean and true is number and true is integer }}",
"{{ x is not defined }}{{ none is none }}{{ none is defined }}{{ x is none }}{{ x is undefined }}", "{{ 3 is odd and 4 is even and 9 is divisibleby 3 }}{{ 1 is eq 1 }}{{ 1 is in [1] }}{{ 'a' is in 'abc' }}{{ 1 is sameas 1 }}{{ true is sameas true }}{{ 1 is sameas true }}", "{{ not x is defined }}{{ x is defined or 1 }}{{ 1 is defined and x is not defined }}", "{{ x|default('d') }}{{ none|default('d') }}{{ none|default('d', true) }}{{ ''|d('e', boolean=true) }}{{ x.y|default('z') }}", "{{ x }}{{ x ~ 'a' }}{{ x|length }}{{ x|list }}{{ x|join }}{{ x == none }}{{ x is false }}{{ x|string }}{{ x|trim }}{{ [x] }}{{ x or 1 }}", "{{ x + 'a' }}", "{{ x.y }}", "{{ x['y'] }}", "{{ x() }}", "{{ -x }}", "{{ x|upper }}{{ x|first }}{{ x|tojson }}", "{% for i in x %}{% else %}E{% endfor %}", "{{ 'a' in x }}", "{{ x > 1 }}", "{{ none > 1 }}", "{{ none + 'a' }}", "{{ none|length }}", "{{ none|list }}", "{{ none[0] }}{{ none.a }}", "{{ 'a' + 1 }}", "{{ 1 + 'a' }}", "{{ [1] + (2,) }}", "{{ {} + {} }}", "{{ 1 // 0 }}", "{{ 1 % 0 }}", "{{ 1 / 0 }}", "{{ 2 ** -1 }}", "{{ 10 ** 30 }}", "{{ 'a' * -1 }}", "{{ [1,2] == [1,2] }}{{ {'a':1} == {'a':1} }}{{ 'a' != 'b' }}{{ 1 != '1' }}",
# filters
"{{ people|map(attribute='name')|join(', ') }}{{ people|map(attribute='city.n', default='-')|list }}{{ people|map('length')|list }}{{ ls|map('upper')|join }}{{ ls|map('replace', 'a', 'z')|list }}{{ l|map('string')|list }}{{ ['1','2']|map('int')|sum }}", "{{ people|selectattr('city')|map(attribute='name')|list }}{{ people|selectattr('age', 'equalto', 30)|list|length }}{{ people|rejectattr('age', 'gt', 26)|map(attribute='name')|list }}{{ people|selectattr('city', 'defined')|list|length }}{{ people|selectattr('name', 'in', ['Bob'])|list|length }}{{ people|selectattr('city', 'none')|list }}{{ people|rejectattr('city', 'undefined')|list|length }}{{ people|selectattr('city.n', 'eq', 'Oslo')|list|length }}",
"{{ people|selectattr('age', 'nosuch')|list }}", "{{ l|select('gt', 1)|list }}{{ l|reject('odd')|list }}{{ mixed|select('string')|list }}{{ mixed|select('none')|list }}{{ mixed|reject('mapping')|list|length }}{{ mixed|select|list }}", "{{ l|sort }}{{ l|sort(reverse=true) }}{{ ls|sort }}{{ ls|sort(case_sensitive=true) }}{{ people|sort(attribute='age')|map(attribute='name')|list }}{{ people|sort(attribute='age,name')|map(attribute='name')|list }}{{ people|sort(attribute='age', reverse=true)|map(attribute='name')|list }}{{ d|sort }}", "{{ people|groupby('age') }}", "{% for age, group in people|groupby('age') %}{{ age }}:{{ group|map(attribute='name')|join(',') }};{% endfor %}{% for g in people|groupby('age') %}{{ g.grouper }}{{ g.list|length }}{% endfor %}", "{{ [1,1,2,'a','A']|unique|list }}{{ l|min }}{{ l|max }}{{ l|sum }}{{ l|first }}{{ l|last }}{{ l|reverse|list }}{{ l|length }}{{ l|count }}{{ people|max(attribute='age') }}{{ people|sum(attribute='age') }}{{ []|first }}{{ []|max }}", "{{ [1,2,3,4,5]|batch(2)|list }}{{ [1,2,3,4,5]|batch(2, 0)|list }}{{ [1,2,3,4,5]|slice(2)|list }}{{ [1,2,3,4,5]|slice(3, 'x')|list }}", "{{ d|dictsort }}{{ d|items|list }}{{ d|list }}{{ d|length }}{{ d|first }}{{ 'abc'|list }}{{ 'abc'|first }}{{ 'abc'|last }}{{ 'abc'|reverse }}{{ range(3)|list }}{{ range(1,10,3)|list }}{{ range(3)|length }}{{ range(3)|last }}", "{{ 'a\\nb\\n\\nc'|indent }}|{{ 'a\\nb'|indent(2, true) }}|{{ 'a\\n\\nb'|indent(2, blank=true) }}|{{ 'a\\nb'|indent(width=1, first=true) }}|{{ 'a\\nb'|indent('--') }}|{{ 'a\\n'|indent }}|", "{{ 'hello world'|title }}{{ 'hello'|capitalize }}{{ 'A'|lower }}{{ 'a'|upper }}{{ ' a '|trim }}{{ 'xax'|trim('x') }}{{ 'a b'|replace(' ', '_') }}{{ 'aaa'|replace('a', 'b', 2) }}{{ 'a b c'|wordcount }}{{ 'hello world foo'|truncate(9) }}{{ 'hello world foo'|truncate(9, true, '..', 0) }}", "{{ '3'|int }}{{ '3.7'|int }}{{ 'x'|int }}{{ 'x'|int(9) }}{{ '0x1f'|int(base=16) }}{{ '0x1f'|int(0, 16) }}{{ none|int }}{{ true|int }}{{ 3.9|int }}{{ -3.9|int }}{{ '1e3'|int }}{{ '2.5'|float }}{{ 'x'|float(1.5) }}{{ 2|float }}{{ 2.5|round }}{{ 3.14159|round(2) }}{{ 2.1|round(method='ceil') }}{{ 7|round(-1) }}{{ -3|abs }}{{ 2.5|round|int }}", "{{ 1|string }}{{ [1]|string }}{{ none|string }}{{ 1.0|string }}{{ true|string|lower }}{{ 'a'|string }}", "{{ '<a>'|e }}{{ '<a>'|escape }}{{ '<a>'|safe }}{{ '<a>'|forceescape }}{{ ('<a>'|safe) ~ '<b>' }}{{ ('<a>'|safe) + '<b>' }}{{ '<b>' + ('<a>'|safe) }}{{ '<p>a  b</p>'|striptags }}{{ 'a&b c/d'|urlencode }}{{ {'a': 'b c'}|urlencode }}{{ {'a': 1, 'b': none}|xmlattr }}", "{{ d|tojson }}{{ people|tojson }}{{ none|tojson }}{{ true|tojson }}{{ 1.0|tojson }}{{ 'é<>&\\''|tojson }}{{ 'é'|tojson(ensure_ascii=true) }}{{ [1, [2, {}], []]|tojson(indent=2) }}{{ d|tojson(separators=(',', ':')) }}{{ d|tojson(sort_keys=true) }}{{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }}{{ (1, 2)|tojson }}{{ range(2)|list|tojson }}", "{{ d.items()|tojson }}", "{{ range(2)|tojson }}", "{{ {(1, 2): 3}|tojson }}", "{{ x|tojson }}", "{{ ls|map('tojson')|join }}", "{{ [x]|tojson }}", "{{ l|map|list }}", "{{ l|map(attribute='a')|list }}", "{{ 'a'|nosuch }}", "{{ 'a'|nosuch if false }}", "{% if false %}{{ 'a'|nosuch }}{% endif %}ok", "{{ 'a' is nosuch }}", "{% for x in [] %}{{ x|nosuch }}{% endfor %}ok", "{% macro m() %}{{ 1|nosuch }}{% endmacro %}ok", "{{ l|join(', ') }}{{ l|join }}{{ people|join('|', attribute='name') }}{{ 'abc'|join('-') }}{{ d|join(',') }}", "{{ l|random in l }}", "{{ 'x'|center(5) }}|{{ 'a long line of words here'|wordwrap(10) }}|{{ 'abcdefghij'|wordwrap(4) }}|{{ 'well-known state-of-the-art'|wordwrap(8) }}|{{ 'a  b\\n\\nc d'|wordwrap(3) }}|{{ 'abcdefgh'|wordwrap(3, false) }}|{{ 'one two'|wordwrap(3, wrapstring='/') }}|{{ 'a--b c-d e--f'|wordwrap(2) }}|{{ 'x-yz abc-def-ghi'|wordwrap(5, break_on_hyphens=false) }}", "{{ d|pprint }}{{ people|pprint }}{{ ('word ' * 30)|pprint }}{{ [('word ' * 30)]|pprint }}{{ {'k': 'word ' * 30, 'a': ['x' * 30, 'y' * 40, (1,)], 2: 3}|pprint }}{{ ('line one\\nline two\\n' * 4)|pprint }}{{ (('tuple ' * 9, 'b' * 30),)|pprint }}{{ ('x' * 100)|pprint }}{{ ''|pprint }}{{ none|pprint }}",
"{{ 'see http://example.com/a(b), or (www.example.org). mail me@example.com, x@y <https://a.b/c?d=e&f> example.net foo.bar mailto:a@b.co http://1.2.3.4:80/x http://localhost ftp://a.com'|urlize }}|{{ 'http://example.com/long/path'|urlize(10, true, target='_blank', rel='x') }}", "{{ '12.5'|filesizeformat }}{{ 1000000|filesizeformat }}{{ 1048576|filesizeformat(true) }}{{ 'x'|filesizeformat }}", "{{ 1e100|int }}",
# text that models' templates do
"{{ messages }}", "{%- for message in people -%}\n{{- '<|' ~ message.name ~ '|>\\n' -}}\n{%- if message['city'] is defined -%}{{- message['city']['n'] | trim + '\\n' -}}{%- else -%}{{ '' }}{%- endif -%}\n{%- endfor -%}", "{{ raise_exception('no') }}", "{{ raise_exception('Only ' ~ 1 ~ ' \"é\" ' ~ [1]) }}", "{{ raise_exception() }}", "{{ raise_exception(none) }}", "{% if not (l[0] == 3) == false %}x{% endif %}", "{{ (people|selectattr('name','equalto','Bob')|first).age }}", "{{ (people|list)[-1]['name'] }}", "{{ people[1:]|map(attribute='name')|list }}", "{{ people|length - 1 }}", "{% if people|length > 1 and people[0]['name'] == 'Bob' %}yes{% endif %}", "{% set people = people[1:] %}{{ people|length }}", "{% for m in people[::-1] %}{{ m.name }}{% endfor %}", "{% set last = people|last %}{{ last.name }}{% set idx = people|length - 1 %}{{ people[idx].name }}", "{{ s.split('llo')[0] }}{{ s.split(',')|last|trim }}{{ (s.split(',')|first) }}{{ s.split(',')[-1].lstrip() }}", "{% if 'World' in s and 'x' not in s %}{{ s.replace('World', '').rstrip(', ') }}{% endif %}", "{{ strftime_now('%Y-%m-%d') }}|{{ strftime_now('%d %B %Y, %H:%M') }}|{{ strftime_now() }}", "{{ strftime_now('%Z%z%s') is string }}", "{% set date = strftime_now('%b') if strftime_now is defined else 'x' %}{{ date }}", "{{ dict(a=1, **{'b': 2}) }}{{ dict([['a', 1]]) }}{{ dict(d, z=1) }}{{ dict() }}", "{{ range(3) }}{{ range(0) is iterable }}{{ 2 in range(3) }}{{ range(3)[1] }}{{ range(5)[1:3]|list }}", "{{ range(1000000)|list|length }}", "{{ range(100001) }}", "{% for i in range(3, 0, -1) %}{{ i }}{% endfor %}", "{{ cycler('a', 'b').current }}{% set c = cycler('a','b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.reset() }}{{ c.current }}", "{% set j = joiner() %}{{ j() }}{{ j() }}{% set k = joiner('|') %}{{ k() }}{{ k() }}", "{{ lipsum(n=1)|length > 10 }}", "{{ l.append(4) }}{{ l }}", "{% set x = l.append(4) %}{{ l }}", "{% set m = [] %}{% set _ = m.append(1) %}{{ m }}", "{{ d.update({'q': 1}) }}", "{{ s.__class__ }}", "{{ s['__class__'] }}", "{{ s|attr('upper') }}", "{{ (s|attr('upper'))() }}", "{{ d|attr('b') }}{{ ''|attr('__class__') }}", "{% include 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}", "{% extends 'x' %}", "{% if false %}{% include 'x' %}{% endif %}ok", "{% include 'x' ignore missing %}ok", "{% block a %}x{% endblock %}", "{% block a %}x{% endblock a %}{{ self.a() }}", "{% do 1 %}", "{% debug %}", "{% trans %}x{% endtrans %}", "{% autoescape true %}{{ '<' }}{{ '<'|safe }}{% endautoescape %}{{ '<' }}", "{% filter upper %}a{% filter replace('A','b') %}a{% endfilter %}{% endfilter %}", "{% filter indent(2)|trim %}\n a\n b{% endfilter %}", "{% with %}{% set x = 1 %}{{ x }}{% endwith %}{{ x }}", "{% with a = 1, b = a %}{{ a }}{{ b }}{% endwith %}", "{% with a, b = 1, 2 %}{% endwith %}", "{% print 1 %}", "{% print 1, 2 %}", "{% for %}{% endfor %}", "{% if %}{% endif %}", "{% else %}", "{% endif %}", "{% if 1 %}", "{% if 1 %}{% else %}{% elif 2 %}{% endif %}", "{% for x in l %}{% endif %}", "{{ 1", "{{ }}", "{% %}", "{{ 'a }}", "{# x", "{% raw %}", "{{ 1 2 }}", "{{ a.1.b }}", "{{ a..b }}", "{{ [1, }}", "{{ {1} }}", "{{ {'a' 1} }}", "{{ f(a=1, 2) }}", "{{ 1 if }}", "{{ not }}", "{{ x is }}", "{{ x| }}", "{{ 'a'.b. }}", "{% set = 1 %}", "{% set 1 = 1 %}", "{% set none = 1 %}", "{% set true = 1 %}", "{% for true in l %}{% endfor %}", "{% macro %}{% endmacro %}", "{% macro m %}{% endmacro %}", "{% break %}", "{% continue %}", "{% for x in l %}{% endfor x %}", "{% endmacro m %}", "{% macro m() %}{% endmacro m %}", "{{ @ }}", "{{ a ! b }}", "{{ a ? b : c }}", "{{ a && b }}", "{{ a || b }}", "{{ !a }}", "{{ a = 1 }}", "{{ $a }}", "{{ `a` }}", "{{ a; b }}", "{{ lambda: 1 }}", "{{ [x for x in l] }}", "{{ f'a' }}", "{{ 0777 }}", "{{ 1__0 }}", "{{ 1.2.3 }}", "{{ 'a'b }}", "{{ ' \n ' }}", "{{ \"a\nb\" }}", "{{ 'a' -}}  \n{{ 'b' }}", "{{ l[0], l[1] }}", "{{ (l[0], ) }}", "{{ l[0:2, 1] }}", "{{ l[] }}", "{{ l[1:2:3:4] }}", "{{ l[:] }}{{ l[::] }}{{ l[none:none] }}{{ l['a'] }}{{ l['a':] }}", "{{ {'a': 1, 'a': 2} }}", "{{ [*l] }}", "{{ {**d} }}", "{{ m(*l) }}", "{{ dict(**d)['b'] }}", "{{ s.upper().lower().title() }}", "{{ (1, 2, 3)|sum }}{{ ('a', 'b')|join }}", "{{ 'a' if 'b' else 'c' ~ 'd' }}", "{{ 'a' ~ 'b' if true else 'c' }}", "{{ 1 + 2 ~ 3 }}", "{{ 1 ~ 2 * 3 }}", "{{ -1|abs }}{{ (-1)|abs }}{{ - 1 }}{{ --1 }}{{ +-1 }}", "{{ not 1 == 2 }}{{ not not 1 }}", "{{ 1 is not none and 2 }}", "{{ s is string is true }}", "{{ l|length is gt 2 }}{{ l|length is eq 3 }}", "{{ 2 is divisibleby 2 and 1 }}", "{{ s is defined if 1 else 2 }}", "{{ l == [3, 1, 2] }}{{ l != l }}", "{{ 'é'|length }}{{ '👩‍👩‍👧'|length }}{{ '👩‍👩‍👧'[0] }}{{ 'ß'|upper }}{{ 'ǅ'|title }}{{ 'İ'|lower|length }}",
"{{ loop }}", "{{ loop.index }}", "{{ self }}", "{{ varargs }}", "{{ context }}", "{{ _ }}", "{{ range }}", "{{ dict }}", "{{ namespace }}", "{% set range = 5 %}{{ range }}", "{{ true.real }}{{ 1.5.is_integer() }}", "{{ 1 .real }}", "{{ 'a'.upper }}", "{{ [].append }}",
]


def expressions(seed):
    names = list(INPUT)
    yield from TEMPLATES
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
