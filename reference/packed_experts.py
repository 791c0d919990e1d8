"""Tiny mixtures of experts as transformers 5 writes them when it keeps its own names: one tensor for the gates and ups of all experts of
a layer, another for their downs. In shards. gpt-oss has no other names; of it also one whose experts are stored in MXFP4, with the values
that transformers' converter makes of them.

Of Qwen3-VL, Nemotron-H, OLMo Hybrid, Hunyuan 3, Laguna and Granite-MoE with windows files as they are published, or as transformers writes them.

Writes test/golden/packed_experts/<name>/ from test/golden/models/<name>/, of the same values, and gpt_oss_mxfp4 and gpt_oss_decoded,
float8 and float8_decoded.

    python reference/packed_experts.py            # needs torch, transformers
"""

import json
import shutil
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_checkpoints import experts_apart
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

GOLDEN = Path(__file__).resolve().parent.parent / "test" / "golden"

def put_together(folder):
    """The model of a directory that has its experts apart, which transformers has no converter of."""
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(folder))
    names = experts_apart(model, model.state_dict())
    stored = load_file(folder / "model.safetensors")
    with torch.no_grad():
        for name, view in names.items():
            if name in stored:
                view.copy_(stored[name])
    model.tie_weights()
    return model


def write_mxfp4():
    config = transformers.GptOssConfig(
        vocab_size=40, hidden_size=64, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=4,
        num_local_experts=2, num_experts_per_tok=1, max_position_embeddings=32, rope_parameters=dict(rope_type="default", rope_theta=1e4),
        eos_token_id=None, pad_token_id=0,
    )
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_config(config).bfloat16()
    generator = torch.Generator().manual_seed(4)
    packed = {}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith(("gate_up_proj", "down_proj")):
                continue
            experts, inputs, outputs = parameter.shape
            shape = (experts, outputs, inputs // 32)
            blocks = torch.randint(0, 256, (*shape, 16), generator=generator, dtype=torch.uint8)
            scales = torch.randint(118, 128, shape, generator=generator, dtype=torch.uint8)
            parameter.copy_(convert_moe_packed_tensors(blocks, scales))
            packed |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
    decoded, coded = GOLDEN / "packed_experts" / "gpt_oss_decoded", GOLDEN / "packed_experts" / "gpt_oss_mxfp4"
    for folder in (decoded, coded):
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
    kept = {name: value for name, value in load_file(coded / "model.safetensors").items() if f"{name}_blocks" not in packed}
    save_file(kept | packed, coded / "model.safetensors", metadata={"format": "pt"})
    told = json.loads((coded / "config.json").read_text())
    told["quantization_config"] = dict(quant_method="mxfp4", modules_to_not_convert=["model.layers.*.self_attn", "lm_head"])
    (coded / "config.json").write_text(json.dumps(told, indent=2) + "\n")


def write_float8(name="deepseek_v3_flat", block=(8, 10)):
    """Matrices but those of routers, embedding and head as float8, each block with a scale, and the same decoded by PyTorch."""
    source, coded, decoded = GOLDEN / "models" / name, GOLDEN / "packed_experts" / "float8", GOLDEN / "packed_experts" / "float8_decoded"
    packed, plain = {}, {}
    for key, value in load_file(source / "model.safetensors").items():
        if value.dim() != 2 or key.endswith(("embed_tokens.weight", "lm_head.weight", "gate.weight")):
            packed[key] = plain[key] = value
            continue
        rows, columns = value.shape
        down, across = -(-rows // block[0]), -(-columns // block[1])
        scales = torch.tensor([
            [value[r * block[0]:(r + 1) * block[0], c * block[1]:(c + 1) * block[1]].abs().max() / 448 for c in range(across)]
            for r in range(down)
        ])
        spread = scales.repeat_interleave(block[0], 0)[:rows].repeat_interleave(block[1], 1)[:, :columns]
        codes = (value / spread).to(torch.float8_e4m3fn)
        packed |= {key: codes, f"{key}_scale_inv": scales}
        plain[key] = (codes.float() * spread).bfloat16()
    told = json.loads((source / "config.json").read_text())
    for folder, tensors in ((coded, packed), (decoded, plain)):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
        quantized = dict(activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", weight_block_size=list(block))
        own = {**told, "quantization_config": quantized} if folder is coded else told
        (folder / "config.json").write_text(json.dumps(own, indent=2) + "\n")


def write_qwen3_vl():
    """As published: inputs first."""
    source, folder = GOLDEN / "models" / "qwen3_vl_moe", GOLDEN / "packed_experts" / "qwen3_vl_moe"
    apart = load_file(source / "model.safetensors")
    told = json.loads((source / "config.json").read_text())
    packed = {key: value for key, value in apart.items() if ".experts." not in key}
    for layer in sorted({key.split(".experts.")[0] for key in apart if ".experts." in key}):
        def all_of(part):
            return torch.stack([apart[f"{layer}.experts.{e}.{part}.weight"].T for e in range(told["text_config"]["num_local_experts"])])

        packed[f"{layer}.experts.gate_up_proj"] = torch.cat([all_of("gate_proj"), all_of("up_proj")], dim=2)
        packed[f"{layer}.experts.down_proj"] = all_of("down_proj")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    save_file({key: value.contiguous() for key, value in packed.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copy(source / "config.json", folder / "config.json")
    # transformers reads them so.
    read = transformers.AutoModelForImageTextToText.from_pretrained(folder).state_dict()
    for key, value in packed.items():
        assert torch.equal(read[key], value.transpose(1, 2) if ".experts." in key else value), key


if __name__ == "__main__":
    write_mxfp4()
    write_qwen3_vl()
    write_float8()
    for name in ("mixtral", "qwen2_moe_mixed", "gpt_oss", "phimoe", "minimax_m2"):
        source = GOLDEN / "models" / name
        model = put_together(source) if name == "gpt_oss" else transformers.AutoModelForCausalLM.from_pretrained(source, dtype="float32")
        folder = GOLDEN / "packed_experts" / name
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder, save_original_format=False, max_shard_size="20KB")
        (folder / "generation_config.json").unlink(missing_ok=True)
        print(name, [f"{path.name} {path.stat().st_size}" for path in sorted(folder.iterdir())])
    # Names and parts that files have otherwise than the classes.
    for name in ("nemotron_h_experts", "olmo_hybrid", "hy_v3", "laguna_columns"):
        folder = GOLDEN / "packed_experts" / name
        shutil.rmtree(folder, ignore_errors=True)
        read = transformers.AutoModelForCausalLM.from_pretrained(GOLDEN / "models" / name, dtype="float32")
        # One that was read is written under the names that it had.
        model = transformers.AutoModelForCausalLM.from_config(read.config)
        model.load_state_dict(read.state_dict())
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
    folder = GOLDEN / "packed_experts" / "granitemoe_swa"
    shutil.rmtree(folder, ignore_errors=True)
    put_together(GOLDEN / "models" / "granitemoe_swa").save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
