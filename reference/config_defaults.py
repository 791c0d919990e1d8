"""What transformers takes where a config.json says nothing: of every model type the smallest file, and the same with all it means;
and which modules PEFT adapts where nobody names any.

Writes test/golden/config_defaults.json.

    python reference/config_defaults.py            # needs transformers, peft
"""

import copy
import json
import re
from pathlib import Path

import peft
import transformers
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as TARGETS

OUT = Path(__file__).resolve().parent.parent / "test" / "golden" / "config_defaults.json"

# 160 heads of 8: every default number of key heads divides it.
sizes = dict(vocab_size=40, hidden_size=1280, intermediate_size=24, num_hidden_layers=30, num_attention_heads=160)
gpt2 = dict(vocab_size=40, n_positions=32, n_embd=64, n_layer=2, n_head=1)

FILES = {
    **{
        name: sizes
        for name in (
            "llama mistral qwen2 qwen3 gemma gemma2 gemma3_text smollm3 phi phi3 olmo olmo2 olmo3 granite helium cohere starcoder2 stablelm"
            " gpt_neox falcon mixtral qwen2_moe qwen3_moe olmoe gpt_oss ministral3"
            " cohere2 glm glm4 exaone4 ernie4_5 seed_oss hunyuan_v1_dense"
            " lfm2 lfm2_moe granitemoe granitemoeshared"
            " arcee nemotron jais2 nanochat ministral cwm granite_swa apertus"
            " gemma4_text gemma4_unified_text gemma3n_text"
            " qwen3_5_text qwen3_5_moe_text qwen3_next"
            " vaultgemma llama4_text"
            " nemotron_h phimoe olmo_hybrid"
            " minimax_m2 solar_open afmoe exaone_moe flex_olmo mellum hy_v3"
            " cohere2_moe granitemoe_swa mimo_v2_flash laguna persimmon jamba biogpt doge aria_text"
        ).split()
    },
    "gpt2": gpt2,
    "gptj": gpt2,
    "codegen": {**gpt2, "n_embd": 256, "n_head": 4},
    "xglm": dict(vocab_size=40, d_model=16, ffn_dim=24, num_layers=2, attention_heads=2),
    "gpt_bigcode": gpt2,
    "mpt": {},
    # Its scale is a root that has no rounding: of 16.
    "hyperclovax": {**sizes, "num_attention_heads": 80},
    "bloom": dict(vocab_size=40, hidden_size=64, n_layer=2, n_head=8),
    "gpt_neo": dict(
        vocab_size=40, max_position_embeddings=32, hidden_size=16, num_layers=2, num_heads=2, attention_types=[[["global", "local"], 1]]
    ),
    "opt": dict(
        vocab_size=40, max_position_embeddings=32, hidden_size=16, ffn_dim=24, num_hidden_layers=2, num_attention_heads=2
    ),
}

# Without experts: they are 8 where the file says nothing.
FILES["granitemoehybrid"] = dict(sizes, num_local_experts=0, mamba_n_heads=160)
# Its heads are twice as wide together.
FILES["mamba2"] = dict(vocab_size=40, hidden_size=4096, num_hidden_layers=2)
FILES["mamba"] = FILES["falcon_mamba"] = dict(vocab_size=40, hidden_size=24, num_hidden_layers=2)
FILES["falcon_h1"] = sizes
FILES["bamba"] = dict(sizes, mamba_n_heads=160)
# As many heads as these have keys by default, and what they have no default for.
for name, heads in dict(deepseek_v2=160, deepseek_v3=128, glm4_moe_lite=20, minicpm3=40, youtu=16, mistral4=32, axk1=64).items():
    FILES[name] = {**sizes, "num_attention_heads": heads}
FILES["deepseek_v2"] = {**FILES["deepseek_v2"], "num_experts_per_tok": 6}
for name in "glm4_moe ernie4_5_moe hunyuan_v1_moe".split():
    FILES[name] = sizes
FILES["dots1"] = {**sizes, "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2}

# Models that see images too: of their text model the files need say nothing, not even its sizes.
for name in "gemma3 gemma3n gemma4 gemma4_unified mistral3 qwen2_vl qwen2_5_vl qwen3_vl llava idefics3 smolvlm exaone4_5 mllama qwen3_5 qwen3_5_moe llama4 qwen3_vl_moe lfm2_vl internvl llava_next llava_next_video llava_onevision video_llava vipllava idefics2 aya_vision cohere2_vision ovis2 granite4_vision deepseek_vl muse_glimmer glm4v glm46v".split():
    FILES[name] = dict(text_config={})

# These take no text_config without its type.
for name, kind in dict(video_llama_3="qwen2", minicpmv4_6="qwen3_5_text", aria="aria_text").items():
    FILES[name] = dict(text_config=dict(model_type=kind))

# Its default heads divide no default width.
FILES["glm4v_moe"] = dict(text_config=dict(head_dim=128))

# The same where text_config says of which type it is.
TEXTS = [("mistral3", "ministral3"), ("mistral3", "mistral4"), ("llava", "mistral"), ("llava", "qwen2"), ("smolvlm", "qwen3"), ("lfm2_vl", "lfm2_moe"), ("internvl", "qwen3"), ("internvl", "qwen3_moe"), ("internvl", "gpt_oss"), ("llava_next", "granite"), ("aya_vision", "cohere")]


def spelt_out(name, given):
    # The class writes into what it is given.
    # As a file has it: infinities are no JSON.
    whole = json.loads(transformers.AutoConfig.for_model(name, **copy.deepcopy(given)).to_json_string(use_diff=False))
    whole.pop("vision_config", None)
    return whole


def targets_of(name):
    targets = TARGETS.get(name)
    # An expression of paths within the whole: the names that they end in.
    return re.findall(r"\w+_proj", targets) if isinstance(targets, str) else targets


if __name__ == "__main__":
    cases = {}
    for name, given in FILES.items():
        cases[name] = dict(given=given, whole=spelt_out(name, given), targets=targets_of(name))
    texts = []
    for name, text in TEXTS:
        given = dict(text_config=dict(model_type=text))
        texts.append(dict(given=dict(model_type=name, **given), whole=spelt_out(name, given)))
    generator = f"transformers {transformers.__version__}, peft {peft.__version__}"
    OUT.write_text(json.dumps(dict(generator=generator, models=cases, texts=texts)) + "\n")
    print(len(cases), "model types,", OUT.stat().st_size, "bytes")
