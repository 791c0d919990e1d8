"""Writes a randomly initialised checkpoint of a benchmark shape: python make_checkpoint.py SHAPE TOKENIZER_DIR OUT_DIR

SHAPE: gpt2-124m (768 wide, 12 layers, vocabulary 50257) or llama-135m (576 wide, 30 layers, 9/3 heads, 1536 MLP, vocabulary
49152). The tokenizer's files, where a folder is given, are laid beside the weights (a .json.gz is unpacked).
"""
import gzip
import pathlib
import shutil
import sys

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

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
