"""Inverse frequencies and attention factors of every rotary scaling, as transformers computes them.

Writes test/golden/rope.json: fields of a config.json, the length of a sequence, and what transformers makes of them.

    python reference/rope_frequencies.py            # needs torch, transformers
"""

import json
from pathlib import Path

import torch
import transformers
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

OUT = Path(__file__).resolve().parent.parent / "test" / "golden" / "rope.json"
SIZES = dict(hidden_size=64, num_attention_heads=4, max_position_embeddings=64)

YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)
LLAMA3 = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=24
)

LONG = dict(
    rope_type="longrope",
    short_factor=[1.0, 1.0, 1.05, 1.1, 1.3, 1.7, 2.0, 2.5],
    long_factor=[1.0, 1.2, 1.9, 3.0, 5.5, 9.0, 14.0, 20.0],
)

CASES = {
    "plain": (dict(), 8),
    "plain, another base": (dict(rope_theta=500000.0), 8),
    "linear": (dict(rope_scaling=dict(rope_type="linear", factor=2.5)), 8),
    "linear, old name": (dict(rope_scaling=dict(type="linear", factor=4.0)), 8),
    "dynamic, short": (dict(rope_scaling=dict(rope_type="dynamic", factor=2.0)), 64),
    "dynamic, long": (dict(rope_scaling=dict(rope_type="dynamic", factor=2.0)), 100),
    "dynamic, very long": (dict(rope_theta=1e6, rope_scaling=dict(type="dynamic", factor=4.0)), 1000),
    "llama3": (dict(rope_theta=500000.0, rope_scaling=LLAMA3), 8),
    "llama3, as 3.2 has it": (
        dict(
            rope_theta=500000.0,
            rope_scaling={**LLAMA3, "factor": 32.0, "original_max_position_embeddings": 32},
        ),
        8,
    ),
    "yarn": (dict(rope_scaling=YARN), 8),
    "yarn, attention factor": (dict(rope_scaling={**YARN, "attention_factor": 1.25}), 8),
    "yarn, betas": (dict(rope_scaling={**YARN, "beta_fast": 16.0, "beta_slow": 2.0}), 8),
    "yarn, mscale": (dict(rope_scaling={**YARN, "mscale": 0.7, "mscale_all_dim": 0.4}), 8),
    "yarn, not truncated": (dict(rope_theta=1e6, rope_scaling={**YARN, "truncate": False}), 8),
    "yarn, Qwen's": (dict(rope_theta=1e6, rope_scaling=dict(type="yarn", factor=4.0, original_max_position_embeddings=16)), 8),
    "longrope, short": (dict(original_max_position_embeddings=16, rope_scaling=LONG), 16),
    "longrope, long": (dict(original_max_position_embeddings=16, rope_scaling=LONG), 17),
    "longrope, factors given": (
        dict(rope_theta=500.0, rope_scaling={**LONG, "factor": 8.0, "original_max_position_embeddings": 20}),
        30,
    ),
    "longrope, attention factor": (
        dict(original_max_position_embeddings=16, rope_scaling={**LONG, "attention_factor": 1.3}),
        20,
    ),
    "longrope, not stretched": (dict(rope_scaling=LONG), 20),
    "new form": (dict(rope_parameters=dict(rope_type="linear", rope_theta=1234.0, factor=3.0)), 8),
}


def frequencies(fields, length):
    config = LlamaConfig(**SIZES, **json.loads(json.dumps(fields)))
    rotary = LlamaRotaryEmbedding(config)
    rotary(torch.zeros(1, 1), torch.arange(length)[None])
    return rotary.inv_freq.double().tolist(), float(rotary.attention_scaling)


if __name__ == "__main__":
    cases = []
    for name, (fields, length) in CASES.items():
        inverse, scaling = frequencies(fields, length)
        cases.append(dict(name=name, config={**SIZES, **fields}, length=length, frequencies=inverse, magnitude=scaling))
    OUT.write_text(json.dumps(dict(generator=f"transformers {transformers.__version__}", cases=cases)) + "\n")
    print(len(cases), "cases")
