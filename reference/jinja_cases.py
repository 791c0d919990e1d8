"""Renders small templates with Jinja2, set up as transformers sets it up, and records texts and refusals.

    python reference/jinja_cases.py > test/golden/jinja.json
"""

import json

from transformers.utils.chat_template_utils import _compile_jinja_template

DATA = {
    "s": "  Hello, World!  ",
    "t": "one two  three\nfour",
    "u": "naïve 🌟 ΟΔΟΣ straße",
    "q": "it's \"quoted\"",
    "n": 7,
    "m": -3,
    "f": 2.5,
    "z": 0,
    "yes": True,
    "no": False,
    "nil": None,
    "l": [3, 1, 2],
    "w": ["b", "A", "c", "a"],
    "e": [],
    "d": {"b": 1, "a": {"x": [1, 2.5, "ü", None, True]}, "C": "see"},
    "rows": [{"name": "Ann", "age": 31, "tag": {"k": "x"}}, {"name": "bob", "age": 27, "tag": {"k": "y"}}, {"name": "Cy", "age": 31, "tag": {"k": "x"}}],
    "items": {"items": "shadowed", "get": "also"},
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo", "extra": None}],
}

EXPRESSIONS = """
s | s.strip() | s.lstrip() | s.rstrip() | s.strip(' !') | s.lstrip(' H') | s.rstrip('! ') | s|trim | s|trim(' !')
t.split() | t.split(' ') | t.split(None, 1) | t.rsplit(' ', 1) | t.rsplit(None, 2) | t.split('x') | t.splitlines() | t.splitlines(true) | 'a,b,,c'.split(',') | 'a,b,,c'.split(',', 2)
u.upper() | u.lower() | u.title() | u.capitalize() | u[0] | u[6] | u[5:9] | u[::-1] | u[-3:] | u|length | u[::2] | u[100:] | u[-100:3] | u[2:1]
t.replace(' ', '_') | t.replace(' ', '_', 1) | t.replace('', '-') | t.find('t') | t.find('zz') | t.index('t') | t.index('zz') | t.count('e') | t.rfind('o') | 'aXbX'.rindex('X')
s.startswith(' ') | s.startswith(('x', ' ')) | s.endswith('! ') | s.endswith(('!', '?')) | 'abc'.startswith('b', 1) | 'abc'.startswith('')
'abc'.isalpha() | 'ab1'.isalnum() | '12'.isdigit() | '½'.isnumeric() | '½'.isdigit() | ' \\t'.isspace() | ''.isspace() | 'Ab'.isupper() | 'AB1'.isupper() | 'ab'.islower() | 'Ab Cd'.istitle()
'x'.join(w) | ', '.join(['a']) | ''.join([]) | ''.join([1]) | '-'.join('abc') | '7'.zfill(3) | '-7'.zfill(4) | 'ab'.ljust(5, '.') | 'ab'.rjust(5) | 'ab'.center(5, '*') | 'ab'.center(6, '*') | 'abc'.center(6) | 'x'.ljust(0)
'a-b-c'.partition('-') | 'a-b-c'.rpartition('-') | 'abc'.partition('-') | 'prefix.x'.removeprefix('prefix.') | 'x.suffix'.removesuffix('.suffix') | 'aBc'.swapcase() | 'Straße'.casefold() | 'a\\tb'.expandtabs(4)
'{} and {}'.format(1, 'x') | '{0}{1}{0}'.format('a', 'b') | '{name:>6}|{x:<4}|{y:^5}'.format(name='n', x=1, y='z') | '{:.2f}'.format(3.14159) | '{:05d}'.format(42) | '{!r}'.format('q') | '{{}}'.format() | '{:,}'.format(1234567) | '{:x}'.format(255) | '{:+d}'.format(3) | '{:e}'.format(12345.678) | '{:g}'.format(0.00001) | '{:%}'.format(0.25) | '{a[k]}'.format(a={'k': 'v'})
'%s is %d' % ('x', 3) | '%.2f' % 2.345 | '%5s|%-5s|' % ('a', 'b') | '%05.1f' % 3.14159 | '%%' % () | '%(a)s' % {'a': 1} | '%x' % 255 | '%r' % 'q' | '%s' % nil | '%s' % l | '%d' % 'x' | '%d' % 1e22 | '%s' % () | 'a' % 'b'
'%s-%s'|format(1, 'b') | '%(x)s'|format(x=2)
yes | no | nil | n | f | 1.0 | 1e20 | 1e15 | 1e16 | 1.5e-5 | 0.0001 | 12345678.9 | 100000000000000000.0 | 3.0 * 2 | 10 / 2 | 7 // 2 | -7 // 2 | 7 % 3 | -7 % 3 | 7 % -3 | 2 ** 10 | 2 ** -1 | 2 ** 3 ** 2 | -2 ** 2 | 7.5 // 2 | 7.5 % 2 | 1 + true | 0.1 + 0.2 | 5 / 0 | 5 // 0 | 5 % 0 | 1 - 1.0
n + m | n - m * 2 | (n - m) * 2 | +n | -n | --n | -f | not n | not nil | n and m | z or m | z and m | nil or 'x' | 'a' ~ 1 ~ nil ~ 2.0 ~ [1] | 'a' + 'b' | 'a' + 1 | 1 + 'a' | 'ab' * 3 | 3 * 'ab' | 'a' * -1 | l + [4] | l * 2 | l + 'x' | (1,) + (2,) | nil + 1 | undefined_thing + 1
1 == 1.0 | true == 1 | 'a' == 'a' | 'a' != 'b' | l == [3, 1, 2] | l == (3, 1, 2) | (1, 2) == (1, 2) | d == d | 1 < 2 < 3 | 1 < 3 < 2 | 'a' < 'b' | 'B' < 'a' | [1, 2] < [1, 3] | 1 < 'a' | nil < 1 | nil == none | undefined_thing == nil | undefined_thing == undefined_other
'a' in 'cat' | 'x' in 'cat' | 3 in l | 9 not in l | 'b' in d | 'zz' in d | 1 in 'cat' | 'a' in nil | 'a' in undefined_thing | 'a' in [] | true in [1] | 'Hi' in messages[0]['content']
l[0] | l[-1] | l[5] | l[1:] | l[:-1] | l[::-1] | l[::2] | l[0:0] | (1, 2, 3)[1] | l.0 | d.b | d['b'] | d.a.x[2] | d['a']['x'] | d.zz | d.zz.y | d['zz'] | d.items() | d.keys()|list | d.values()|list | items.items() | items['items'] | items.get('get') | d.get('b') | d.get('zz') | d.get('zz', 5) | n.foo | nil.foo | l.foo
d | l | e | w | q | [q, 'x\\n\\t\\\\'] | {'a': 1, 'b': [true, none, 1.5]} | (1,) | (1, 2) | () | [] | {} | [1, [2, (3,)]] | u|list | ['é', '\\x00', '\\u200b', '🌟']
l|length | e|length | d|length | n|length | undefined_thing|length | nil|length | l|first | l|last | e|first | e|last | s|first | u|last | l|sum | rows|sum(attribute='age') | l|sum(start=10) | l|max | l|min | w|max | w|min(case_sensitive=true) | rows|max(attribute='age') | e|max
l|sort | l|sort(reverse=true) | w|sort | w|sort(case_sensitive=true) | rows|sort(attribute='name') | rows|sort(attribute='age,name') | rows|map(attribute='name')|list | rows|map(attribute='tag.k')|join | rows|map(attribute='zz', default='-')|join | w|map('upper')|list | w|map('replace', 'a', 'z')|list | l|map('string')|join('+')
l|select('odd')|list | l|reject('odd')|list | l|select('gt', 1)|list | [0, 1, '', 'x', none]|select|list | rows|selectattr('age', 'equalto', 31)|map(attribute='name')|list | rows|rejectattr('age', 'gt', 30)|map(attribute='name')|list | rows|selectattr('tag')|list|length | rows|selectattr('zz')|list | rows|selectattr('zz', 'defined')|list | nil|selectattr('x')|list | l|select('zzz')|list
l|join | l|join(', ') | rows|join('; ', attribute='name') | 'abc'|join('-') | e|join(',') | undefined_thing|join(',') | l|reverse|list | 'abc'|reverse | l|unique|list | ['a', 'A', 'b']|unique|list | [1, 1.0, true]|unique|list | l|list | 'abc'|list | d|list
d|dictsort | d|dictsort(true) | {'a': 3, 'b': 1}|dictsort(by='value') | {'a': 3, 'b': 1}|dictsort(false, 'value', true) | d|items|list | undefined_thing|items|list | rows|groupby('age') | rows|groupby('tag.k')|map(attribute='0')|list | l|batch(2)|list | l|batch(2, 'x')|list | [1,2,3,4,5]|slice(2)|list | [1,2,3,4,5]|slice(3, 'x')|list
undefined_thing|default('x') | nil|default('x') | ''|default('x') | ''|default('x', true) | nil|d('x', true) | 0|default(5, boolean=true) | undefined_thing|d | undefined_thing | undefined_thing.foo | undefined_thing['x'] | undefined_thing() | undefined_thing|upper | undefined_thing|string | undefined_thing|list
s|upper | s|lower | s|capitalize | 'foo-bar (baz) it\\'s'|title | 'hello world'|capitalize | s|replace('l', 'L') | s|replace('l', 'L', 1) | 5|replace(5, 6) | s|wordcount | t|wordcount | t|indent | t|indent(2, true) | 'a\\n\\nb'|indent(2) | 'a\\n\\nb'|indent(2, blank=true) | 'a\\nb'|indent('> ') | 'a\\nb'|indent(width=1, first=true) | 'a very long sentence indeed'|truncate(12) | 'a very long sentence indeed'|truncate(12, true) | 'a very long sentence indeed'|truncate(12, true, '', 0) | 'short'|truncate(3) | 'ab'|center(6) | 'ab'|center(7)
n|string | f|string | nil|string | true|string | l|string | '5'|int | '5.9'|int | 'x'|int | 'x'|int(3) | '0x1f'|int(base=16) | 'ff'|int(0, 16) | 3.9|int | -3.9|int | true|int | nil|int | '2.5'|float | 'x'|float | 'x'|float(1.5) | 3|float | '1_000'|int | ' 7 '|int | '1e3'|float | 'inf'|float
2.5|round | 3.5|round | 2.675|round(2) | 1234.5|round(-2) | 7|round | 2.1|round(method='ceil') | 2.9|round(method='floor') | 42.55|round(1) | m|abs | -2.5|abs | 'x'|abs | 1.005|round(2)
d|tojson | l|tojson | s|tojson | u|tojson | u|tojson(ensure_ascii=true) | nil|tojson | true|tojson | 1.0|tojson | 1.5|tojson | '\\u2028<>&\\''|tojson | d|tojson(indent=2) | d|tojson(indent=4, sort_keys=true) | l|tojson(separators=(',', ':')) | e|tojson(indent=2) | {}|tojson(indent=2) | {'k': {}, 'l': []}|tojson(indent=2) | {1: 'a', none: 'b', true: 'c'}|tojson | (1, 2)|tojson | undefined_thing|tojson | messages|tojson | '\\x00\\x1f\\x7f\\x80'|tojson | 1e100|tojson
q|e | '<b>'|escape | '<b>&'|forceescape | '<b>'|safe | '<p>a <b>b</b>\\n c</p>'|striptags | 'a b/ü?&='|urlencode | {'a b': 'c&d'}|urlencode | d|attr('b') | l|pprint
'<i>'|safe + '<b>' | '<b>' + '<i>'|safe | '<b>'|e + '&' | '<b>'|e|e | '<b>'|safe|forceescape | '<b>'|safe is escaped | '<b>' is escaped | ''|safe + s + '<' | ''|safe ~ '<' | ('<'|safe) * 2 + '<' | ['<'|safe, '<']|join(',') + '<' | [''|safe]|first + '<' | '<a>'|safe|first + '<' | ('<a>'|safe)[1:] + '<' | ('<a>'|safe)[0] + '<' | ('<a>'|safe)[::-1] + '<'
'<%s>'|safe % '&' | '<%s>'|safe % ('&', ) | '<%d>'|safe % 3 | '<%s>'|safe|format('&') | ('<{}>'|safe).format('&') | ('<a>'|safe).upper() + '<' | ('<a>'|safe).strip('<') + '<' | ('<a b>'|safe).split()[0] + '<' | ('<'|safe).join(['&', '&'|safe]) | ('<a>'|safe).replace('a', '&') | '<a>'|safe|replace('a', '&') + '&' | '<a>'|safe|upper + '<' | '<a>'|safe|trim + '<' | '<a>'|safe|string + '<' | '<a>'|safe|title + '<' | '<a>'|safe|capitalize + '<' | '<a>'|safe|lower + '<' | '<a>'|safe|center(9) + '<' | '<a>'|safe|indent + '<' | '<a>'|safe|reverse + '<' | 'x y z w'|safe|truncate(3, false, '<', 0) + '<'
'<'|safe + 1 | 1 + '<'|safe | '<'|safe + nil | '<'|safe == '<' | '<'|safe in '<a>' | {'<': 1}['<'|safe] | ('<'|safe)|length | ''|safe|length | (''|safe) or 'empty' | '<'|safe|tojson + '<' | d|tojson + '<' | '<'|safe + d|tojson
n is odd | n is even | n is divisibleby 7 | n is divisibleby(2) | n is number | f is float | n is integer | true is integer | true is boolean | true is number | s is string | n is string | d is mapping | l is mapping | l is sequence | s is sequence | d is sequence | n is sequence | l is iterable | n is iterable | undefined_thing is defined | n is defined | undefined_thing is undefined | d.zz is defined | nil is none | n is none | n is not none | true is true | 1 is true | false is false | n is eq 7 | n is gt 3 | n is lt 3 | n is ge(7) | n is le 7 | n is ne 7 | n is equalto 7 | n is sameas 7 | 'ab' is lower | 'AB' is upper | 'Ab' is upper | n is in [7] | 'a' is in 'abc' | range is callable | n is callable | n is zzz | not n is odd | n is odd and f is float
range(3)|list | range(1, 4)|list | range(5, 0, -2)|list | range(0)|list | range(2.5) | range('x') | range(100001)|length | dict(a=1, b=2) | dict(d, z=3).z | namespace(a=1).a | namespace(a=1).zz | cycler('a', 'b').next() | cycler().next() | joiner('|')()
n if yes else m | n if no else m | n if no | (n if no) is defined | n if no else 'a' if no else 'b' | 'a' if l else 'b' | 'a' if e else 'b' | ('a' if n > 3 else 'b') ~ 'c'
d.append(1) | l.append(1) | l.pop() | d.update({}) | d.pop('a') | d.clear() | l.index(1) | l.index(9) | l.count(1) | d.copy().b | l.copy() | s.__class__ | s.__class__.__mro__ | d.__class__ | d['__class__'] | ''.__add__('x') | range.__globals__ | messages.__len__()
no == false | yes == false | z == false | 0.0 == false | '' == false | 'a' == false | nil == false | e == false | {} == false | () == false | undefined_thing == false | 1 == false | '0' == false | 'false' == false | 'False' == false | false == no | false == '' | false == nil | ''|safe == false | (''|trim) == false | s|trim == false | 'x'|replace('x', '') == false
no != false | yes != false | z != false | '' != false | nil != false | e != false | undefined_thing != false | 'a' != false | false != '' | false != z | not no == false | not (no == false) | (not no) == false | not '' == false | yes != no == false
no is eq false | '' is eq(false) | '' is equalto false | z is equalto false | nil is ne false | '' is ne(false) | '' is sameas false | no is sameas false | z is sameas false | no is false | z is false | '' is false | nil is false | no is boolean | no == False | '' == False | no == none | '' == none
false in [''] | false in [0] | false in [no] | '' in [false] | none in [false] | false in {0: 1} | false in {'': 1} | {false: 'x'}[0] | {false: 'x'}[''] | {0: 'a', false: 'b'} | [false] == [0] | [false] == [''] | (false,) == (0,) | {'a': false} == {'a': 0} | {'a': false} == {'a': ''} | [0, false, 0.0]|unique|list | ['', false]|unique|list | ['', false, 0].index(false) | ['', false, 0].count(false) | false < 1 | false <= '' | false + 1 | false ~ ''
messages|selectattr('content', 'equalto', false)|list|length | [{'k': ''}, {'k': false}, {'k': 0}]|selectattr('k', 'equalto', false)|list|length | [{'k': ''}, {'k': false}, {}]|selectattr('k', 'ne', false)|list|length | [{'k': ''}, {'k': false}, {}]|rejectattr('k', 'eq', false)|list|length | ['', false, 0, none]|select('eq', false)|list | ['', false, 0, none]|reject('eq', false)|list
"a" "b" 'c' | 'a\\'b' | "a\\"b" | 'a\\nb' | 'a\\x41\\u00e9\\t' | 'a\\qb' | 0x1f | 0b101 | 0o17 | 1_000 | 1.5e3 | .5 | 1.
(1, 2) | 1, 2 | 1, | [1, 2,] | {'a': 1,} | {'a': 1, 'a': 2} | {n: 1} | {l: 1} | (n) | ((n)) | d['b' ~ ''] | l[n - 7] | messages[-1].content | messages[0]['role'] ~ ':' ~ messages[0].content | messages[1].extra is none | messages[1].extra is defined | messages|length | messages|map(attribute='role')|unique|list | messages[::-1][0].role
raise_exception('no') | raise_exception() | s|zzz | zzz() | n() | n|join | s s | 1 2 | (1 | [1 | {'a' 1} | {'a': } | a.b. | |x | 1 + | is | not | s is | s| | 'unclosed
"""

