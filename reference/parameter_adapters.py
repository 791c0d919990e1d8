"""Adapters over the parameters that hold all experts of a layer (`target_parameters`), as PEFT saves and computes them.

Each case of test/golden/parameterAdapters: an adapter of a base of test/golden/models with every weight drawn at random, its two files,
and beside them golden.json: logits of two rows, the loss of their labels, and the gradient of every trainable weight.

    python reference/parameter_adapters.py test/golden            # needs torch, transformers, peft
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
torch.manual_seed(5)

BOTH = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
CASES = {
    "qwen3_moe": dict(r=2, lora_alpha=3, target_modules=["q_proj"], target_parameters=BOTH),
    "mixtral-down": dict(r=2, use_rslora=True, target_modules=[], target_parameters=["experts.down_proj"]),
    "qwen2_moe_mixed-patterns": dict(
        r=2, target_modules=["gate_proj", "v_proj"], target_parameters=BOTH, rank_pattern={"mlp.experts.gate_up_proj": 3},
        alpha_pattern={"layers.1.mlp.experts.gate_up_proj": 5}),
}

for case, options in CASES.items():
    base = case.split("-")[0]
    out = os.path.join(root, "parameterAdapters", case)
    shutil.rmtree(out, ignore_errors=True)
    model = AutoModelForCausalLM.from_pretrained(os.path.join(root, "models", base), attn_implementation="eager", dtype="float32")
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **options))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn_like(parameter)
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(out)
    os.remove(os.path.join(out, "README.md"))
    config = json.load(open(os.path.join(out, "adapter_config.json")))
    for key in ("target_modules", "target_parameters"):
        config[key].sort()  # sets, in an order of their own every time
    json.dump(config, open(os.path.join(out, "adapter_config.json"), "w"), indent=2)
    ids = torch.randint(1, model.config.vocab_size, (2, 7))
    labels = ids.clone()
    labels[0, :3] = -100
    result = model(input_ids=ids, labels=labels)
    result.loss.backward()
    gradients = {
        name.replace("base_model.model.", "").replace(".default", ""): [float(f"{x:.6g}") for x in parameter.grad.flatten().tolist()]
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    golden = {
        "versions": {"peft": peft.__version__, "torch": torch.__version__, "transformers": transformers.__version__},
        "base": base,
        "ids": ids.tolist(),
        "labels": labels.tolist(),
        "loss": result.loss.item(),
        "logits": [[[float(f"{x:.7g}") for x in row] for row in rows] for rows in result.logits.tolist()],
        "gradients": gradients,
    }
    json.dump(golden, open(os.path.join(out, "golden.json"), "w"))
    print(case, {name: list(value) and len(value) for name, value in gradients.items() if "layers.1" in name})
