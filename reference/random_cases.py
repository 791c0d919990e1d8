"""Random conversations under real chat templates, random texts under real tokenizers, and packings of random rows, as the reference
renders, cuts and packs them.

    python reference/random_cases.py CASES.json --templates matrix.json.gz --tokenizers DIR [--count 60] [--seed 1]
    node reference/random_cases.mjs CASES.json

`--templates` is a list of chat templates ({"templates": [{"template": name, "chat_template": source}, …]}), `--tokenizers` a folder of
folders with tokenizer.json (or .gz). The second command says where rxtune differs.
"""

import argparse
import gzip
import json
import random
from pathlib import Path

from datasets import Dataset
from tokenizers import Tokenizer
from transformers.utils.chat_template_utils import _compile_jinja_template
from trl.data_utils import pack_dataset

parser = argparse.ArgumentParser()
parser.add_argument("out")
parser.add_argument("--templates")
parser.add_argument("--tokenizers")
parser.add_argument("--count", type=int, default=60)
parser.add_argument("--seed", type=int, default=1)
args = parser.parse_args()
rng = random.Random(args.seed)

WORDS = [
    "hi", "  lead", "trail \n", "naïve 🌟", "<think>\nhm\n</think>\nyes", "a</think>b", "{{x}}", "<|im_end|>", "\r\n", "one\ntwo", "",
    "[INST] x [/INST]", "'q' \"d\"", "1.5", "```py\nx\n```", "\u2028", "e\u0301", "   ", "\n\n",
]  # fmt: skip
PIECES = WORDS + [
    " world", "\t", "don't", "I'LL", "\u00e9", "👨‍👩‍👧", "日本語", "한국어", "עברית", "ไทย", "हिन्दी", "ß", "ﬁ", "Ⅷ", "½", "²", "1234567",
    "0x1F", "\u00a0", "\u3000", "\u200b", "\ufeff", "\ufffd", "\u0000", "\x7f", "<s>", "</s>", "<|endoftext|>", "<|im_start|>", "<unk>",
    "<0x0A>", "▁", "Ġ", "a" * 30, " " * 17, "_" * 9, "...", "!!!", "'S", "’s", "http://x.y/z?a=b&c", "def f(x):\n    return x", "\u0085", "𝕏",
    "\U0001f1e9\U0001f1ea", "İ", "ı", "ſ", "\u0130\u0307", "\u1100\u1161\u11a8", "\u0300", "ﷺ", "<|user|>", " <s> ", "\n<s>",
]  # fmt: skip
PLANES = [(32, 126), (160, 0x24F), (0x370, 0x1FFF), (0x2000, 0x2FFF), (0x3000, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x1FFFF)]


def words():
    return "".join(rng.choice(WORDS) for _ in range(rng.randint(0, 3)))


def text():
    return "".join(
        rng.choice(PIECES) if rng.random() < 0.8 else chr(rng.randint(*rng.choice(PLANES))) for _ in range(rng.randint(0, 8))
    )


def value(depth=0):
    """Any JSON, but for floats that are whole numbers: JavaScript reads those as integers."""
    kind = rng.randint(0, 8 if depth < 2 else 5)
    if kind == 0:
        return rng.randint(-5, 100)
    if kind == 1:
        return rng.choice([2.5, 1e20, -0.1, 1e-7])
    if kind == 2:
        return rng.choice([True, False, None])
    if kind <= 5:
        return words()
    if kind == 6:
        return [value(depth + 1) for _ in range(rng.randint(0, 3))]
    return {rng.choice(["a", "b c", "type", "name", "items", "description"]): value(depth + 1) for _ in range(rng.randint(0, 3))}


def tool():
    kinds = [
        {"type": "string", "description": words()},
        {"type": "integer"},
        {"type": "array", "items": {"type": "string"}},
        {"type": "string", "enum": ["a", "b"]},
        {"type": ["string", "null"]},
        {"type": "object", "properties": {"k": {"type": "number"}}},
    ]
    properties = {rng.choice(["city", "n", "opts", "flag"]): rng.choice(kinds) for _ in range(rng.randint(0, 3))}
    parameters = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {"type": "function", "function": {"name": rng.choice(["get_weather", "f"]), "description": words(), "parameters": parameters}}