STATEMENTS = [
    "{% for x in l %}{{ loop.index }}/{{ loop.length }}:{{ x }}{% if not loop.last %},{% endif %}{% endfor %}",
    "{% for x in l %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }} {% endfor %}",
    "{% for x in l %}[{{ loop.previtem }}|{{ x }}|{{ loop.nextitem }}]{% endfor %}",
    "{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is undefined }}{% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }}{% endfor %}",
    "{% for x in e %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}{{ x }}{% else %}none{% endfor %}",
    "{% for x in l if x > 10 %}{{ x }}{% else %}none{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}",
    "{% for c in 'añ🌟' %}{{ c }}-{% endfor %}",
    "{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %}",
    "{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}",
    "{% for x in nil %}{{ x }}{% endfor %}",
    "{% for x in n %}{{ x }}{% endfor %}",
    "{% for x in undefined_thing %}{{ x }}{% else %}empty{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}",
    "{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}<{{ loop(x) }}>{% else %}{{ x }}@{{ loop.depth }}{% endif %}{% endfor %}",
    "{% set x = 1 %}{% for y in l %}{% set x = y %}{% endfor %}{{ x }}",
    "{% set ns = namespace(x=1) %}{% for y in l %}{% set ns.x = ns.x + y %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace({'x': 1}) %}{{ ns.x }}",
    "{% set d.x = 1 %}{{ d.x }}",
    "{% set nsx.x = 1 %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a = 1, 2 %}{{ a }}",
    "{% set x %}block {{ n }}{% endset %}[{{ x }}]",
    "{% set x | upper | trim %} block {{ n }} {% endset %}[{{ x }}]",
    "{% if no == false %}a{% endif %}{% if '' == false %}b{% endif %}{% if nil == false %}c{% endif %}{% if z == false %}d{% endif %}",
    "{% if undefined_thing is defined and undefined_thing == false %}a{% elif undefined_thing != false %}b{% else %}c{% endif %}",
    "{% if no is defined and no is false %}<think>\n\n</think>{% endif %}{% if '' is defined and '' == false %}x{% endif %}",
    "{% for m in messages %}{% if m.extra == false %}a{% elif m.extra != false %}b{% endif %}{% if m.content|trim == false %}c{% endif %}{% endfor %}",
    "{% set seen = false %}{% for m in messages %}{% if seen == false and m.role == 'user' %}{{ m.content }}{% set seen = true %}{% endif %}{% endfor %}{{ seen == false }}",
    "{% set ns = namespace(seen=false, text='') %}{% for m in messages %}{% if ns.seen == false %}{% set ns.seen = true %}{% set ns.text = m.content %}{% endif %}{% endfor %}{{ ns.text }}{{ ns.text == false }}{{ ns.seen != false }}",
    "{% macro m(add=false) %}{% if add == false %}no{% else %}yes{% endif %}{% endmacro %}{{ m() }}{{ m(true) }}{{ m('') }}{{ m(0) }}{{ m(none) }}",
    "{% for x in ['', 0, false, none, 'a', []] if x == false %}[{{ x }}]{% endfor %}",
    "{% for x in ['', 0, false, none, 'a', []] if x != false %}[{{ x }}]{% endfor %}",
    "{% if n > 5 %}big{% elif n > 3 %}mid{% else %}small{% endif %}",
    "{% if z %}a{% elif e %}b{% elif '' %}c{% else %}d{% endif %}",
    "{% if yes %}{% set inside = 1 %}{% endif %}{{ inside }}",
    "{% if no %}{% set inside = 1 %}{% endif %}{{ inside is defined }}",
    "{% macro m(a, b=2, *args) %}{% endmacro %}",
    "{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=4, a=5) }} {{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, k=4) }}",
    "{% macro m(a=none) %}{{ a is none }}{% endmacro %}{{ m() }}{{ m(1) }}{{ m(none) }}",
    "{% macro m(a=n) %}{{ a }}{% endmacro %}{{ m() }}{% set n = 8 %}{{ m() }}",
    "{% macro m() %}{{ outer }}{% endmacro %}{% set outer = 5 %}{{ m() }}",
    "{% macro fact(k) %}{% if k > 1 %}{{ k }}*{{ fact(k - 1) }}{% else %}1{% endif %}{% endmacro %}{{ fact(4) }}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}body {{ n }}{% endcall %}",
    "{% macro m(xs) %}{% for x in xs %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(x) m(l) %}<{{ x }}>{% endcall %}",
    "{% macro m() %}x{% endmacro %}{{ m()|upper }}{{ m() ~ m() }}{{ m()|length }}",
    "{% macro m() %}  padded  {% endmacro %}[{{ m()|trim }}][{{ m() }}]",
    "{% filter upper %}shout {{ n }}{% endfilter %}",
    "{% filter replace('a', 'b')|upper %}banana{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}",
    "{% with %}{% set q = 9 %}{{ q }}{% endwith %}{{ q }}",
    "{% raw %}{{ not }} {% this %}{% endraw %}",
    "a {%- raw -%}  {{ x }}  {%- endraw -%} b",
    "{# a comment {{ x }} #}text",
    "a {#- comment -#} b",
    "line\n{# comment #}\nnext",
    "a\n  {% if yes %}\n  b\n  {% endif %}\nc",
    "a\n  {%- if yes -%}\n  b\n  {%- endif -%}\nc",
    "a\n  {%+ if yes %}\n  b\n  {%+ endif +%}\nc",
    "a\n  {{ n }}\n  b",
    "a  {{- n -}}  b",
    "  {% if yes %} x {% endif %}  y",
    "x {% if yes %}\n\ny{% endif %}\n\n\nz",
    "a\r\n{% if yes %}\r\nb\r\n{% endif %}\r\nc\r\n",
    "a\rb\r\n",
    "trailing\n",
    "trailing\n\n",
    "\n\nleading",
    "{{ '\n' }}x\n{{ '\r\n' }}y",
    "{% set x = '{% not a tag %}' %}{{ x }}",
    "{{ '}}' }}{{ {'a': {'b': 1}}.a }}{{ {'a': {'b': 1}}['a']['b'] }}",
    "{% for m in messages %}{{ m.role }}: {{ m['content'] }}\n{% endfor %}",
    "{% for m in messages %}\n{{ m.role }}\n{% endfor %}",
    "{%- for m in messages %}\n    {{- m.role + ' ' + m.content }}\n    {%- if loop.first %}\n        {%- break %}\n    {%- endif %}\n{%- endfor %}",
    "{% print n %}",
    "{% do l.append(1) %}",
    "{% include 'x' %}",
    "{% extends 'x' %}",
    "{% import 'x' as y %}",
    "{% block content %}inside {{ n }}{% endblock %}",
    "{% autoescape true %}{{ '<' }}{% endautoescape %}",
    "{% generation %}{{ n }}{% endgeneration %}",
    "{%- generation -%} a {%- endgeneration -%} b",
    "{% set x = 1 %}{% generation %}{% set x = 2 %}{% endgeneration %}{{ x }}",
    "{% unknown %}",
    "{% if yes %}",
    "{% endif %}",
    "{% for x in l %}{% endif %}",
    "{% if %}{% endif %}",
    "{{ }}",
    "{{ n",
    "{% if n",
    "{# open",
    "{{ n }",
    "{% set true = 1 %}",
    "{% set 1 = 1 %}",
    "{% set x %}",
    "{% for x l %}{% endfor %}",
    "{% break %}",
    "{{ loop }}",
    "{{ l | map | list }}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}",
    "{% set j = joiner('; ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}",
    "{% if rows|selectattr('zz', 'defined') %}generators are true{% endif %}",
    "{{ rows|selectattr('age')|length }}",
    "{{ (rows|map(attribute='name'))[0] }}",
    "{{ caller }}",
    "{% macro m(messages) %}{{ messages|length }}{% endmacro %}{{ m([]) }}",
    "{% set messages = messages[1:] %}{% for m in messages %}{{ loop.index }}{{ m.content }}{% endfor %}",
    "{% for x in l -%}\n  {{ x }}\n{%- endfor %}",
    "{{ strftime_now('%Y') | length }}",
]


def render(template):
    try:
        return {"text": _compile_jinja_template(template).render(**json.loads(json.dumps(DATA)))}
    except Exception as error:  # noqa: BLE001 - whatever it refuses with, it refuses
        return {"error": type(error).__name__}


def main():
    templates = [
        "{{ " + expression.strip().replace("\\\\", "\\") + " }}"
        for line in EXPRESSIONS.strip().split("\n")
        for expression in split(line)
    ] + STATEMENTS
    print(json.dumps({"data": DATA, "cases": [{"template": t, **render(t)} for t in templates]}, ensure_ascii=False, indent=0))


def split(line):
    """Expressions stand between bars with a blank on both sides; filters have none."""
    return line.split(" | ")


if __name__ == "__main__":
    main()
