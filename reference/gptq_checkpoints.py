"""Tiny Llama checkpoints in GPTQ's layout, packed here by its description, with the logits of transformers on the unpacked weights.

qweight holds codes of inputs, low ones in low bits of a 32-bit word; qzeros holds those of outputs, less 1 in the first version of
the format; weight = scales[g_idx] * (codes - zeros[g_idx]).

    OMP_NUM_THREADS=1 python reference/gptq_checkpoints.py        # writes test/golden/gptq_models; needs torch, transformers
"""

import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

OUT = Path(__file__).resolve().parent.parent / "test" / "golden" / "gptq_models"
IDS = [3, 1, 4, 1, 5, 9, 2, 6]

CASES = {
    # Zeros of up to 16, which four bits less 1 can say; the head too; no g_idx where inputs are in order.
    "v1_4bit": dict(bits=4, group_size=8, desc_act=True, sym=False, checkpoint_format="gptq", lm_head=True),
    "v2_8bit": dict(bits=8, group_size=-1, desc_act=False, sym=False, checkpoint_format="gptq_v2", lm_head=False),
    # As older programs leave it: no format, no sym.
    "old_4bit": dict(bits=4, group_size=16, desc_act=False),
}


def packed(codes, bits):
    """[rows, columns] of codes -> [rows / per word, columns] of words."""
    per_word = 32 // bits
    words = torch.zeros(codes.shape[0] // per_word, codes.shape[1], dtype=torch.int64)
    for i in range(codes.shape[0]):
        words[i // per_word] |= codes[i] << (bits * (i % per_word))
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def main():
    for name, how in CASES.items():
        torch.manual_seed(len(name) + how["bits"])
        config = LlamaConfig(
            vocab_size=40,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=32,
        )
        model = LlamaForCausalLM(config).float().eval()
        bits, groups_of = how["bits"], how["group_size"]
        offset = 0 if how.get("checkpoint_format") == "gptq_v2" else 1
        tensors = {}
        for key, value in model.state_dict().items():
            module = key.removesuffix(".weight")
            linear = value.dim() == 2 and "embed" not in key and (how.get("lm_head") or "lm_head" not in key)
            if not linear:
                tensors[key] = value.half().contiguous()
                model.get_parameter(key).data = value.half().float()
                continue
            outputs, inputs = value.shape
            size = inputs if groups_of == -1 else groups_of
            groups = -(-inputs // size)
            index = torch.arange(inputs) // size
            if how["desc_act"] and "down" not in key:
                index = index[torch.randperm(inputs)]
            codes = torch.randint(0, 2**bits, (inputs, outputs))
            symmetric = how.get("sym", True)
            middle = torch.full((groups, outputs), 2 ** (bits - 1))
            zeros = middle if symmetric else torch.randint(offset, 2**bits + offset, (groups, outputs))
            scales = (torch.rand(groups, outputs) * 0.3 / 2**bits + 0.01 / 2**bits).half()
            weight = scales.float()[index] * (codes - zeros[index]).float()
            model.get_parameter(key).data = weight.t().contiguous()
            tensors[f"{module}.qweight"] = packed(codes, bits).contiguous()
            tensors[f"{module}.qzeros"] = packed((zeros - offset).t(), bits).t().contiguous()
            tensors[f"{module}.scales"] = scales.contiguous()
            if "checkpoint_format" in how and "down" not in key:
                tensors[f"{module}.g_idx"] = index.to(torch.int32)
        directory = OUT / name
        directory.mkdir(parents=True, exist_ok=True)
        save_file(tensors, directory / "model.safetensors", {"format": "pt"})
        written = config.to_dict() | {"architectures": ["LlamaForCausalLM"]}
        written["quantization_config"] = {"quant_method": "gptq", "damp_percent": 0.1, **how}
        (directory / "config.json").write_text(json.dumps(written, indent=1) + "\n")
        with torch.no_grad():
            logits = model(torch.tensor([IDS])).logits[0]
            generated = model.generate(torch.tensor([IDS]), max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0)
        golden = {
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
            "inputIds": IDS,
            "logits": logits.flatten().tolist(),
            "generated": generated[0, len(IDS) :].tolist(),
        }
        (directory / "golden.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
