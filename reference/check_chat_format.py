"""Does transformers agree with a model that rxtune set up for ChatML?

    node reference/set_up_chat.mjs MODEL OUT [MULTIPLE] [parity]
    python reference/check_chat_format.py MODEL OUT [MULTIPLE] [parity]

Does what TRL 0.7.10's setup_chat_format does to MODEL in transformers, and compares with OUT: ids, texts, special tokens, rows, the
rows that were there before, and the logits of a conversation. Exits 1 where they differ.

Tokenizers are read from tokenizer.json as it stands (PreTrainedTokenizerFast). AutoTokenizer in transformers 5 gives a LlamaTokenizer
other ids after special tokens, because it leaves the file's normalizer out: `auto_tokenizer_agrees` tells (docs/models.md).
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

source, out, *rest = sys.argv[1:]
multiple = int(rest[0]) if rest else None
parity = "parity" in rest

tokenizer = PreTrainedTokenizerFast.from_pretrained(source)
model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
pad = tokenizer.pad_token if tokenizer.pad_token not in (None, "<|im_end|>") else tokenizer.eos_token
tokenizer.add_special_tokens(
    dict(bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>" if parity else pad)
)
tokenizer.chat_template = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=multiple)

ours_tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
ours_model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
ours = json.loads((Path(out) / "ours.json").read_text())

assert len(ours_tokenizer) == len(tokenizer), (len(ours_tokenizer), len(tokenizer))
for name in ("bos_token", "eos_token", "pad_token", "bos_token_id", "eos_token_id", "pad_token_id"):
    assert getattr(ours_tokenizer, name) == getattr(tokenizer, name), name
for each in (tokenizer, ours_tokenizer):
    text = each.apply_chat_template(ours["messages"], tokenize=False, add_generation_prompt=True)
    assert text == ours["text"], (text, ours["text"])
    assert each(text, add_special_tokens=False)["input_ids"] == ours["input_ids"]
if not parity:
    assert ours_model.config.eos_token_id == tokenizer.eos_token_id
    assert ours_model.config.pad_token_id == tokenizer.pad_token_id
assert ours_model.config.vocab_size == model.config.vocab_size, (ours_model.config.vocab_size, model.config.vocab_size)
before = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
kept = min(before.config.vocab_size, ours_model.config.vocab_size)
for half in ("get_input_embeddings", "get_output_embeddings"):
    rows = getattr(ours_model, half)().weight
    assert rows.shape == getattr(model, half)().weight.shape
    assert torch.equal(rows[:kept], getattr(before, half)().weight[:kept]), half
with torch.no_grad():
    logits = ours_model(torch.tensor([ours["input_ids"]])).logits[0]
difference = (logits - torch.tensor(ours["logits"])).abs().max().item()
auto = AutoTokenizer.from_pretrained(out)(ours["text"], add_special_tokens=False)["input_ids"] == ours["input_ids"]
told = dict(rows=ours_model.config.vocab_size, tokens=len(ours_tokenizer), max_abs_difference=difference)
print(json.dumps(told | dict(auto_tokenizer_agrees=auto)))
assert difference <= 1e-4
