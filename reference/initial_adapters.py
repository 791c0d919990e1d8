"""Adapters that begin with a part of the weights, for test/golden/initialAdapters: the part that PEFT takes (B·A times the scaling), an
adapter saved after its numbers have moved, as it is and converted, and the logits.

    python reference/initial_adapters.py test/golden
"""

import json
import os
import shutil
import sys

import peft
import torch
import transformers
from transformers import AutoModelForCausalLM

root = sys.argv[1]
torch.manual_seed(7)
rounded = lambda tensor: [float(f"{x:.7g}") for x in tensor.flatten().tolist()]

for case, base, options in (
    ("pissa", "llama", dict(r=2, lora_alpha=3, target_modules=["q_proj", "down_proj"])),
    ("pissa-gpt2", "gpt2", dict(r=2, lora_alpha=3, target_modules=["c_fc"], fan_in_fan_out=True, use_rslora=True)),
    ("olora", "llama", dict(r=3, lora_alpha=2, target_modules=["q_proj", "down_proj"])),
):
    out = os.path.join(root, "initialAdapters", case)
    shutil.rmtree(out, ignore_errors=True)
    model = AutoModelForCausalLM.from_pretrained(os.path.join(root, "models", base), attn_implementation="eager")
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", base_model_name_or_path=base, init_lora_weights=case.split("-")[0], **options)
    model = peft.get_peft_model(model, config)
    parts = {
        name.replace("base_model.model.", ""): rounded(module.get_delta_weight("default").detach())
        for name, module in model.named_modules() if hasattr(module, "lora_A") and "layers.1" in name + "layers.1" * (base == "gpt2")
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(out)
    os.remove(os.path.join(out, "README.md"))
    path = os.path.join(out, "adapter_config.json")
    saved = json.load(open(path))
    saved["target_modules"].sort()
    json.dump(saved, open(path, "w"), indent=2)
    ids = torch.randint(1, model.config.vocab_size, (1, 6))
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    golden = {
        "versions": {"peft": peft.__version__, "torch": torch.__version__, "transformers": transformers.__version__},
        "base": base,
        "options": {key: value for key, value in options.items()},
        "parts": parts,
        "ids": ids.tolist(),
        "logits": rounded(logits),
    }
    json.dump(golden, open(os.path.join(out, "golden.json"), "w"))
