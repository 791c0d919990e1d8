"""Greedy continuations that end at a stop string, as transformers' `generate(stop_strings=…)` gives them.

Writes test/golden/stopStrings.json: prompts, stop strings, and the ids and text that transformers gives with the quick start's model.

    python reference/stop_strings.py            # needs torch, transformers
"""

import json
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "examples" / "quickstart" / "base"
OUT = ROOT / "test" / "golden" / "stopStrings.json"

LETTER = "<|im_start|>letter\nOn Sunday I will come for two grey shelves. Thank you, June<|im_end|>\n<|im_start|>ledger\n"

CASES = [
    (LETTER, ["grey"]),
    (LETTER, [","]),
    (LETTER, [", gr", "shelf, grey"]),
    (LETTER, ["x sh"]),
    (LETTER, ["never said"]),
    (LETTER, ["une: 2"]),
    (LETTER, ["<|im_end|>"]),
    (LETTER, ["2", "June", "J"]),
    # Held by the prompt, not by what follows it.
    (LETTER, ["Thank you"]),
    ("<|im_start|>letter\n", ["the", "you"]),
    ("<|im_start|>letter\n", [" the "]),
    ("<|im_start|>letter\n", ["\n"]),
]


def main():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    cases = []
    for prompt, stop in CASES:
        ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
        out = model.generate(
            **ids, do_sample=False, max_new_tokens=24, stop_strings=stop, tokenizer=tokenizer, pad_token_id=0
        )
        new = out[0, ids["input_ids"].shape[1] :]
        text = tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        cases.append(dict(prompt=prompt, stop=stop, ids=new.tolist(), text=text))
    OUT.write_text(json.dumps(dict(generator=f"transformers {transformers.__version__}", cases=cases), indent=1) + "\n")


main()
