"""Names and shapes of the tensors of models that people fine-tune, from transformers on the meta device (no weights, no network).

Writes test/golden/real_shapes.json: config.json as the hub has it, how many parameters there are, and a digest of the sorted lines
"name d1xd2" of everything that a checkpoint of the model holds.

    python reference/real_shapes.py            # needs torch, transformers
"""

import hashlib
import json
from pathlib import Path

import torch
import transformers
from tiny_checkpoints import experts_apart

OUT = Path(__file__).resolve().parent.parent / "test" / "golden" / "real_shapes.json"


def llama(hidden, inner, layers, heads, kv, vocab, **more):
    return dict(
        model_type="llama",
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        vocab_size=vocab,
        hidden_act="silu",
        **more,
    )


def llama4(**more):
    return dict(
        model_type="llama4_text", vocab_size=202048, hidden_size=5120, intermediate_size=8192, intermediate_size_mlp=16384,
        num_hidden_layers=48, num_attention_heads=40, num_key_value_heads=8, head_dim=128, num_experts_per_tok=1,
        no_rope_layers=[], attention_chunk_size=8192, attention_bias=False, max_position_embeddings=262144, rms_norm_eps=1e-5,
        rope_theta=500000.0, tie_word_embeddings=False, **more,
    )


def gemma4(period, num_hidden_layers, **more):
    return dict(
        model_type="gemma4_text", vocab_size=262144, head_dim=256, global_head_dim=512, rms_norm_eps=1e-6,
        hidden_activation="gelu_pytorch_tanh", final_logit_softcapping=30.0, attention_bias=False, tie_word_embeddings=True,
        layer_types=["sliding_attention" if (i + 1) % period else "full_attention" for i in range(num_hidden_layers)],
        rope_parameters=dict(
            full_attention=dict(rope_type="proportional", rope_theta=1000000.0, partial_rotary_factor=0.25),
            sliding_attention=dict(rope_type="default", rope_theta=10000.0),
        ),
        num_hidden_layers=num_hidden_layers, **more,
    )


def qwen3_5(hidden, inner, layers, heads, kv, value_heads, **more):
    # What its files have as `text_config`.
    return dict(
        model_type="qwen3_5_text",
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        head_dim=256,
        linear_num_key_heads=16,
        linear_num_value_heads=value_heads,
        linear_key_head_dim=128,
        linear_value_head_dim=128,
        linear_conv_kernel_dim=4,
        full_attention_interval=4,
        attn_output_gate=True,
        vocab_size=248320,
        max_position_embeddings=262144,
        rope_parameters=dict(
            rope_type="default", rope_theta=10000000, partial_rotary_factor=0.25, mrope_section=[11, 11, 10], mrope_interleaved=True
        ),
        **more,
    )


def granite4(hidden, attending, layers, **more):
    return dict(
        model_type="granitemoehybrid",
        hidden_size=hidden,
        num_hidden_layers=layers,
        layer_types=["attention" if i in attending else "mamba" for i in range(layers)],
        num_key_value_heads=4,
        vocab_size=100352,
        max_position_embeddings=131072,
        position_embedding_type="nope",
        rope_scaling=None,
        rope_theta=10000,
        rms_norm_eps=1e-5,
        attention_bias=False,
        attention_multiplier=0.015625,
        embedding_multiplier=12,
        logits_scaling=6,
        residual_multiplier=0.22,
        mamba_d_state=128,
        mamba_d_conv=4,
        mamba_expand=2,
        mamba_n_groups=1,
        mamba_conv_bias=True,
        mamba_proj_bias=False,
        tie_word_embeddings=True,
        **more,
    )


LLAMA3 = dict(
    rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192
)

