"""Does PEFT compute with the adapters that rxtune saved what rxtune computes? Every kind that write_adapters.mjs writes.

    node reference/write_adapters.mjs OUT && python reference/check_adapters.py OUT

Prints the largest absolute difference of a logit for each and exits 1 where one is above 1e-4, or where PEFT found a key that it has
no place for. A 4-bit base multiplies with what bitsandbytes would make of its weights, by four_bit.py.
"""

import json
import os
import sys
import warnings

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.utils import logging

from four_bit import dequantized
from tiny_checkpoints import IMAGE_TEXT

warnings.simplefilter("ignore")
logging.set_verbosity_error()
logging.disable_progress_bar()
root = sys.argv[1]
failed = []
for name in sorted(os.listdir(root)):
    here = os.path.join(root, name)
    ours = json.load(open(os.path.join(here, "logits.json")))
    seeing = AutoConfig.from_pretrained(ours["base"]).model_type in {*IMAGE_TEXT, "mistral4"}
    auto = AutoModelForImageTextToText if seeing else AutoModelForCausalLM
    model = auto.from_pretrained(ours["base"], dtype=torch.float32, attn_implementation="eager")
    if ours.get("quant"):
        for path, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and "lm_head" not in path:
                module.weight.data = dequantized(module.weight.data, ours["quant"])
    if ours["vocab"] != model.config.get_text_config().vocab_size:
        model.resize_token_embeddings(ours["vocab"])
    with torch.no_grad():
        plain = model(input_ids=torch.tensor([ours["ids"]])).logits[0]
    adapters = ours.get("adapters", ["default"])
    model = PeftModel.from_pretrained(model, here, adapter_name=adapters[0])
    unknown = []
    for other in adapters[1:]:
        result = model.load_adapter(os.path.join(here, other), adapter_name=other)
        unknown += result.unexpected_keys
    # The same once more, to be told of keys that have no place.
    unknown += model.load_adapter(here, adapter_name=adapters[0]).unexpected_keys
    if len(adapters) > 1:
        model.base_model.set_adapter(adapters)
    model.eval()
    with torch.no_grad():
        theirs = model(input_ids=torch.tensor([ours["ids"]])).logits[0]
    difference = (theirs - torch.tensor(ours["logits"])).abs().max().item()
    effect = (theirs - plain).abs().max().item()
    fine = difference <= 1e-4 and not unknown and effect > 1e-2
    if not fine:
        failed.append(name)
    print(f"{name:24} {difference:.2e}  the adapter changes logits by {effect:.2f}" + ("" if fine else f"  FAILED {unknown}"))
print(f"{len(failed)} failed")
sys.exit(1 if failed else 0)
