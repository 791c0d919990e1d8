"""Conversations with tools, tool calls, documents and template arguments as transformers renders and tokenises them.

    OMP_NUM_THREADS=1 python reference/tool_templates.py

Writes test/golden/tools.json: small templates made here, each over conversations that use what data sets have: a `tools`
column, `tool_calls` with arguments as a record or as JSON text, messages of role `tool`, `documents`, arguments of the template.
The tokenizer is the byte-level BPE of test/golden/tokenizers.json.gz with ChatML's marks added.
"""

import gzip
import json
import random
from pathlib import Path

import jinja2
import tokenizers
import transformers

golden = Path(__file__).resolve().parent.parent / "test" / "golden"
with gzip.open(golden / "tokenizers.json.gz") as file:
    made = json.load(file)["tokenizers"]["gpt2"]["tokenizer"]

core = tokenizers.Tokenizer.from_str(json.dumps(made))
tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=core)
marks = ["<|im_start|>", "<|im_end|>"]
tokenizer.add_special_tokens({"additional_special_tokens": marks, "eos_token": "<|im_end|>"})

TEMPLATES = {
    # Descriptions as JSON lines, calls in tags, results as a turn of their own.
    "tags": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- 'You may call:' }}
    {%- for tool in tools %}{{- '\\n' + (tool | tojson) }}{%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages if message.role != 'system' %}
    {{- '<|im_start|>' + message.role }}
    {%- if message.role == 'assistant' %}
        {{- '\\n' }}
        {%- generation %}
        {{- message.content or '' }}
        {%- for call in message.tool_calls or [] %}
            {%- set call = call.function if call.function is defined else call %}
            {{- '<call>{"name": "' + call.name + '", "arguments": ' }}
            {{- call.arguments if call.arguments is string else call.arguments | tojson }}
            {{- '}</call>' }}
        {%- endfor %}
        {{- '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\\n' }}
    {%- else %}
        {{- '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}""",
    # Parameters one by one, as Python writes them; results must follow a call.
    "signatures": """{%- macro kind(p) %}{{- p.type | replace('string', 'str') }}{%- if p.enum is defined %}{{- ' of ' + p.enum | join('/') }}{%- endif %}{%- endmacro %}
{%- for tool in tools or [] %}
{%- set f = tool.function %}
{{- 'def ' + f.name + '(' }}{%- for name, p in f.parameters.properties.items() %}{{- name + ': ' + kind(p) }}{{- '' if name in f.parameters.required else ' = None' }}{{- ', ' if not loop.last }}{%- endfor %}{{- ')  # ' + f.description + '\\n' }}
{%- endfor %}
{%- set ns = namespace(called=false) %}
{%- for m in messages %}
{%- if m.role == 'tool' and not ns.called %}{{- raise_exception('a result without a call') }}{%- endif %}
{%- set ns.called = m.tool_calls is defined and m.tool_calls is not none or (m.role == 'tool') %}
{{- '[' + m.role + (' ' + m.name if m.name is defined else '') + '] ' + (m.content or '') }}
{%- for c in m.tool_calls or [] %}{{- c.function.name }}({%- for k, v in c.function.arguments | items %}{{- k }}={{ v | tojson }}{{- ', ' if not loop.last }}{%- endfor %}){%- endfor %}
{{- '\\n' }}
{%- endfor %}""",
    # Documents, a switch and a text given by the row.
    "arguments": """{%- if documents %}{%- for d in documents %}{{- '[' ~ loop.index ~ '] ' ~ d.title ~ ': ' ~ d.text ~ '\\n' }}{%- endfor %}{%- endif %}
{%- if style is defined %}{{- 'Style: ' + style + '\\n' }}{%- endif %}
{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- if enable_thinking is defined and not enable_thinking %}{{- '<think></think>' }}{%- endif %}{%- endif %}""",
}

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city – now",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["C", "F"]}},
            "required": ["city"],
        },
    },
}


def call(arguments):
    return {"type": "function", "function": {"name": "get_weather", "arguments": arguments}}


ASK = {"role": "user", "content": "Zürich & Genève?"}
RESULT = {"role": "tool", "name": "get_weather", "content": '{"degrees": -3.5, "sky": "<clear>"}'}
ROWS = {
    "call": {"tools": [WEATHER], "messages": [ASK, {"role": "assistant", "content": "", "tool_calls": [call({"city": "Zürich", "unit": "C"})]}, RESULT, {"role": "assistant", "content": "Cold."}]},
    "two-calls-with-text": {"tools": [WEATHER], "messages": [{"role": "system", "content": "Be brief."}, ASK, {"role": "assistant", "content": "Let me see. ", "tool_calls": [call({"city": "Zürich"}), call({"city": "Genève", "unit": "F"})]}, RESULT, RESULT, {"role": "assistant", "content": "Cold, both."}]},
    "arguments-as-text": {"tools": [WEATHER], "messages": [ASK, {"role": "assistant", "content": "", "tool_calls": [call('{"city": "Zürich"}')]}, RESULT, {"role": "assistant", "content": "Cold."}]},
    "result-without-call": {"tools": [WEATHER], "messages": [ASK, RESULT]},
    "no-tools": {"messages": [ASK, {"role": "assistant", "content": "I cannot know."}]},
    "prompt": {"tools": [WEATHER], "messages": [ASK], "add_generation_prompt": True},
    "documents": {"documents": [{"title": "A", "text": "Snow."}, {"title": "B", "text": "Sun."}], "messages": [ASK, {"role": "assistant", "content": "Mixed [1][2]."}]},
    "arguments": {"chat_template_kwargs": {"style": "terse", "enable_thinking": False}, "messages": [ASK], "add_generation_prompt": True},
}