MODELS = {
    "gpt2": dict(model_type="gpt2", vocab_size=50257, n_positions=1024, n_embd=768, n_layer=12, n_head=12),
    "gpt2-xl": dict(model_type="gpt2", vocab_size=50257, n_positions=1024, n_embd=1600, n_layer=48, n_head=25),
    "facebook/opt-125m": dict(
        model_type="opt", vocab_size=50272, hidden_size=768, ffn_dim=3072, num_hidden_layers=12, num_attention_heads=12,
        max_position_embeddings=2048, word_embed_proj_dim=768, do_layer_norm_before=True,
    ),
    "facebook/opt-350m": dict(
        model_type="opt", vocab_size=50272, hidden_size=1024, ffn_dim=4096, num_hidden_layers=24,
        num_attention_heads=16, max_position_embeddings=2048, word_embed_proj_dim=512, do_layer_norm_before=False,
    ),
    "facebook/opt-1.3b": dict(
        model_type="opt", vocab_size=50272, hidden_size=2048, ffn_dim=8192, num_hidden_layers=24,
        num_attention_heads=32, max_position_embeddings=2048, word_embed_proj_dim=2048, do_layer_norm_before=True,
    ),
    "EleutherAI/gpt-neo-125m": dict(
        model_type="gpt_neo", vocab_size=50257, max_position_embeddings=2048, hidden_size=768, num_layers=12,
        num_heads=12, intermediate_size=None, window_size=256, attention_types=[[["global", "local"], 6]],
    ),
    "EleutherAI/gpt-neo-1.3B": dict(
        model_type="gpt_neo", vocab_size=50257, max_position_embeddings=2048, hidden_size=2048, num_layers=24,
        num_heads=16, intermediate_size=None, window_size=256, attention_types=[[["global", "local"], 12]],
    ),
    "meta-llama/Llama-2-7b-hf": llama(4096, 11008, 32, 32, 32, 32000, max_position_embeddings=4096, rms_norm_eps=1e-5),
    "meta-llama/Llama-3.2-1B": llama(
        2048, 8192, 16, 32, 8, 128256, head_dim=64, max_position_embeddings=131072, rms_norm_eps=1e-5,
        rope_theta=500000.0, tie_word_embeddings=True, rope_scaling=LLAMA3,
    ),
    "meta-llama/Meta-Llama-3-8B": llama(
        4096, 14336, 32, 32, 8, 128256, max_position_embeddings=8192, rms_norm_eps=1e-5, rope_theta=500000.0
    ),
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": llama(
        2048, 5632, 22, 32, 4, 32000, max_position_embeddings=2048, rms_norm_eps=1e-5
    ),
    "01-ai/Yi-6B": llama(4096, 11008, 32, 32, 4, 64000, max_position_embeddings=4096, rope_theta=5000000.0),
    "deepseek-ai/deepseek-llm-7b-base": llama(4096, 11008, 30, 32, 32, 102400, max_position_embeddings=4096),
    "codellama/CodeLlama-34b-hf": llama(
        8192, 22016, 48, 64, 8, 32000, max_position_embeddings=16384, rms_norm_eps=1e-5, rope_theta=1000000
    ),
    "HuggingFaceTB/SmolLM2-135M": llama(
        576, 1536, 30, 9, 3, 49152, max_position_embeddings=8192, rms_norm_eps=1e-5, rope_theta=100000,
        tie_word_embeddings=True,
    ),
    "mistralai/Mistral-7B-v0.1": dict(
        model_type="mistral", vocab_size=32000, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8, sliding_window=4096, max_position_embeddings=32768,
    ),
    "mistralai/Mistral-7B-v0.3": dict(
        model_type="mistral", vocab_size=32768, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8, sliding_window=None, max_position_embeddings=32768,
        rope_theta=1000000.0,
    ),
    "Qwen/Qwen2.5-0.5B": dict(
        model_type="qwen2", vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
        num_attention_heads=14, num_key_value_heads=2, tie_word_embeddings=True, use_sliding_window=False,
        sliding_window=32768, max_window_layers=24, rope_theta=1000000.0, max_position_embeddings=32768,
    ),
    "Qwen/Qwen2.5-7B": dict(
        model_type="qwen2", vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28,
        num_attention_heads=28, num_key_value_heads=4, tie_word_embeddings=False, use_sliding_window=False,
        rope_theta=1000000.0, max_position_embeddings=131072,
    ),
    "Qwen/Qwen3-0.6B": dict(
        model_type="qwen3", vocab_size=151936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28,
        num_attention_heads=16, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True, attention_bias=False,
        use_sliding_window=False, sliding_window=None, max_window_layers=28, rope_theta=1000000,
        max_position_embeddings=40960,
    ),
    "Qwen/Qwen3.5-0.8B-Base": qwen3_5(1024, 3584, 24, 8, 2, 16, tie_word_embeddings=True),
    "Qwen/Qwen3.5-9B-Base": qwen3_5(4096, 12288, 32, 16, 4, 32, tie_word_embeddings=False),
    "google/gemma-2-2b": dict(
        model_type="gemma2", vocab_size=256000, hidden_size=2304, intermediate_size=9216, num_hidden_layers=26,
        num_attention_heads=8, num_key_value_heads=4, head_dim=256, hidden_activation="gelu_pytorch_tanh",
        max_position_embeddings=8192, rms_norm_eps=1e-6, rope_theta=10000.0, sliding_window=4096,
        query_pre_attn_scalar=256, attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
    ),
    "google/gemma-2-27b": dict(
        model_type="gemma2", vocab_size=256000, hidden_size=4608, intermediate_size=36864, num_hidden_layers=46,
        num_attention_heads=32, num_key_value_heads=16, head_dim=128, hidden_activation="gelu_pytorch_tanh",
        max_position_embeddings=8192, rms_norm_eps=1e-6, rope_theta=10000.0, sliding_window=4096,
        query_pre_attn_scalar=144, attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
    ),
    "google/gemma-2b": dict(
        model_type="gemma", vocab_size=256000, hidden_size=2048, intermediate_size=16384, num_hidden_layers=18,
        num_attention_heads=8, num_key_value_heads=1, head_dim=256, hidden_act="gelu", max_position_embeddings=8192,
    ),
    "microsoft/Phi-3-mini-4k-instruct": dict(
        model_type="phi3", vocab_size=32064, hidden_size=3072, intermediate_size=8192, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=32, sliding_window=2047, max_position_embeddings=4096,
        original_max_position_embeddings=4096, rms_norm_eps=1e-5, rope_scaling=None, attention_bias=False,
    ),
    "microsoft/Phi-3.5-mini-instruct": dict(
        model_type="phi3", vocab_size=32064, hidden_size=3072, intermediate_size=8192, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=32, sliding_window=262144, max_position_embeddings=131072,
        original_max_position_embeddings=4096, rms_norm_eps=1e-5,
        rope_scaling=dict(type="longrope", short_factor=[1.0] * 48, long_factor=[2.0] * 48),
    ),
    "microsoft/Phi-4-mini-instruct": dict(
        model_type="phi3", vocab_size=200064, hidden_size=3072, intermediate_size=8192, num_hidden_layers=32,
        num_attention_heads=24, num_key_value_heads=8, sliding_window=262144, max_position_embeddings=131072,
        original_max_position_embeddings=4096, partial_rotary_factor=0.75, tie_word_embeddings=True, full_attn_mod=1,
        attention_bias=False, mlp_bias=False, lm_head_bias=False, interpolate_factor=1, rms_norm_eps=1e-5,
        rope_scaling=dict(type="longrope", short_factor=[1.0] * 48, long_factor=[2.0] * 48),
    ),
    "microsoft/phi-4": dict(
        model_type="phi3", vocab_size=100352, hidden_size=5120, intermediate_size=17920, num_hidden_layers=40,
        num_attention_heads=40, num_key_value_heads=10, sliding_window=None, max_position_embeddings=16384,
        original_max_position_embeddings=16384, rope_theta=250000, rope_scaling=None, rms_norm_eps=1e-5,
    ),
    "allenai/OLMo-1B-hf": dict(
        model_type="olmo", vocab_size=50304, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16,
        num_attention_heads=16, num_key_value_heads=16, clip_qkv=None, tie_word_embeddings=True,
        max_position_embeddings=2048, attention_bias=False,
    ),
    "allenai/OLMo-2-1124-7B": dict(
        model_type="olmo2", vocab_size=100352, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=32, rms_norm_eps=1e-6, rope_theta=500000,
        max_position_embeddings=4096, tie_word_embeddings=False, attention_bias=False,
    ),
    "allenai/Olmo-3-1025-7B": dict(
        model_type="olmo3", vocab_size=100278, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=32, rms_norm_eps=1e-6, rope_theta=500000, sliding_window=4096,
        max_position_embeddings=65536, tie_word_embeddings=False, attention_bias=False,
        rope_scaling=dict(
            rope_type="yarn", factor=8.0, original_max_position_embeddings=8192, attention_factor=1.2079441541679836,
            beta_fast=32.0, beta_slow=1.0,
        ),
    ),
    "ibm-granite/granite-3.1-2b-instruct": dict(
        model_type="granite", vocab_size=49155, hidden_size=2048, intermediate_size=8192, num_hidden_layers=40,
        num_attention_heads=32, num_key_value_heads=8, rms_norm_eps=1e-5, rope_theta=5000000.0, rope_scaling=None,
        max_position_embeddings=131072, tie_word_embeddings=True, embedding_multiplier=12.0, logits_scaling=8.0,
        residual_multiplier=0.22, attention_multiplier=0.015625, attention_bias=False, attention_dropout=0.1,
        mlp_bias=False,
    ),
    "kyutai/helium-1-preview-2b": dict(
        model_type="helium", vocab_size=48000, hidden_size=2560, intermediate_size=7040, num_hidden_layers=24,
        num_attention_heads=20, num_key_value_heads=20, head_dim=128, rms_norm_eps=1e-8, rope_theta=100000.0,
        max_position_embeddings=4096, attention_bias=False, mlp_bias=False, tie_word_embeddings=False,
    ),
    "CohereForAI/c4ai-command-r-v01": dict(
        model_type="cohere", vocab_size=256000, hidden_size=8192, intermediate_size=22528, num_hidden_layers=40,
        num_attention_heads=64, num_key_value_heads=64, layer_norm_eps=1e-5, rope_theta=8000000.0, logit_scale=0.0625,
        max_position_embeddings=8192, attention_bias=False, use_qk_norm=False,
    ),
    "CohereForAI/aya-23-8B": dict(
        model_type="cohere", vocab_size=256000, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8, layer_norm_eps=1e-5, rope_theta=10000, logit_scale=0.0625,
        max_position_embeddings=8192, attention_bias=False, use_qk_norm=False,
    ),
    "bigcode/starcoder2-3b": dict(
        model_type="starcoder2", vocab_size=49152, hidden_size=3072, intermediate_size=12288, num_hidden_layers=30,
        num_attention_heads=24, num_key_value_heads=2, sliding_window=4096, max_position_embeddings=16384,
        rope_theta=999999.4420358813, norm_epsilon=1e-5, norm_type="layer_norm", mlp_type="default", use_bias=True,
        hidden_act="gelu_pytorch_tanh", residual_dropout=0.1, embedding_dropout=0.1, attention_dropout=0.1,
    ),
    "stabilityai/stablelm-3b-4e1t": dict(
        model_type="stablelm", vocab_size=50304, hidden_size=2560, intermediate_size=6912, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=32, partial_rotary_factor=0.25, rope_theta=10000,
        max_position_embeddings=4096, layer_norm_eps=1e-5, use_qkv_bias=False, tie_word_embeddings=False,
    ),
    "stabilityai/stablelm-2-12b": dict(
        model_type="stablelm", vocab_size=100352, hidden_size=5120, intermediate_size=13824, num_hidden_layers=40,
        num_attention_heads=32, num_key_value_heads=8, partial_rotary_factor=0.25, rope_theta=10000,
        max_position_embeddings=4096, layer_norm_eps=1e-5, qk_layernorm=True, use_parallel_residual=True,
        use_qkv_bias=False, tie_word_embeddings=False,
    ),
    "EleutherAI/pythia-160m": dict(
        model_type="gpt_neox", vocab_size=50304, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
        num_attention_heads=12, rotary_pct=0.25, rotary_emb_base=10000, max_position_embeddings=2048,
        hidden_act="gelu", use_parallel_residual=True, tie_word_embeddings=False,
    ),
    "EleutherAI/gpt-neox-20b": dict(
        model_type="gpt_neox", vocab_size=50432, hidden_size=6144, intermediate_size=24576, num_hidden_layers=44,
        num_attention_heads=64, rotary_pct=0.25, rotary_emb_base=10000, max_position_embeddings=2048,
        hidden_act="gelu_fast", use_parallel_residual=True, tie_word_embeddings=False, attention_dropout=0,
    ),
    "tiiuae/falcon-7b": dict(
        model_type="falcon", vocab_size=65024, hidden_size=4544, num_hidden_layers=32, num_attention_heads=71,
        num_kv_heads=71, multi_query=True, parallel_attn=True, new_decoder_architecture=False, alibi=False, bias=False,
    ),
    "tiiuae/falcon-40b": dict(
        model_type="falcon", vocab_size=65024, hidden_size=8192, num_hidden_layers=60, num_attention_heads=128,
        num_kv_heads=8, parallel_attn=True, new_decoder_architecture=True, alibi=False, bias=False,
    ),
    "tiiuae/falcon-11B": dict(
        model_type="falcon", vocab_size=65024, hidden_size=4096, num_hidden_layers=60, num_attention_heads=32,
        num_kv_heads=8, ffn_hidden_size=16384, num_ln_in_parallel_attn=1, new_decoder_architecture=True, alibi=False,
        bias=False, rope_theta=500042.0, max_position_embeddings=8192, tie_word_embeddings=False,
    ),
    "tiiuae/falcon-rw-1b": dict(
        model_type="falcon", vocab_size=50304, hidden_size=2048, num_hidden_layers=24, num_attention_heads=32, alibi=True,
        multi_query=False, parallel_attn=False, new_decoder_architecture=False, bias=True,
    ),
    "bigscience/bloom-560m": dict(
        model_type="bloom", vocab_size=250880, hidden_size=1024, n_layer=24, n_head=16, layer_norm_epsilon=1e-5,
        apply_residual_connection_post_layernorm=False, hidden_dropout=0.0, attention_dropout=0.0,
    ),
    "EleutherAI/gpt-j-6b": dict(
        model_type="gptj", vocab_size=50400, n_positions=2048, n_embd=4096, n_layer=28, n_head=16, n_inner=None,
        rotary_dim=64, activation_function="gelu_new", tie_word_embeddings=False,
    ),
    "microsoft/phi-1_5": dict(
        model_type="phi", vocab_size=51200, hidden_size=2048, intermediate_size=8192, num_hidden_layers=24,
        num_attention_heads=32, num_key_value_heads=None, hidden_act="gelu_new", partial_rotary_factor=0.5,
        max_position_embeddings=2048, qk_layernorm=False, tie_word_embeddings=False,
    ),
    "microsoft/phi-2": dict(
        model_type="phi", vocab_size=51200, hidden_size=2560, intermediate_size=10240, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=32, hidden_act="gelu_new", partial_rotary_factor=0.4,
        max_position_embeddings=2048, qk_layernorm=False, tie_word_embeddings=False,
    ),
    "mistralai/Mixtral-8x7B-v0.1": dict(
        model_type="mixtral", vocab_size=32000, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8, rms_norm_eps=1e-5, rope_theta=1000000.0, sliding_window=None,
        max_position_embeddings=32768, num_experts_per_tok=2, num_local_experts=8, output_router_logits=False,
        router_aux_loss_coef=0.02, tie_word_embeddings=False,
    ),
    "Qwen/Qwen1.5-MoE-A2.7B": dict(
        model_type="qwen2_moe", vocab_size=151936, hidden_size=2048, intermediate_size=5632, num_hidden_layers=24,
        num_attention_heads=16, num_key_value_heads=16, rms_norm_eps=1e-6, rope_theta=1000000.0, sliding_window=32768,
        use_sliding_window=False, max_window_layers=21, max_position_embeddings=8192, decoder_sparse_step=1,
        moe_intermediate_size=1408, shared_expert_intermediate_size=5632, num_experts_per_tok=4, num_experts=60,
        norm_topk_prob=False, output_router_logits=False, router_aux_loss_coef=0.001, tie_word_embeddings=False,
    ),
    "Qwen/Qwen3-30B-A3B": dict(
        model_type="qwen3_moe", vocab_size=151936, hidden_size=2048, intermediate_size=6144, num_hidden_layers=48,
        num_attention_heads=32, num_key_value_heads=4, head_dim=128, rms_norm_eps=1e-6, rope_theta=1000000.0,
        sliding_window=None, use_sliding_window=False, max_window_layers=48, max_position_embeddings=40960,
        attention_bias=False, decoder_sparse_step=1, mlp_only_layers=[], moe_intermediate_size=768,
        num_experts_per_tok=8, num_experts=128, norm_topk_prob=True, output_router_logits=False,
        router_aux_loss_coef=0.001, tie_word_embeddings=False,
    ),
    "openai/gpt-oss-20b": dict(
        model_type="gpt_oss", vocab_size=201088, hidden_size=2880, intermediate_size=2880, num_hidden_layers=24,
        num_attention_heads=64, num_key_value_heads=8, head_dim=64, rms_norm_eps=1e-5, rope_theta=150000,
        max_position_embeddings=131072, sliding_window=128, num_experts_per_tok=4, num_local_experts=32,
        attention_bias=True, swiglu_limit=7.0, tie_word_embeddings=False, router_aux_loss_coef=0.9,
        rope_scaling=dict(
            rope_type="yarn", factor=32.0, beta_fast=32.0, beta_slow=1.0, truncate=False,
            original_max_position_embeddings=4096,
        ),
    ),
    "allenai/OLMoE-1B-7B-0924": dict(
        model_type="olmoe", vocab_size=50304, hidden_size=2048, intermediate_size=1024, num_hidden_layers=16,
        num_attention_heads=16, num_key_value_heads=16, rms_norm_eps=1e-5, rope_theta=10000.0, clip_qkv=None,
        max_position_embeddings=4096, num_experts_per_tok=8, num_experts=64, norm_topk_prob=False,
        output_router_logits=False, router_aux_loss_coef=0.01, tie_word_embeddings=False,
    ),
    "deepseek-ai/DeepSeek-V2-Lite": dict(
        model_type="deepseek_v2", vocab_size=102400, hidden_size=2048, intermediate_size=10944, num_hidden_layers=27,
        num_attention_heads=16, num_key_value_heads=16, rms_norm_eps=1e-6, rope_theta=10000, max_position_embeddings=163840,
        attention_bias=False, q_lora_rank=None, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
        first_k_dense_replace=1, moe_layer_freq=1, moe_intermediate_size=1408, n_routed_experts=64, n_shared_experts=2,
        num_experts_per_tok=6, n_group=1, topk_group=1, topk_method="greedy", scoring_func="softmax", norm_topk_prob=False,
        routed_scaling_factor=1.0, aux_loss_alpha=0.001, seq_aux=True, pretraining_tp=1, tie_word_embeddings=False,
        rope_scaling=dict(
            type="yarn", factor=40, beta_fast=32, beta_slow=1, mscale=0.707, mscale_all_dim=0.707,
            original_max_position_embeddings=4096,
        ),
    ),
    "moonshotai/Moonlight-16B-A3B": dict(
        model_type="deepseek_v3", vocab_size=163840, hidden_size=2048, intermediate_size=11264, num_hidden_layers=27,
        num_attention_heads=16, num_key_value_heads=16, rms_norm_eps=1e-5, rope_theta=50000.0, max_position_embeddings=8192,
        attention_bias=False, q_lora_rank=None, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
        first_k_dense_replace=1, moe_layer_freq=1, moe_intermediate_size=1408, n_routed_experts=64, n_shared_experts=2,
        num_experts_per_tok=6, n_group=1, topk_group=1, topk_method="noaux_tc", scoring_func="sigmoid", norm_topk_prob=True,
        routed_scaling_factor=2.446, num_nextn_predict_layers=0, ep_size=1, tie_word_embeddings=False,
    ),
    "zai-org/GLM-4.5-Air": dict(
        model_type="glm4_moe", vocab_size=151552, hidden_size=4096, intermediate_size=10944, num_hidden_layers=46,
        num_attention_heads=96, num_key_value_heads=8, head_dim=128, rms_norm_eps=1e-5, rope_theta=1000000,
        max_position_embeddings=131072, partial_rotary_factor=0.5, attention_bias=True, use_qk_norm=False,
        first_k_dense_replace=1, moe_intermediate_size=1408, n_routed_experts=128, n_shared_experts=1, num_experts_per_tok=8,
        n_group=1, topk_group=1, norm_topk_prob=True, routed_scaling_factor=1.0, num_nextn_predict_layers=1,
        tie_word_embeddings=False,
    ),
    "zai-org/GLM-4.7-Flash": dict(
        model_type="glm4_moe_lite", vocab_size=154880, hidden_size=2048, intermediate_size=10240, num_hidden_layers=47,
        num_attention_heads=20, num_key_value_heads=20, rms_norm_eps=1e-5, rope_theta=1000000, max_position_embeddings=202752,
        partial_rotary_factor=1.0, attention_bias=False, q_lora_rank=768, kv_lora_rank=512, qk_nope_head_dim=192,
        qk_rope_head_dim=64, v_head_dim=256, first_k_dense_replace=1, moe_intermediate_size=1536, n_routed_experts=64,
        n_shared_experts=1, num_experts_per_tok=4, n_group=1, topk_group=1, topk_method="noaux_tc", norm_topk_prob=True,
        routed_scaling_factor=1.8, num_nextn_predict_layers=1, tie_word_embeddings=False,
    ),
    "baidu/ERNIE-4.5-21B-A3B-PT": dict(
        model_type="ernie4_5_moe", vocab_size=103424, hidden_size=2560, intermediate_size=12288, num_hidden_layers=28,
        num_attention_heads=20, num_key_value_heads=4, rms_norm_eps=1e-5, rope_theta=500000, max_position_embeddings=131072,
        use_bias=False, moe_k=6, moe_num_experts=64, moe_num_shared_experts=2, moe_intermediate_size=1536,
        moe_layer_start_index=1, moe_layer_end_index=-1, moe_layer_interval=1, tie_word_embeddings=True,
    ),
    "tencent/Hunyuan-A13B-Instruct": dict(
        model_type="hunyuan_v1_moe", vocab_size=128167, hidden_size=4096, intermediate_size=3072, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8, attention_head_dim=128, head_dim=128, rms_norm_eps=1e-5, rope_theta=10000.0,
        max_position_embeddings=32768, attention_bias=False, mlp_bias=False, use_cla=False, num_experts=64, moe_topk=[8] * 32,
        num_shared_expert=[1] * 32, moe_intermediate_size=[3072] * 32, tie_word_embeddings=True,
        rope_scaling=dict(type="dynamic", alpha=1000.0, factor=1.0, beta_fast=32, beta_slow=1, mscale=1.0, mscale_all_dim=1.0),
    ),
    "openbmb/MiniCPM3-4B": dict(
        model_type="minicpm3", vocab_size=73448, hidden_size=2560, intermediate_size=6400, num_hidden_layers=62,
        num_attention_heads=40, num_key_value_heads=40, rms_norm_eps=1e-5, max_position_embeddings=32768, q_lora_rank=768,
        kv_lora_rank=256, qk_nope_head_dim=64, qk_rope_head_dim=32, scale_emb=12, scale_depth=1.4, dim_model_base=256,
        rope_scaling=dict(
            type="longrope", factor=1.0, short_factor=[1.0 + 0.1 * i for i in range(16)], long_factor=[1.0 + 0.3 * i for i in range(16)],
            original_max_position_embeddings=32768,
        ),
    ),
    "google/gemma-3n-E2B": dict(
        model_type="gemma3n_text", vocab_size=262400, hidden_size=2048, intermediate_size=[8192] * 30, num_hidden_layers=30,
        num_attention_heads=8, num_key_value_heads=2, head_dim=256, rms_norm_eps=1e-6, max_position_embeddings=32768,
        sliding_window=512, rope_theta=1000000.0, rope_local_base_freq=10000.0, rope_scaling=None, final_logit_softcapping=30.0,
        layer_types=(["sliding_attention"] * 4 + ["full_attention"]) * 6, vocab_size_per_layer_input=262144,
        hidden_size_per_layer_input=256, altup_active_idx=0, altup_coef_clip=120.0, altup_correct_scale=True, altup_num_inputs=4,
        num_kv_shared_layers=10, laurel_rank=64, activation_sparsity_pattern=[0.95] * 10 + [0.0] * 20,
    ),
    # The text models: what is published has parts for images (and E2B for sound) around them.
    "google/gemma-4-E2B": gemma4(
        5, hidden_size=1536, intermediate_size=6144, num_hidden_layers=35, num_attention_heads=8, num_key_value_heads=1,
        num_global_key_value_heads=None, attention_k_eq_v=False, sliding_window=512, max_position_embeddings=131072,
        hidden_size_per_layer_input=256, vocab_size_per_layer_input=262144, num_kv_shared_layers=20, use_double_wide_mlp=True,
        enable_moe_block=False,
    ),
    "google/gemma-4-26B-A4B": gemma4(
        6, hidden_size=2816, intermediate_size=2112, num_hidden_layers=30, num_attention_heads=16, num_key_value_heads=8,
        num_global_key_value_heads=2, attention_k_eq_v=True, sliding_window=1024, max_position_embeddings=262144,
        hidden_size_per_layer_input=0, num_kv_shared_layers=0, use_double_wide_mlp=False, enable_moe_block=True,
        num_experts=128, top_k_experts=8, moe_intermediate_size=704, use_bidirectional_attention="vision",
    ),
    "LiquidAI/LFM2-350M": dict(
        model_type="lfm2", vocab_size=65536, hidden_size=1024, num_hidden_layers=16, num_attention_heads=16, num_heads=16,
        num_key_value_heads=8, full_attn_idxs=[2, 5, 8, 10, 12, 14], block_auto_adjust_ff_dim=True, block_dim=1024,
        block_ff_dim=6656, block_ffn_dim_multiplier=1.0, block_multiple_of=256, block_norm_eps=1e-5, block_use_swiglu=True,
        conv_L_cache=3, conv_bias=False, conv_dim=1024, conv_dim_out=1024, norm_eps=1e-5, rope_theta=1000000.0,
        theta=1000000.0, use_pos_enc=True, max_position_embeddings=128000,
    ),
    "ibm-granite/granite-4.0-h-350m": granite4(
        768, [10, 13, 17, 27], 32, num_attention_heads=12, intermediate_size=2048, shared_intermediate_size=2048,
        mamba_n_heads=48, mamba_d_head=32, num_local_experts=0, num_experts_per_tok=0,
    ),
    "ibm-granite/granite-4.0-h-tiny": granite4(
        1536, [5, 15, 25, 35], 40, num_attention_heads=12, intermediate_size=512, shared_intermediate_size=1024,
        mamba_n_heads=48, mamba_d_head=64, num_local_experts=64, num_experts_per_tok=6,
    ),
    "tiiuae/Falcon-H1-0.5B-Base": dict(
        model_type="falcon_h1", vocab_size=32784, hidden_size=1024, intermediate_size=2048, num_hidden_layers=36,
        num_attention_heads=8, num_key_value_heads=2, head_dim=64, hidden_act="silu", rms_norm_eps=1e-5, rope_scaling=None,
        rope_theta=100000000000.0, attention_bias=False, mlp_bias=False, projectors_bias=False, attn_layer_indices=None,
        attention_in_multiplier=1.0, attention_out_multiplier=0.9375, embedding_multiplier=5.656854249492381,
        key_multiplier=0.390625, lm_head_multiplier=0.0390625, mlp_multipliers=[0.8838834764831844, 0.5859375],
        ssm_in_multiplier=1.25, ssm_out_multiplier=0.23570226039551587,
        ssm_multipliers=[0.3535533905932738, 0.25, 0.3535533905932738, 0.5, 0.3535533905932738], mamba_chunk_size=128,
        mamba_conv_bias=True, mamba_d_conv=4, mamba_d_head=64, mamba_d_ssm=1536, mamba_d_state=128, mamba_expand=2,
        mamba_n_groups=1, mamba_n_heads=24, mamba_norm_before_gate=False, mamba_proj_bias=False, mamba_rms_norm=False,
        mamba_use_mlp=True, mlp_expansion_factor=8, max_position_embeddings=16384, tie_word_embeddings=False,
    ),
    "arcee-ai/AFM-4.5B": dict(
        model_type="arcee", vocab_size=128004, hidden_size=2560, intermediate_size=18432, num_hidden_layers=36,
        num_attention_heads=20, num_key_value_heads=4, head_dim=128, hidden_act="relu2", rms_norm_eps=1e-5, rope_theta=10000.0,
        rope_scaling=dict(
            rope_type="yarn", factor=20.0, original_max_position_embeddings=4096, beta_fast=32.0, beta_slow=1.0, mscale=1.0
        ),
        max_position_embeddings=65536, attention_bias=False, mlp_bias=False, tie_word_embeddings=False,
    ),
    "nvidia/NVIDIA-Nemotron-Nano-9B-v2": dict(
        model_type="nemotron_h", vocab_size=131072, hidden_size=4480, intermediate_size=15680, num_hidden_layers=56,
        hybrid_override_pattern="M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-", num_attention_heads=40,
        num_key_value_heads=8, head_dim=128, attention_bias=False, mlp_hidden_act="relu2", mlp_bias=False, mamba_num_heads=128,
        mamba_head_dim=80, ssm_state_size=128, n_groups=8, conv_kernel=4, expand=2, use_conv_bias=True, use_bias=False,
        mamba_hidden_act="silu", mamba_proj_bias=False, layer_norm_epsilon=1e-5, max_position_embeddings=131072,
        tie_word_embeddings=False,
    ),
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": dict(
        model_type="nemotron_h", vocab_size=131072, hidden_size=2688, intermediate_size=1856, num_hidden_layers=52,
        hybrid_override_pattern="MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME", num_attention_heads=32, num_key_value_heads=2,
        head_dim=128, attention_bias=False, mlp_hidden_act="relu2", mlp_bias=False, mamba_num_heads=64, mamba_head_dim=64,
        ssm_state_size=128, n_groups=8, conv_kernel=4, expand=2, use_conv_bias=True, use_bias=False, mamba_hidden_act="silu",
        mamba_proj_bias=False, layer_norm_epsilon=1e-5, max_position_embeddings=262144, n_routed_experts=128, n_shared_experts=1,
        num_experts_per_tok=6, moe_intermediate_size=1856, moe_shared_expert_intermediate_size=3712, n_group=1, topk_group=1,
        norm_topk_prob=True, routed_scaling_factor=2.5, tie_word_embeddings=False,
    ),
    "mistralai/Mamba-Codestral-7B-v0.1": dict(
        model_type="mamba2", vocab_size=32768, hidden_size=4096, num_hidden_layers=64, num_heads=128, head_dim=64, state_size=128,
        n_groups=8, expand=2, conv_kernel=4, use_bias=False, use_conv_bias=True, hidden_act="silu", layer_norm_epsilon=1e-5,
        chunk_size=256, tie_word_embeddings=False,
    ),
    "microsoft/Phi-3.5-MoE-instruct": dict(
        model_type="phimoe", vocab_size=32064, hidden_size=4096, intermediate_size=6400, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, hidden_act="silu", rms_norm_eps=1e-5, rope_theta=10000.0, rope_scaling=dict(
            type="longrope", short_factor=[1.0] * 64, long_factor=[2.0] * 64, short_mscale=1.243163121016122,
            long_mscale=1.243163121016122, original_max_position_embeddings=4096,
        ),
        original_max_position_embeddings=4096, max_position_embeddings=131072, attention_bias=True, lm_head_bias=True,
        num_local_experts=16, num_experts_per_tok=2, router_jitter_noise=0.01, input_jitter_noise=0.01, sliding_window=131072,
        tie_word_embeddings=False,
    ),
    "allenai/Olmo-Hybrid-7B": dict(
        model_type="olmo_hybrid", vocab_size=100352, hidden_size=3840, intermediate_size=11008, num_hidden_layers=32,
        num_attention_heads=30, num_key_value_heads=30, hidden_act="silu", rms_norm_eps=1e-6, max_position_embeddings=65536,
        linear_num_key_heads=30, linear_num_value_heads=30, linear_key_head_dim=96, linear_value_head_dim=192,
        linear_conv_kernel_dim=4, linear_allow_neg_eigval=True, attention_bias=False,
        layer_types=["full_attention" if i % 4 == 3 else "linear_attention" for i in range(32)], tie_word_embeddings=False,
    ),
    "nvidia/Nemotron-Mini-4B-Instruct": dict(
        model_type="nemotron", vocab_size=256000, hidden_size=3072, intermediate_size=9216, num_hidden_layers=32,
        num_attention_heads=24, num_key_value_heads=8, head_dim=128, hidden_act="relu2", norm_eps=1e-5, rope_theta=10000,
        partial_rotary_factor=0.5, rope_scaling=None, max_position_embeddings=4096, attention_bias=False, mlp_bias=False,
        tie_word_embeddings=False,
    ),
    "swiss-ai/Apertus-8B-2509": dict(
        model_type="apertus", vocab_size=131072, hidden_size=4096, intermediate_size=21504, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8, hidden_act="xielu", rms_norm_eps=1e-5, rope_theta=12000000,
        rope_scaling=dict(
            rope_type="llama3", type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=8192,
        ),
        max_position_embeddings=65536, attention_bias=False, mlp_bias=False, post_norm=False, qk_norm=True,
        tie_word_embeddings=False,
    ),
    "google/vaultgemma-1b": dict(
        model_type="vaultgemma", vocab_size=256000, hidden_size=1152, intermediate_size=6912, num_hidden_layers=26,
        num_attention_heads=4, num_key_value_heads=4, head_dim=256, hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6,
        query_pre_attn_scalar=256, sliding_window=512, max_position_embeddings=1024, attn_logit_softcapping=None,
        final_logit_softcapping=None, rope_theta=10000.0,
    ),
    "MiniMaxAI/MiniMax-M2": dict(
        model_type="minimax_m2", vocab_size=200064, hidden_size=3072, intermediate_size=1536, num_hidden_layers=62,
        num_attention_heads=48, num_key_value_heads=8, head_dim=128, hidden_act="silu", max_position_embeddings=196608,
        rms_norm_eps=1e-6, rope_theta=5000000, rotary_dim=64, num_local_experts=256, num_experts_per_tok=8, scoring_func="sigmoid",
        use_qk_norm=True, output_router_logits=False, router_aux_loss_coef=0.001, router_jitter_noise=0.0, tie_word_embeddings=False,
    ),
    "Salesforce/codegen-350M-mono": dict(
        model_type="codegen", vocab_size=51200, n_positions=2048, n_ctx=2048, n_embd=1024, n_layer=20, n_head=16, n_inner=None,
        rotary_dim=32, activation_function="gelu_new", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, layer_norm_epsilon=1e-5,
        tie_word_embeddings=False,
    ),
    "facebook/xglm-564M": dict(
        model_type="xglm", vocab_size=256008, max_position_embeddings=2048, d_model=1024, ffn_dim=4096, num_layers=24,
        attention_heads=16, activation_function="gelu", dropout=0.1, attention_dropout=0.1, activation_dropout=0, layerdrop=0.0,
        scale_embedding=True,
    ),
    "adept/persimmon-8b-base": dict(
        model_type="persimmon", vocab_size=262144, hidden_size=4096, intermediate_size=16384, num_hidden_layers=36,
        num_attention_heads=64, hidden_act="relu2", max_position_embeddings=16384, layer_norm_eps=1e-5, rope_theta=25000.0,
        partial_rotary_factor=0.5, qk_layernorm=True, tie_word_embeddings=False,
    ),
    # The text models: what is published has parts for images around them.
    "meta-llama/Llama-4-Scout-17B-16E": llama4(num_local_experts=16, interleave_moe_layer_step=1, use_qk_norm=True),
    "meta-llama/Llama-4-Maverick-17B-128E": llama4(num_local_experts=128, interleave_moe_layer_step=2, use_qk_norm=False),
    "mistralai/Mistral-Small-4-119B-2603": dict(
        model_type="mistral4", vocab_size=131072, hidden_size=4096, intermediate_size=12288, moe_intermediate_size=2048,
        num_hidden_layers=36, num_attention_heads=32, num_key_value_heads=32, n_shared_experts=1, n_routed_experts=128,
        num_experts_per_tok=4, n_group=1, topk_group=1, first_k_dense_replace=0, norm_topk_prob=True, routed_scaling_factor=1.0,
        kv_lora_rank=256, q_lora_rank=1024, qk_rope_head_dim=64, qk_nope_head_dim=64, v_head_dim=128, head_dim=128,
        max_position_embeddings=1048576, rms_norm_eps=1e-6, rope_interleave=True, tie_word_embeddings=False,
        rope_parameters=dict(
            type="yarn", rope_type="yarn", rope_theta=10000.0, factor=128.0, original_max_position_embeddings=8192,
            max_position_embeddings=1048576, beta_fast=32.0, beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0,
            llama_4_scaling_beta=0.1,
        ),
    ),
}