def call():
    arguments = rng.choice([{"city": words(), "n": value()}, '{"city": "x"}', {}])
    return {"type": "function", "id": "abcdef123", "function": {"name": "get_weather", "arguments": arguments}}


def message(role):
    one = {"role": role, "content": words()}
    if rng.random() < 0.05:
        one["content"] = rng.choice([None, [{"type": "text", "text": words()}]])
    if role == "assistant":
        if rng.random() < 0.3:
            one["reasoning_content"] = words()
        if rng.random() < 0.3:
            one["tool_calls"] = [call() for _ in range(rng.randint(1, 2))]
            one["content"] = rng.choice([one["content"], None, ""])
    if role == "tool":
        one.update(name="get_weather", tool_call_id="abcdef123")
    if rng.random() < 0.05:
        one.pop("content", None)
    return one


def conversation():
    messages = [message("system")] if rng.random() < 0.4 else []
    role = "user"
    for _ in range(rng.randint(0, 5)):
        role = rng.choice(["user", "assistant", "tool", "system", "weird"]) if rng.random() < 0.1 else role
        messages.append(message(role))
        after = {"user": ["assistant"], "assistant": ["user", "user", "tool"], "tool": ["assistant", "tool"]}
        role = rng.choice(after.get(role, ["user"]))
    kwargs = {}
    if rng.random() < 0.3:
        kwargs["enable_thinking"] = rng.choice([True, False])
    if rng.random() < 0.1:
        kwargs["documents"] = [{"title": words(), "text": words()}]
    tools = {"tools": [tool() for _ in range(rng.randint(0, 2))]} if rng.random() < 0.35 else {}
    return {"messages": messages, "addGenerationPrompt": rng.random() < 0.5, "kwargs": kwargs, **tools}


def opened(path):
    path = Path(path)
    return gzip.open(path, "rt", encoding="utf8") if path.suffix == ".gz" else path.open(encoding="utf8")


special = {"bos_token": "<s>", "eos_token": "</s>"}
templates = []
for entry in json.load(opened(args.templates))["templates"] if args.templates else []:
    source = entry["chat_template"]
    if not isinstance(source, str) or "strftime_now" in source:
        continue
    compiled = _compile_jinja_template(source)
    cases = []
    for _ in range(args.count):
        given = conversation()
        try:
            told = {
                "text": compiled.render(
                    messages=given["messages"],
                    tools=given.get("tools"),
                    add_generation_prompt=given["addGenerationPrompt"],
                    **{"documents": None, **given["kwargs"], **special},
                )
            }
        except Exception as error:
            told = {"error": f"{type(error).__name__}: {error}"[:200]}
        cases.append({"conversation": given, **told})
    templates.append({"name": entry["template"], "source": source, "cases": cases})

tokenizers = []
for file in sorted(Path(args.tokenizers).glob("*/tokenizer.json*")) if args.tokenizers else []:
    reference = Tokenizer.from_str(opened(file).read())
    reference.no_padding()
    reference.no_truncation()
    cases = []
    for _ in range(args.count * 20):
        one, add = text(), rng.random() < 0.5
        ids = reference.encode(one, add_special_tokens=add).ids
        decoded = reference.decode(ids, skip_special_tokens=False)
        cases.append({"text": one, "addSpecialTokens": add, "ids": ids, "decoded": decoded})
    tokenizers.append({"directory": str(file.parent), "cases": cases})

packings = []
for _ in range(args.count * 5):
    length = rng.choice([4, 8, 16, 33, 64])
    longest = length if rng.random() < 0.6 else 3 * length
    lengths = [rng.randint(1, longest) for _ in range(rng.randint(1, 40))]
    ids = iter(range(sum(lengths)))
    rows = Dataset.from_list([{"input_ids": [next(ids) for _ in range(n)]} for n in lengths])
    for strategy in ["bfd", "bfd_split", "wrapped"]:
        packed = pack_dataset(rows, length, strategy)
        windows = [{"ids": row["input_ids"], "lengths": row.get("seq_lengths")} for row in packed]
        packings.append({"lengths": lengths, "maxLength": length, "packingStrategy": strategy, "windows": windows})

told = {"special": special, "templates": templates, "tokenizers": tokenizers, "packings": packings}
Path(args.out).write_text(json.dumps(told), encoding="utf8")
