"""Adapters that PEFT saved, with what PEFT computes with them, for test/golden/adapters.

Each case: a base of test/golden/models, an adapter with every weight drawn at random, its two files, and beside them golden.json:
logits of two rows, the loss of their labels, and the gradient of every trainable weight.

    python reference/peft_adapters.py test/golden [CASE ...]
"""

import json
import os
import shutil
import sys

import peft
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from four_bit import dequantized
from tiny_checkpoints import IMAGE_TEXT

root = sys.argv[1]
torch.manual_seed(3)

CASES = {
    "llama-dora": ("llama", dict(r=2, use_dora=True, target_modules="all-linear", lora_alpha=3)),
    "gpt2-dora": ("gpt2", dict(r=2, use_dora=True, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)),
    "llama-patterns": (
        "llama",
        dict(r=2, use_rslora=True, target_modules=["q_proj", "v_proj", "up_proj"], rank_pattern={"up_proj": 3},
             alpha_pattern={"layers.1.self_attn.q_proj": 5}, layers_to_transform=[1], modules_to_save=["lm_head"]),
    ),
    "gpt2-bias": ("gpt2", dict(r=2, target_modules=["c_fc"], bias="lora_only", fan_in_fan_out=True)),
    "llama-nf4": ("llama", dict(r=2, target_modules="all-linear")),
    "llama-embedding": ("llama", dict(r=2, lora_alpha=3, target_modules=["embed_tokens", "lm_head", "k_proj"])),
    "gpt2-embedding": ("gpt2", dict(r=2, target_modules=["wte", "wpe", "c_attn"], fan_in_fan_out=True)),
    "llama-embedding-dora": (
        "llama", dict(r=2, use_dora=True, target_modules=["embed_tokens", "q_proj"], lora_alpha=3)),
    "llama-head-dora": ("llama", dict(r=2, use_dora=True, target_modules=["lm_head", "v_proj"])),
    "tied-rows": (
        "llama_biased_tied", dict(r=2, target_modules=["q_proj"], trainable_token_indices=[5, 38, 7])),
    # Text models within models that see images: their modules by whole paths, so that no map of the other part is meant.
    "gemma3-image": (
        "gemma3_image",
        dict(r=2, lora_alpha=3, rank_pattern={"down_proj": 3},
             target_modules=[f"model.language_model.layers.{i}.{name}"
                             for i in (0, 2) for name in ("self_attn.q_proj", "mlp.down_proj")]),
    ),
    "smolvlm-head": (
        "smolvlm",
        dict(r=2, use_dora=True, target_modules=[f"model.text_model.layers.{i}.self_attn.v_proj" for i in (0, 1)],
             modules_to_save=["lm_head"]),
    ),
    "llama-rows": (
        "llama",
        dict(r=2, target_modules=["q_proj"], trainable_token_indices={"embed_tokens": [5, 38], "lm_head": [4, 5, 39]})),
    # An out_proj is refused by PEFT, a dt_proj's weight read past its adapter.
    "mamba": ("mamba", dict(r=2, lora_alpha=3, target_modules=["in_proj", "x_proj", "embeddings"])),
    "mamba-dora": ("mamba", dict(r=2, use_dora=True, target_modules=["in_proj", "x_proj"], modules_to_save=["embeddings"])),
    "falcon_mamba": ("falcon_mamba", dict(r=2, lora_alpha=3, target_modules=["in_proj", "x_proj", "lm_head"])),
    "jamba": ("jamba", dict(r=2, lora_alpha=3, target_modules="all-linear", exclude_modules=["dt_proj", "router"])),
    "gpt_neox-head": ("gpt_neox", dict(r=2, target_modules=["lm_head", "query_key_value"])),
}

for case, (base, options) in CASES.items():
    if len(sys.argv) > 2 and case not in sys.argv[2:]:
        continue
    out = os.path.join(root, "adapters", case)
    shutil.rmtree(out, ignore_errors=True)
    folder = os.path.join(root, "models", base)
    seeing = transformers.AutoConfig.from_pretrained(folder).model_type in IMAGE_TEXT
    auto = AutoModelForImageTextToText if seeing else AutoModelForCausalLM
    model = auto.from_pretrained(folder, attn_implementation="eager").eval()
    if case.endswith("nf4"):  # the values that a 4-bit base multiplies with
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and "lm_head" not in name:
                module.weight.data = dequantized(module.weight.data, "nf4")
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", base_model_name_or_path=base, **options))
    for name, parameter in model.named_parameters():
        if "lora_magnitude" in name:
            parameter.data *= 0.8 + 0.4 * torch.rand_like(parameter)
        elif parameter.requires_grad:
            parameter.data += 0.2 * torch.randn_like(parameter)
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(out)
    os.remove(os.path.join(out, "README.md"))
    config = json.load(open(os.path.join(out, "adapter_config.json")))
    config["target_modules"].sort()  # a set, in an order of its own every time
    json.dump(config, open(os.path.join(out, "adapter_config.json"), "w"), indent=2)
    ids = torch.randint(0, model.config.get_text_config().vocab_size, (2, 7))
    if "embedding" in case:  # torch gives the row of the padding token no gradient
        ids[ids == 0] = 9
    labels = ids.clone()
    labels[0, :3] = -100
    result = model(input_ids=ids, labels=labels)
    result.loss.backward()
    gradients = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = name.replace("base_model.model.", "").replace(".default", "").replace(".modules_to_save", "")
            key = key.replace(".base_layer", "").replace("lora_magnitude_vector.weight", "lora_magnitude_vector")
            key = key.replace("model.language_model.", "model.").replace("model.text_model.", "model.")
            gradients[key] = [float(f"{x:.6g}") for x in parameter.grad.flatten().tolist()]
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
