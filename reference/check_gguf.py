"""Does the gguf package read what rxtune exports, and hold every tensor what llama.cpp's converter would put there?

    rxtune export --model MODEL --outtype q8_0 --out FILE
    python reference/check_gguf.py MODEL FILE             # needs gguf, safetensors, numpy, transformers

Names come from the package's own table, blocks of 8 bits from its own quantiser; bytes are compared. Exits 1 where they differ.
"""

import json
import re
import sys
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file
from transformers import AutoTokenizer

model_dir, path = sys.argv[1:]
whole = json.loads((Path(model_dir) / "config.json").read_text())
kind = whole["model_type"]
config = whole.get("text_config", whole)
reader = gguf.GGUFReader(path)
field = lambda name: reader.fields[name].contents() if name in reader.fields else None
arch = {"gemma3_text": "gemma3", "mistral": "llama", "helium": "llama", "phi": "phi2", "cohere": "command-r", "gpt_neox": "gptneox", "mixtral": "llama", "qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe", "olmo3": "olmo2", "hunyuan_v1_dense": "hunyuan-dense", "gpt_bigcode": "starcoder", "qwen2_vl": "qwen2vl", "qwen2_5_vl": "qwen2vl", "qwen3_vl": "qwen3vl", "exaone4_5": "exaone4"}.get(kind, kind)
assert field("general.architecture") == arch

layers = config.get("num_hidden_layers") or config.get("n_layer") or config["n_layers"]
heads = config.get("num_attention_heads") or config.get("n_head") or config["n_heads"]
kv_heads = config.get("num_key_value_heads") or heads
by_name = {value: key for key, value in gguf.MODEL_ARCH_NAMES.items()}
table = gguf.get_tensor_name_map(by_name[arch], layers)


def interleaved(array, count):
    rows = array.shape[0]
    return array.reshape(count, 2, rows // count // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def ungrouped(array, groups):
    """Queries, keys and values of every group beside each other, as all queries, then all keys, then all values."""
    width = (config["hidden_size"] if "hidden_size" in config else config["n_embd"]) // heads
    parts = array.reshape(groups, -1, width, *array.shape[1:])
    each = [parts[:, :-2], parts[:, -2:-1], parts[:, -1:]]
    return np.concatenate([part.reshape(-1, *array.shape[1:]) for part in each])


def groups():
    if kind in ("gpt_neox", "bloom") or not config.get("multi_query", True) and not config["new_decoder_architecture"]:
        return heads
    return config["num_kv_heads"] if config["new_decoder_architecture"] else 1


expected = {}
experts = {}
for name, array in load_file(str(Path(model_dir) / "model.safetensors")).items():
    array = array.astype(np.float32)
    if whole is not config:
        # The text model alone.
        if "visual." in name:
            continue
        name = name.replace("model.language_model.", "model.")
    if kind == "bloom":
        name = name.removeprefix("transformer.")
    turned = kind != "helium" and arch in ("llama", "granite", "olmo", "smollm3", "arcee")
    if turned and ".q_proj." in name:
        array = interleaved(array, heads)
    if turned and ".k_proj." in name:
        array = interleaved(array, kv_heads)
    if arch in ("gemma", "gemma2", "gemma3") and name.endswith("norm.weight"):
        array = array + 1
    if arch == "nemotron" and name.endswith("norm.weight"):
        array = array + 1
    if arch == "gpt2" and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
        array = array.T
    if ".query_key_value." in name:
        array = ungrouped(array, groups())
    if expert := re.fullmatch(r"(.*\.experts)\.(\d+)\.(\w+)\.weight", name):
        experts.setdefault(f"{expert[1]}.{expert[3]}.weight", {})[int(expert[2])] = array
        continue
    expected[table.get_name(name, try_suffixes=(".weight", ".bias"))] = np.ascontiguousarray(array)

for name, of_layer in experts.items():
    expected[table.get_name(name, try_suffixes=(".weight",))] = np.stack([of_layer[e] for e in range(len(of_layer))])

found = {tensor.name: tensor for tensor in reader.tensors}
factors = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}
extra = set(found) - set(expected) - factors - {"output.weight"}
assert not extra and set(expected) <= set(found), (extra, set(expected) - set(found))
for name, array in expected.items():
    tensor = found[name]
    assert tuple(reversed(tensor.shape.tolist())) == array.shape, (name, tensor.shape, array.shape)
    bytes_wanted = gguf.quants.quantize(array, tensor.tensor_type).tobytes()
    assert tensor.data.tobytes() == bytes_wanted, name

told = ""
if (Path(model_dir) / "tokenizer.json").exists():
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    tokens = field("tokenizer.ggml.tokens")
    vocabulary = tokenizer.get_vocab()
    assert len(tokens) == config["vocab_size"]
    assert all(tokens[id] == token for token, id in vocabulary.items() if id < len(tokens))
    for which in ("bos", "eos", "unk", "pad"):
        name = {"unk": "unknown", "pad": "padding"}.get(which, which)
        assert field(f"tokenizer.ggml.{name}_token_id") == getattr(tokenizer, f"{which}_token_id"), which
    assert field("tokenizer.chat_template") == tokenizer.chat_template
    told = f", {len(tokens)} tokens ({field('tokenizer.ggml.model')}, {field('tokenizer.ggml.pre')})"
types = sorted({tensor.tensor_type.name for tensor in reader.tensors})
print(f"{Path(model_dir).name}: {len(expected)} tensors alike, {'/'.join(types)}{told}")
