"""Two adapters over one model as PEFT has them, for test/golden/severalAdapters: saved apart, in use one by one, together, not at
all, and combined; logits of each, and gradients of both while both are in use.

    python reference/several_adapters.py test/golden
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
out = os.path.join(root, "severalAdapters")
shutil.rmtree(out, ignore_errors=True)
torch.manual_seed(5)

model = AutoModelForCausalLM.from_pretrained(os.path.join(root, "models", "llama"), attn_implementation="eager")
first = peft.LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=3, target_modules=["q_proj", "v_proj", "embed_tokens"])
second = peft.LoraConfig(
    task_type="CAUSAL_LM", r=2, lora_alpha=5, target_modules=["q_proj", "up_proj", "lm_head", "embed_tokens"])
model = peft.get_peft_model(model, first, adapter_name="first")
model.add_adapter("second", second)
for name, parameter in model.named_parameters():
    if "lora_" in name:
        parameter.data += 0.2 * torch.randn_like(parameter)
for config in model.peft_config.values():
    config.base_model_name_or_path = "llama"
model.save_pretrained(out)
os.remove(os.path.join(out, "README.md"))
for name in ("first", "second"):
    path = os.path.join(out, name, "adapter_config.json")
    config = json.load(open(path))
    config["target_modules"].sort()
    json.dump(config, open(path, "w"), indent=2)

ids = torch.randint(1, model.config.vocab_size, (2, 6))
labels = ids.clone()
rounded = lambda tensor: [float(f"{x:.7g}") for x in tensor.flatten().tolist()]
logits = {}


def record(name):
    with torch.no_grad():
        logits[name] = rounded(model(input_ids=ids).logits)


for name in ("first", "second"):
    model.set_adapter(name)
    record(name)
model.base_model.set_adapter(["first", "second"])
record("both")
for name, parameter in model.named_parameters():
    parameter.requires_grad = "lora_" in name
loss = model(input_ids=ids, labels=labels).loss
loss.backward()
gradients = {
    name.replace("base_model.model.", ""): rounded(parameter.grad)
    for name, parameter in model.named_parameters() if parameter.requires_grad
}
with model.disable_adapter():
    record("none")
for kind in ("cat", "linear"):
    model.add_weighted_adapter(["first", "second"], [0.7, -0.4], f"{kind}ed", combination_type=kind)
    model.set_adapter(f"{kind}ed")
    record(kind)
golden = {
    "versions": {"peft": peft.__version__, "torch": torch.__version__, "transformers": transformers.__version__},
    "ids": ids.tolist(),
    "labels": labels.tolist(),
    "loss": loss.item(),
    "logits": logits,
    "gradients": gradients,
}
json.dump(golden, open(os.path.join(out, "golden.json"), "w"))