def shapes(raw):
    config = transformers.AutoConfig.for_model(**raw)
    # transformers 5.18 registers Mistral 4 among models that see images.
    auto = transformers.AutoModelForImageTextToText if raw["model_type"] == "mistral4" else transformers.AutoModelForCausalLM
    with torch.device("meta"):
        model = auto.from_config(config)
    tied = getattr(model.config, "tie_word_embeddings", False)
    state = {key: tuple(value.shape) for key, value in experts_apart(model, model.state_dict()).items()}
    # xIELU's constants are stored, too, and are the same in every model.
    constants = (".act_fn.beta", ".act_fn.eps")
    return {key: shape for key, shape in state.items() if not key.endswith(constants) and not (tied and key == "lm_head.weight")}


if __name__ == "__main__":
    found = {}
    for name, raw in MODELS.items():
        state = shapes(raw)
        lines = "".join(f"{key} {'x'.join(map(str, shape))}\n" for key, shape in sorted(state.items()))
        parameters = sum(torch.Size(shape).numel() for shape in state.values())
        found[name] = dict(
            config=raw, parameters=parameters, tensors=len(state), sha256=hashlib.sha256(lines.encode()).hexdigest()
        )
        print(f"{name}: {parameters:,} in {len(state)} tensors")
    OUT.write_text(json.dumps(dict(generator=f"transformers {transformers.__version__}", models=found), indent=1) + "\n")
