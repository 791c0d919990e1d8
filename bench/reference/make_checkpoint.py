"""Writes a randomly initialised checkpoint of a benchmark shape: python make_checkpoint.py SHAPE TOKENIZER_DIR OUT_DIR

SHAPE: gpt2-124m (768 wide, 12 layers, vocabulary 50257), llama-135m (576 wide, 30 layers, 9/3 heads, 1536 MLP, vocabulary
49152), qwen3.5-half (Qwen3.5 0.8B with 12 of its 24 layers, 9 of them with the gated delta rule, and a vocabulary of 49152),
lfm2-350m (LFM2 350M: 10 short convolutions, 6 layers of attention), granite4-h-350m (Granite 4.0 H 350M: 28 mixers of Mamba-2, 4
layers of attention) or mamba-130m (Mamba 130M: 24 mixers, 1536 channels). The tokenizer's files, where a folder is given, are laid beside the weights (a .json.gz is unpacked).
"""
import gzip
import pathlib
import shutil
import sys

import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteMoeHybridConfig,
    Lfm2Config,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    Qwen3_5TextConfig,
)

SHAPES = {
    "gpt2-124m": lambda: GPT2LMHeadModel(
        GPT2Config(attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0, n_positions=2048)
    ),
    "llama-135m": lambda: LlamaForCausalLM(
        LlamaConfig(
            hidden_size=576,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            intermediate_size=1536,
            vocab_size=49152,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
        )
    ),
    "qwen3.5-half": lambda: AutoModelForCausalLM.from_config(
        Qwen3_5TextConfig(
            hidden_size=1024,
            intermediate_size=3584,
            num_hidden_layers=12,
            num_attention_heads=8,
            num_key_value_heads=2,
            head_dim=256,
            linear_num_key_heads=16,
            linear_num_value_heads=16,
            linear_key_head_dim=128,
            linear_value_head_dim=128,
            vocab_size=49152,
            tie_word_embeddings=True,
        )
    ),
    "lfm2-350m": lambda: AutoModelForCausalLM.from_config(
        Lfm2Config(
            hidden_size=1024,
            intermediate_size=6656,
            num_hidden_layers=16,
            num_attention_heads=16,
            num_key_value_heads=8,
            vocab_size=65536,
            full_attn_idxs=[2, 5, 8, 10, 12, 14],
        )
    ),
    "granite4-h-350m": lambda: AutoModelForCausalLM.from_config(
        GraniteMoeHybridConfig(
            hidden_size=768,
            intermediate_size=2048,
            shared_intermediate_size=2048,
            num_hidden_layers=32,
            num_attention_heads=12,
            num_key_value_heads=4,
            layer_types=["attention" if i in (10, 13, 17, 27) else "mamba" for i in range(32)],
            mamba_n_heads=48,
            mamba_d_head=32,
            mamba_d_state=128,
            num_local_experts=0,
            num_experts_per_tok=0,
            position_embedding_type=None,
            vocab_size=100352,
            tie_word_embeddings=True,
        )
    ),
    "mamba-130m": lambda: AutoModelForCausalLM.from_config(
        MambaConfig(hidden_size=768, num_hidden_layers=24, vocab_size=50280)
    ),
    "llama-small": lambda: LlamaForCausalLM(
        LlamaConfig(
            vocab_size=4096,
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=384,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
        )
    ),
    "gpt2-tiny": lambda: GPT2LMHeadModel(
        GPT2Config(n_embd=64, n_layer=2, n_head=4, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0)
    ),
}


def main(shape: str, tokenizer: str, out: str) -> None:
    torch.manual_seed(0)
    SHAPES[shape]().save_pretrained(out)
    if tokenizer == "-":
        return
    for path in pathlib.Path(tokenizer).iterdir():
        if path.suffix == ".gz":
            (pathlib.Path(out) / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        else:
            shutil.copy(path, pathlib.Path(out) / path.name)


main(*sys.argv[1:4])