cases = []
for name, template in TEMPLATES.items():
    for title, row in ROWS.items():
        case = {"template": name, "row": title}
        arguments = {
            "tools": row.get("tools"),
            "documents": row.get("documents"),
            "add_generation_prompt": row.get("add_generation_prompt", False),
            **row.get("chat_template_kwargs", {}),
        }
        try:
            case["text"] = tokenizer.apply_chat_template(row["messages"], chat_template=template, tokenize=False, **arguments)
            out = tokenizer.apply_chat_template(
                row["messages"], chat_template=template, tokenize=True, return_dict=True,
                return_assistant_tokens_mask="{%- generation" in template, **arguments)
            case["input_ids"] = list(out["input_ids"])
            if "{%- generation" in template:
                case["assistant_masks"] = list(out["assistant_masks"])
        except jinja2.exceptions.TemplateError as error:
            case["error"] = str(error)
        except (TypeError, AttributeError) as error:
            case["error"] = str(error)
        cases.append(case)

# Lines of JSON Lines as they stand: what Python reads as a float it prints as one.
LINES = [
    '{"tools": [{"type": "function", "function": {"name": "get_weather", "description": "", "parameters": {"minimum": 0.0, "maximum": 1.0, "step": 1, "default": [1.00, 2, -0.0, 0.5, 1.0e3, 12.50]}}}], "messages": [{"role": "user", "content": "v2.0 \\" 3.0"}]}',
    '{"messages": [{"role": "user", "content": "Set it to 21.0"}, {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "set", "arguments": {"degrees": 21.0, "rooms": [1, 2.0], "a\\"b": 3.0, "twice": 1.0, "twice": 1, "nested": {"x": -4.0}}}}]}]}',
    '{"tools": "[{\\"type\\": \\"function\\", \\"function\\": {\\"name\\": \\"f\\", \\"description\\": \\"\\", \\"parameters\\": {\\"maximum\\": 2.0}}}]", "messages": [{"role": "user", "content": "?"}]}',
    '{"tools": [{"maximum": 1, "of": 100, "to": 1e20, "by": 1.5e-7, "id": 12345678901234567890, "most": 1e3}], "messages": [{"role": "user", "content": "2.0"}]}',
]

# Every way to write a number: what is an int to Python, of any length, and what a float.
NUMBERS = """{%- for t in tools %}{%- for n in t.n %}{{ n }} {{ n | tojson }} {{ n is integer }} {{ n is float }} {{ [n] }} {{ n | string }}{% if n is integer %} {{ n | int }} {{ n | abs }} {{ -n }} {{ '%d' % n }}{% endif %} {{ n == t.of }} {{ n > t.of }} {{ n < t.of }} {{ n < 1e19 }};{%- endfor %}{%- endfor %}"""
rng = random.Random(7)


def number():
    digits = str(rng.randint(0, 10 ** rng.choice([1, 4, 15, 16, 17, 20, 30, 60])))
    fraction = rng.choice(["", "", "", ".0", ".00", ".5", ".25", "." + str(rng.randint(0, 999))])
    exponent = rng.choice(["", "", "", "e3", "E+2", "e-2", "e0", "e21", "e-9"])
    return rng.choice(["", "", "-"]) + digits + fraction + exponent


FORMS = ["9007199254740991", "9007199254740992", "9007199254740993", "-9007199254740993", "-0", "-0.0", "0e5", "1e3", "1E3", "1e16", "1e22", "12345678901234567890", "1.5e1", "150e-1"]
NUMBER_LINES = [
    json.dumps({"messages": [{"role": "user", "content": "2e3, 12345678901234567890"}], "tools": [{"of": 9007199254740993, "n": [0]}]}).replace("[0]", "[" + rng.choice([",", ", "]).join(numbers) + "]")
    for numbers in [FORMS] + [[number() for _ in range(12)] for _ in range(20)]
]


def rendered(line, template=TEMPLATES["tags"]):
    row = json.loads(line)
    tools = row.get("tools")
    return tokenizer.apply_chat_template(
        row["messages"], chat_template=template, tokenize=False, tools=json.loads(tools) if isinstance(tools, str) else tools
    )


result = {
    "lines": [{"line": line, "text": rendered(line)} for line in LINES],
    "numbers": {"template": NUMBERS, "lines": [{"line": line, "text": rendered(line, NUMBERS)} for line in NUMBER_LINES]},
    "generator": f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}, Jinja2 {jinja2.__version__}",
    # In the order of their ids.
    "marks": sorted(marks, key=tokenizer.convert_tokens_to_ids),
    "templates": TEMPLATES,
    "rows": ROWS,
    "cases": cases,
}
(golden / "tools.json").write_text(json.dumps(result, ensure_ascii=False, separators=(",", ":")) + "\n")
print(len(cases), "cases,", sum("error" in case for case in cases), "errors")
for case in cases:
    if "error" in case:
        print(case["template"], case["row"], case["error"])
