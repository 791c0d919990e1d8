"""Tiny random checkpoints of every architecture, with what transformers computes from them.

Writes test/golden/models/<name>/{config.json,model.safetensors,golden.json,gradients.safetensors}. Everything is computed in
float32 on one CPU thread; gradients are stored as float16, divided by their tensor's largest entry (in the metadata).

    python reference/tiny_checkpoints.py [NAME ...]         # needs torch, transformers, safetensors
"""

import json
import math
import sys
import zlib
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import (
    AfmoeConfig,
    ApertusConfig,
    ArceeConfig,
    AriaConfig,
    AriaTextConfig,
    AXK1Config,
    AyaVisionConfig,
    BambaConfig,
    BioGptConfig,
    BloomConfig,
    CodeGenConfig,
    Cohere2Config,
    Cohere2MoeConfig,
    Cohere2VisionConfig,
    CohereConfig,
    CwmConfig,
    DeepseekV2Config,
    DeepseekV3Config,
    DeepseekVLConfig,
    DogeConfig,
    Dots1Config,
    Ernie4_5_MoeConfig,
    Ernie4_5Config,
    Exaone4_5_Config,
    Exaone4Config,
    ExaoneMoeConfig,
    FalconConfig,
    FalconH1Config,
    FalconMambaConfig,
    FlexOlmoConfig,
    Gemma2Config,
    Gemma3Config,
    Gemma3nTextConfig,
    Gemma3TextConfig,
    Gemma4Config,
    Gemma4TextConfig,
    Gemma4UnifiedConfig,
    GemmaConfig,
    Glm46VConfig,
    Glm4Config,
    Glm4MoeConfig,
    Glm4MoeLiteConfig,
    Glm4vConfig,
    Glm4vMoeConfig,
    GlmConfig,
    GPT2Config,
    GPTBigCodeConfig,
    GPTJConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    GptOssConfig,
    Granite4VisionConfig,
    GraniteConfig,
    GraniteMoeConfig,
    GraniteMoeHybridConfig,
    GraniteMoeSharedConfig,
    GraniteMoeSWAConfig,
    GraniteSWAConfig,
    HeliumConfig,
    HunYuanDenseV1Config,
    HunYuanMoEV1Config,
    HyperCLOVAXConfig,
    HYV3Config,
    Idefics2Config,
    InternVLConfig,
    Jais2Config,
    JambaConfig,
    LagunaConfig,
    Lfm2Config,
    Lfm2MoeConfig,
    Lfm2VlConfig,
    Llama4Config,
    Llama4TextConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaNextConfig,
    LlavaNextVideoConfig,
    LlavaOnevisionConfig,
    Mamba2Config,
    MambaConfig,
    MellumConfig,
    MiMoV2FlashConfig,
    MiniCPM3Config,
    MiniCPMV4_6Config,
    MiniMaxM2Config,
    MinistralConfig,
    Mistral3Config,
    Mistral4Config,
    MistralConfig,
    MixtralConfig,
    MllamaConfig,
    MptConfig,
    MuseGlimmerConfig,
    NanoChatConfig,
    NemotronConfig,
    NemotronHConfig,
    Olmo2Config,
    Olmo3Config,
    OlmoConfig,
    OlmoeConfig,
    OlmoHybridConfig,
    OPTConfig,
    Ovis2Config,
    PersimmonConfig,
    Phi3Config,
    PhiConfig,
    PhimoeConfig,
    Qwen2_5_VLConfig,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen2VLConfig,
    Qwen3_5Config,
    Qwen3_5MoeConfig,
    Qwen3_5MoeTextConfig,
    Qwen3_5TextConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    Qwen3NextConfig,
    Qwen3VLConfig,
    Qwen3VLMoeConfig,
    SeedOssConfig,
    SmolLM3Config,
    SmolVLMConfig,
    SolarOpenConfig,
    StableLmConfig,
    Starcoder2Config,
    VaultGemmaConfig,
    VideoLlama3Config,
    VideoLlavaConfig,
    VipLlavaConfig,
    XGLMConfig,
    YoutuConfig,
)

OUT = Path(__file__).resolve().parent.parent / "test" / "golden" / "models"
VOCAB = 40
STEPS = 10
IGNORE = -100

common = dict(
    vocab_size=VOCAB,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=32,
    bos_token_id=1,
    eos_token_id=None,
    pad_token_id=0,
)


def rope(kind, **fields):
    return dict(rope_parameters={"rope_type": kind, "rope_theta": 10000.0, **fields})


def partial(share):
    return rope("default", partial_rotary_factor=share)


many_heads = {key: value for key, value in common.items() if key != "num_key_value_heads"}
falcon = {key: value for key, value in many_heads.items() if key != "intermediate_size"}

def siglip(**more):
    return dict(
        hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8, **more
    )


def siglip_tower():
    return dict(model_type="siglip_vision_model", vision_use_head=False, **siglip())


clip_tower = dict(model_type="clip_vision_model", projection_dim=8, **siglip())
glm_sight = dict(
    depth=1, patch_size=4, temporal_patch_size=1, spatial_merge_size=1, hidden_size=8, num_heads=2, intermediate_size=8, out_hidden_size=16,
    image_size=16,
)


def text(**more):
    return {**common, **more}


mrope = dict(rope_parameters={"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 1, 1]})
qwen_sight = dict(depth=1, patch_size=4, temporal_patch_size=1, spatial_merge_size=1)
# Value heads more numerous than key heads.
delta_net = dict(
    head_dim=16,
    linear_num_key_heads=2,
    linear_num_value_heads=4,
    linear_key_head_dim=12,
    linear_value_head_dim=6,
    linear_conv_kernel_dim=4,
)
few_experts = dict(num_experts=5, num_experts_per_tok=2, moe_intermediate_size=8, shared_expert_intermediate_size=12)
image_tokens = dict(image_token_id=2, video_token_id=3, vision_start_token_id=4, vision_end_token_id=5)
latent = {
    **common,
    "num_key_value_heads": 4,
    "kv_lora_rank": 6,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 4,
    "v_head_dim": 5,
    "moe_intermediate_size": 12,
}

falcon_mamba = dict(mamba_n_heads=4, mamba_n_groups=2, mamba_d_state=6, mamba_chunk_size=4, mamba_d_conv=3)
granite_mamba = dict(
    mamba_n_heads=4, mamba_n_groups=2, mamba_d_state=6, mamba_chunk_size=4, mamba_d_conv=3, num_local_experts=0, shared_intermediate_size=20
)

nemotron_mamba = dict(mamba_num_heads=4, mamba_head_dim=6, n_groups=2, ssm_state_size=5, conv_kernel=3, chunk_size=4)
nemotron_experts = dict(n_routed_experts=6, num_experts_per_tok=2, moe_intermediate_size=12, moe_shared_expert_intermediate_size=20)

CONFIGS = {
    "llama": LlamaConfig(**common),
    "llama_biased_tied": LlamaConfig(**common, attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    "llama_linear": LlamaConfig(**common, **rope("linear", factor=4.0)),
    "llama_dynamic": LlamaConfig(**{**common, "max_position_embeddings": 8}, **rope("dynamic", factor=2.0)),
    "llama_llama3": LlamaConfig(
        **{**common, "hidden_size": 32},
        **rope(
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=12,
        ),
    ),
    "llama_yarn": LlamaConfig(
        **{**common, "hidden_size": 32}, **rope("yarn", factor=4.0, original_max_position_embeddings=12)
    ),
    "mistral": MistralConfig(**common, sliding_window=4),
    "qwen2": Qwen2Config(
        **common, tie_word_embeddings=True, use_sliding_window=True, sliding_window=3, max_window_layers=1
    ),
    "qwen3": Qwen3Config(**common, head_dim=8),
    "gpt2": GPT2Config(
        vocab_size=VOCAB, n_positions=32, n_embd=16, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=None
    ),
    "gpt2_by_layer": GPT2Config(
        vocab_size=VOCAB,
        n_positions=32,
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_inner=20,
        scale_attn_by_inverse_layer_idx=True,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=None,
    ),
    "opt": OPTConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        ffn_dim=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=32,
        word_embed_proj_dim=16,
        eos_token_id=None,
        pad_token_id=0,
    ),
    "opt_350m": OPTConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        ffn_dim=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=32,
        word_embed_proj_dim=8,
        do_layer_norm_before=False,
        eos_token_id=None,
        pad_token_id=0,
    ),
    "gpt_neo": GPTNeoConfig(
        vocab_size=VOCAB,
        max_position_embeddings=32,
        hidden_size=16,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=4,
        bos_token_id=1,
        eos_token_id=None,
    ),
    "gemma": GemmaConfig(**common, head_dim=8),
    "phi": PhiConfig(**common),
    "phi_headnorm": PhiConfig(**common, qk_layernorm=True),
    "llama_wide_heads": LlamaConfig(**{**common, "num_key_value_heads": 1}, head_dim=8),
    "opt_no_bias": OPTConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        ffn_dim=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=32,
        word_embed_proj_dim=16,
        enable_bias=False,
        activation_function="gelu",
        eos_token_id=None,
        pad_token_id=0,
    ),
    "gpt2_unscaled": GPT2Config(
        vocab_size=VOCAB,
        n_positions=32,
        n_embd=16,
        n_layer=2,
        n_head=4,
        scale_attn_weights=False,
        activation_function="gelu",
        bos_token_id=1,
        eos_token_id=None,
    ),
    # Caps low enough that scores and logits feel them.
    "gemma2": Gemma2Config(
        **{**common, "num_hidden_layers": 3},
        head_dim=8,
        query_pre_attn_scalar=5,
        sliding_window=4,
        attn_logit_softcapping=1.5,
        final_logit_softcapping=2.0,
    ),
    "gemma2_uncapped": Gemma2Config(
        **common,
        head_dim=8,
        sliding_window=6,
        layer_types=["full_attention", "sliding_attention"],
        attn_logit_softcapping=None,
        final_logit_softcapping=None,
    ),
    "gemma3": Gemma3TextConfig(
        **{**common, "num_hidden_layers": 3},
        head_dim=8,
        query_pre_attn_scalar=5,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        },
    ),
    "smollm3": SmolLM3Config(
        **{**common, "num_hidden_layers": 3},
        no_rope_layers=[1, 0, 1],
        use_sliding_window=True,
        sliding_window=4,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
    ),
    # The third document is longer than the model's first length, and the prompt grows past it.
    "phi3": Phi3Config(
        **{**common, "original_max_position_embeddings": 12},
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 100.0,
            "partial_rotary_factor": 1.0,
            "short_factor": [1.0, 1.5],
            "long_factor": [2.0, 6.0],
        },
    ),
    "phi3_partial": Phi3Config(
        **{**common, "num_attention_heads": 2},
        sliding_window=4,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.75},
    ),
    "olmo2": Olmo2Config(**common),
    "olmo": OlmoConfig(**common, clip_qkv=0.8),
    "granite": GraniteConfig(
        **common,
        tie_word_embeddings=True,
        embedding_multiplier=3.0,
        attention_multiplier=0.4,
        residual_multiplier=0.7,
        logits_scaling=2.5,
    ),
    "helium": HeliumConfig(**common, head_dim=4, attention_bias=True),
    "cohere": CohereConfig(**common, logit_scale=0.4),
    "starcoder2": Starcoder2Config(**common, sliding_window=4),
    "stablelm": StableLmConfig(
        **{**common, "num_attention_heads": 2, "num_key_value_heads": 1}, use_qkv_bias=True
    ),
    "stablelm_parallel": StableLmConfig(**common, **partial(0.5), qk_layernorm=True, use_parallel_residual=True),
    "gpt_neox": GPTNeoXConfig(**many_heads, **partial(0.5)),
    "gpt_neox_in_turn": GPTNeoXConfig(
        **many_heads, **partial(1.0), use_parallel_residual=False, attention_bias=False, tie_word_embeddings=True
    ),
    "falcon": FalconConfig(**falcon),
    "falcon_groups": FalconConfig(**falcon, new_decoder_architecture=True, num_kv_heads=2, tie_word_embeddings=False),
    "falcon_in_turn": FalconConfig(**falcon, multi_query=False, parallel_attn=False, bias=True),
    # Six heads: some slopes are of twice as many. transformers rounds them to bfloat16.
    "falcon_alibi": FalconConfig(
        **{**falcon, "hidden_size": 24, "num_attention_heads": 6}, alibi=True, multi_query=False, parallel_attn=False, bias=True
    ),
    "bloom": BloomConfig(vocab_size=VOCAB, hidden_size=24, n_layer=2, n_head=6, bos_token_id=1, eos_token_id=None, pad_token_id=0),
    "gptj": GPTJConfig(
        vocab_size=VOCAB, n_positions=32, n_embd=16, n_layer=2, n_head=2, rotary_dim=4, bos_token_id=1, eos_token_id=None
    ),
    "olmo3": Olmo3Config(
        **common,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
        rope_parameters={
            "full_attention": {
                "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 12, "rope_theta": 1000.0
            },
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        },
    ),
    "mixtral": MixtralConfig(**common, num_local_experts=4, sliding_window=4),
    # The loss has its load-balancing part.
    "mixtral_balanced": MixtralConfig(
        **common, num_local_experts=5, num_experts_per_tok=3, output_router_logits=True, router_aux_loss_coef=0.2
    ),
    "qwen2_moe": Qwen2MoeConfig(
        **common,
        num_experts=5,
        num_experts_per_tok=2,
        moe_intermediate_size=12,
        shared_expert_intermediate_size=20,
        use_sliding_window=True,
        sliding_window=4,
    ),
    "qwen2_moe_mixed": Qwen2MoeConfig(
        **{**common, "num_hidden_layers": 4},
        num_experts=4,
        num_experts_per_tok=2,
        norm_topk_prob=True,
        moe_intermediate_size=12,
        shared_expert_intermediate_size=8,
        decoder_sparse_step=2,
        mlp_only_layers=[3],
        qkv_bias=False,
        output_router_logits=True,
        router_aux_loss_coef=0.5,
    ),
    "qwen3_moe": Qwen3MoeConfig(
        **common, head_dim=8, num_experts=6, num_experts_per_tok=3, moe_intermediate_size=8, norm_topk_prob=True
    ),
    "gpt_oss": GptOssConfig(
        **common,
        head_dim=8,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=4,
        **rope("yarn", factor=4.0, beta_fast=32.0, beta_slow=1.0, truncate=False, original_max_position_embeddings=8),
    ),
    "gpt_oss_balanced": GptOssConfig(
        **{**common, "num_hidden_layers": 3, "hidden_size": 12},
        head_dim=4,
        num_local_experts=5,
        num_experts_per_tok=3,
        sliding_window=6,
        layer_types=["full_attention", "sliding_attention", "full_attention"],
        attention_bias=False,
        tie_word_embeddings=True,
        output_router_logits=True,
        router_aux_loss_coef=0.2,
        **rope("default"),
    ),
    "olmoe": OlmoeConfig(
        **common, num_experts=4, num_experts_per_tok=2, clip_qkv=0.8, output_router_logits=True, router_aux_loss_coef=0.3
    ),
    # Models that see images too: what is compared is their text part.
    "gemma3_image": Gemma3Config(
        text_config=text(
            num_hidden_layers=3,
            head_dim=8,
            sliding_window=4,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
        vision_config=siglip(vision_use_head=False),
        mm_tokens_per_image=4,
        image_token_index=39,
    ),
    # Queries grow with their positions: from the fourth on here.
    "mistral3": Mistral3Config(
        text_config=text(
            model_type="ministral3",
            head_dim=8,
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 100.0,
                "factor": 8.0,
                "original_max_position_embeddings": 4,
                "mscale": 1.0,
                "mscale_all_dim": 1.0,
                "llama_4_scaling_beta": 0.3,
            },
        ),
        vision_config=dict(
            model_type="pixtral", hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2, head_dim=4,
            image_size=16, patch_size=8,
        ),
        image_token_index=39,
        tie_word_embeddings=False,
    ),
    "qwen2_vl": Qwen2VLConfig(
        text_config=text(hidden_size=32, use_sliding_window=True, sliding_window=3, max_window_layers=1, **mrope),
        vision_config=dict(embed_dim=8, hidden_size=32, num_heads=2, **qwen_sight),
        **image_tokens,
    ),
    "qwen2_5_vl": Qwen2_5_VLConfig(
        text_config=text(hidden_size=32, **mrope),
        vision_config=dict(hidden_size=8, out_hidden_size=32, intermediate_size=12, num_heads=2, **qwen_sight),
        tie_word_embeddings=True,
        **image_tokens,
    ),
    "qwen3_vl": Qwen3VLConfig(
        text_config=text(head_dim=8, **mrope),
        vision_config=dict(
            hidden_size=8, out_hidden_size=16, intermediate_size=12, num_heads=2, num_position_embeddings=4,
            deepstack_visual_indexes=[0], **qwen_sight,
        ),
        tie_word_embeddings=True,
        **image_tokens,
    ),
    "smolvlm": SmolVLMConfig(
        text_config=text(model_type="llama"), vision_config=siglip(), image_token_id=39, pad_token_id=0
    ),
    "llava": LlavaConfig(
        text_config=text(model_type="qwen2"),
        vision_config=dict(model_type="siglip_vision_model", vision_use_head=False, **siglip()),
        image_token_index=39,
        vision_feature_layer=-1,
    ),
    "internvl": InternVLConfig(
        text_config=text(model_type="qwen3", head_dim=8), vision_config=siglip(), tie_word_embeddings=False, image_token_id=39,
    ),
    # What Granite divides logits by, and Cohere multiplies them by, is left out within others.
    "llava_next": LlavaNextConfig(
        text_config=text(model_type="granite", logits_scaling=4.0, embedding_multiplier=3.0, residual_multiplier=0.7),
        vision_config=siglip_tower(), image_token_index=39,
    ),
    "llava_next_video": LlavaNextVideoConfig(
        text_config=text(model_type="mistral"), vision_config=clip_tower, image_token_index=39, video_token_index=38,
    ),
    "llava_onevision": LlavaOnevisionConfig(
        text_config=text(model_type="qwen2", tie_word_embeddings=True), vision_config=siglip_tower(), image_token_index=39, video_token_index=38,
    ),
    "video_llava": VideoLlavaConfig(
        text_config=text(model_type="llama"), vision_config=clip_tower, image_token_index=39, video_token_index=38,
    ),
    "vipllava": VipLlavaConfig(
        text_config=text(model_type="llama"), vision_config=clip_tower, image_token_index=39, vision_feature_layers=[-1],
    ),
    "idefics2": Idefics2Config(
        text_config=text(model_type="mistral", sliding_window=4),
        vision_config=siglip(),
        perceiver_config=dict(
            hidden_size=16, resampler_n_latents=2, resampler_depth=1, resampler_n_heads=2, resampler_head_dim=4, num_key_value_heads=1,
        ),
        image_token_id=39,
    ),
    "aya_vision": AyaVisionConfig(
        text_config=text(model_type="cohere2", sliding_window=4, layer_types=["sliding_attention", "full_attention"]),
        vision_config=siglip_tower(), image_token_index=39,
    ),
    "cohere2_vision": Cohere2VisionConfig(
        text_config=text(model_type="cohere2", sliding_window=4, layer_types=["sliding_attention", "full_attention"]),
        vision_config=siglip_tower(), image_token_id=39, alignment_intermediate_size=24, tie_word_embeddings=False,
    ),
    "ovis2": Ovis2Config(
        text_config=text(model_type="qwen2"),
        vision_config=dict(hidden_stride=2, num_visual_indicator_tokens=5, vocab_size=20, **siglip()),
        hidden_size=16,
        vocab_size=VOCAB,
        image_token_id=39,
        visual_indicator_token_ids=[34, 35, 36, 37, 38],
    ),
    "granite4_vision": Granite4VisionConfig(
        text_config=text(logits_scaling=4.0, embedding_multiplier=3.0, residual_multiplier=0.7, attention_multiplier=0.4),
        vision_config=siglip_tower(),
        image_token_index=39,
        downsample_rate="1/2",
        deepstack_layer_map=[[-1, 0]],
        spatial_target_layers=[0],
        qformer_config=dict(
            model_type="blip_2_qformer", hidden_size=8, num_attention_heads=2, intermediate_size=8, num_hidden_layers=1,
            encoder_hidden_size=8, use_qformer_text_input=False,
        ),
    ),
    "deepseek_vl": DeepseekVLConfig(text_config=text(model_type="llama"), vision_config=siglip_tower(), image_token_id=39),
    "video_llama_3": VideoLlama3Config(text_config=text(model_type="qwen2"), vision_config=siglip(), image_token_id=39, video_token_id=38),
    "minicpmv4_6": MiniCPMV4_6Config(
        text_config=text(
            model_type="qwen3_5_text", layer_types=["linear_attention", "full_attention"], **delta_net, **partial(0.25)
        ),
        vision_config=siglip(),
        insert_layer_id=0,
        image_token_id=39,
        video_token_id=38,
    ),
    "aria_text": AriaTextConfig(
        **{**common, "intermediate_size": 12, "num_hidden_layers": 1}, moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1, attention_bias=True,
    ),
    "aria_image": AriaConfig(
        text_config=text(model_type="aria_text", intermediate_size=12, num_hidden_layers=1, moe_num_experts=4, moe_topk=2, moe_num_shared_experts=2),
        vision_config=dict(model_type="idefics3_vision", **siglip()),
        projector_patch_to_query_dict={4: 2},
        image_token_index=39,
    ),
    "muse_glimmer": MuseGlimmerConfig(
        text_config=text(
            num_hidden_layers=3, head_dim=8, sliding_window=4, layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            layer_rope_theta=[100.0, 0, 100.0], rope_parameters=dict(rope_type="default", rope_theta=100.0), final_logit_softcapping=2.0,
            output_multiplier=0.4, post_norm_eps=0.01,
        ),
        vision_config=dict(
            patch_size=4, pos_emb_height=4, pos_emb_width=4, num_attention_heads=2, num_hidden_layers=1, hidden_size=8,
            intermediate_size=12, patch_temporal=1, merge_size=1, max_position_embeddings=16, layer_types=["full_attention"],
        ),
        projector_hidden_size=12,
        out_hidden_size=8,
        image_token_id=39,
        video_token_id=38,
    ),
    "glm4v": Glm4vConfig(
        text_config=text(rope_parameters=dict(rope_type="default", rope_theta=100.0, partial_rotary_factor=0.5, mrope_section=[1, 0, 0])),
        vision_config=glm_sight, image_token_id=39, video_token_id=38,
    ),
    "glm46v": Glm46VConfig(
        text_config=text(model_type="glm4v_text", rope_parameters=dict(rope_type="default", rope_theta=100.0, mrope_section=[1, 1, 0])),
        vision_config=glm_sight, image_token_id=39, video_token_id=38,
    ),
    "glm4v_moe": Glm4vMoeConfig(
        text_config=text(
            n_routed_experts=6,
            n_group=2,
            topk_group=1,
            moe_intermediate_size=12,
            num_experts_per_tok=2,
            routed_scaling_factor=1.5,
            rope_parameters=dict(rope_type="default", rope_theta=100.0, partial_rotary_factor=0.5, mrope_section=[1, 0, 0]),
        ),
        vision_config=glm_sight, image_token_id=39, video_token_id=38,
    ),
    "cohere2": Cohere2Config(
        **{**common, "num_hidden_layers": 3},
        logit_scale=0.4,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "glm": GlmConfig(**common, head_dim=8, **partial(0.5)),
    "glm4": Glm4Config(**common, head_dim=8, attention_bias=False, **partial(0.5)),
    "exaone4": Exaone4Config(
        **{**common, "num_hidden_layers": 3},
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "exaone4_full": Exaone4Config(
        **common, sliding_window=None, layer_types=["full_attention"] * 2, tie_word_embeddings=True
    ),
    "ernie4_5": Ernie4_5Config(**common, head_dim=8, use_bias=True),
    "seed_oss": SeedOssConfig(**common, head_dim=8, attention_out_bias=True),
    "hunyuan_v1_dense": HunYuanDenseV1Config(
        **{**common, "num_attention_heads": 2, "num_key_value_heads": 1},
        head_dim=8,
        **rope("dynamic", alpha=50.0, factor=1.0),
    ),
    "lfm2": Lfm2Config(
        **{**common, "num_hidden_layers": 3},
        layer_types=["conv", "full_attention", "conv"],
        block_multiple_of=8,
        **rope("default"),
    ),
    "lfm2_biased": Lfm2Config(
        **{**common, "num_hidden_layers": 3},
        full_attn_idxs=[2],
        conv_L_cache=4,
        conv_bias=True,
        block_auto_adjust_ff_dim=False,
        tie_word_embeddings=False,
    ),
    "arcee": ArceeConfig(**common, head_dim=8),
    "nemotron": NemotronConfig(**common, head_dim=8),
    "jais2": Jais2Config(**common),
    "nanochat": NanoChatConfig(**common, final_logit_softcapping=2.0),
    "cohere_head_norms": CohereConfig(**common, logit_scale=0.4, use_qk_norm=True),
    "ministral": MinistralConfig(
        **common, head_dim=8, sliding_window=4, layer_types=["full_attention", "sliding_attention"]
    ),
    "cwm": CwmConfig(**common, head_dim=8, sliding_window=4),
    "hyperclovax": HyperCLOVAXConfig(
        **common,
        embedding_multiplier=3.0,
        attention_multiplier=0.4,
        residual_multiplier=0.7,
        logits_scaling=0.4,
    ),
    "granite_swa": GraniteSWAConfig(
        **{**common, "num_hidden_layers": 3},
        sliding_window=4,
        layer_rope_theta=[1000.0, 0, 100.0],
        embedding_multiplier=3.0,
        attention_multiplier=0.4,
        residual_multiplier=0.7,
        logits_scaling=2.5,
    ),
    "gpt_bigcode": GPTBigCodeConfig(
        vocab_size=VOCAB, n_positions=32, n_embd=16, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=None
    ),
    "gpt_bigcode_many_heads": GPTBigCodeConfig(
        vocab_size=VOCAB, n_positions=32, n_embd=16, n_layer=2, n_head=2, n_inner=24, multi_query=False,
        scale_attn_weights=False, bos_token_id=1, eos_token_id=None
    ),
    # Six heads: their slopes are of eight.
    "mpt": MptConfig(
        vocab_size=VOCAB, d_model=24, n_layers=2, n_heads=6, max_seq_len=32, attn_config=dict(clip_qkv=0.8, softmax_scale=0.7)
    ),
    "exaone4_5": Exaone4_5_Config(
        text_config=text(
            num_hidden_layers=3,
            sliding_window=4,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
        vision_config=dict(
            hidden_size=8, out_hidden_size=16, intermediate_size=12, num_heads=2, num_key_value_heads=1, fullatt_block_indexes=[0],
            **qwen_sight,
        ),
        image_token_id=2,
        video_token_id=3,
    ),
    "granite_hybrid": GraniteMoeHybridConfig(
        **{**common, "num_hidden_layers": 3},
        **granite_mamba,
        layer_types=["mamba", "attention", "mamba"],
        tie_word_embeddings=True,
        embedding_multiplier=3.0,
        attention_multiplier=0.4,
        residual_multiplier=0.7,
        logits_scaling=2.5,
    ),
    # Attention alone, as in the smallest; rates are held within a range.
    "granite_hybrid_attention": GraniteMoeHybridConfig(
        **common, **granite_mamba, layer_types=["attention"] * 2, position_embedding_type="rope", attention_bias=True,
    ),
    "granite_hybrid_bounded": GraniteMoeHybridConfig(
        **common, **granite_mamba, layer_types=["attention", "mamba"], mamba_proj_bias=True, mamba_conv_bias=False,
        time_step_limit=[0.5, 0.9],
    ),
    "deepseek_v2": DeepseekV2Config(
        **latent,
        q_lora_rank=None,
        first_k_dense_replace=1,
        n_routed_experts=5,
        num_experts_per_tok=3,
        **rope(
            "yarn",
            factor=4.0,
            beta_fast=32.0,
            beta_slow=1.0,
            mscale=0.707,
            mscale_all_dim=0.707,
            original_max_position_embeddings=12,
        ),
    ),
    "deepseek_v2_groups": DeepseekV2Config(
        **latent,
        q_lora_rank=8,
        n_routed_experts=8,
        num_experts_per_tok=3,
        topk_method="group_limited_greedy",
        n_group=4,
        topk_group=2,
        routed_scaling_factor=4.0,
        attention_bias=True,
    ),
    "deepseek_v3": DeepseekV3Config(
        **{**latent, "num_hidden_layers": 3},
        q_lora_rank=8,
        first_k_dense_replace=1,
        n_routed_experts=8,
        num_experts_per_tok=3,
        n_group=4,
        topk_group=2,
        **rope(
            "yarn",
            factor=4.0,
            beta_fast=32.0,
            beta_slow=1.0,
            mscale=1.0,
            mscale_all_dim=1.0,
            original_max_position_embeddings=12,
        ),
    ),
    # As Moonlight; pairs that turn lie apart.
    "deepseek_v3_flat": DeepseekV3Config(
        **latent,
        q_lora_rank=None,
        first_k_dense_replace=0,
        n_routed_experts=6,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        routed_scaling_factor=1.5,
        norm_topk_prob=False,
        rope_interleave=False,
        tie_word_embeddings=True,
    ),
    "glm4_moe": Glm4MoeConfig(
        **common,
        head_dim=8,
        moe_intermediate_size=8,
        n_routed_experts=6,
        num_experts_per_tok=2,
        use_qk_norm=True,
        attention_bias=True,
        routed_scaling_factor=1.5,
        **partial(0.5),
    ),
    "glm4_moe_lite": Glm4MoeLiteConfig(
        **{**latent, "v_head_dim": 10, "moe_intermediate_size": 8},
        q_lora_rank=8,
        n_routed_experts=5,
        num_experts_per_tok=2,
        mlp_layer_types=["sparse", "dense"],
    ),
    "dots1": Dots1Config(
        **common,
        head_dim=8,
        moe_intermediate_size=8,
        n_shared_experts=2,
        n_routed_experts=5,
        num_experts_per_tok=2,
        first_k_dense_replace=1,
        norm_topk_prob=True,
        routed_scaling_factor=2.5,
        sliding_window=4,
        max_window_layers=1,
    ),
    # The loss has its load-balancing part.
    "ernie4_5_moe": Ernie4_5_MoeConfig(
        **common,
        moe_intermediate_size=8,
        moe_num_experts=5,
        moe_k=2,
        tie_word_embeddings=False,
        output_router_logits=True,
        router_aux_loss_coef=0.2,
    ),
    "hunyuan_v1_moe": HunYuanMoEV1Config(
        **{**common, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 12},
        head_dim=8,
        num_experts=5,
        moe_topk=2,
        **rope("dynamic", alpha=50.0, factor=1.0),
    ),
    "minicpm3": MiniCPM3Config(
        **{key: value for key, value in latent.items() if key not in ("v_head_dim", "moe_intermediate_size")},
        q_lora_rank=8,
        scale_emb=3,
        dim_model_base=8,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 100.0,
            "factor": 2.0,
            "original_max_position_embeddings": 12,
            "short_factor": [1.0, 1.5],
            "long_factor": [2.0, 6.0],
        },
    ),
    "youtu": YoutuConfig(**{key: value for key, value in latent.items() if key != "moe_intermediate_size"}, q_lora_rank=8),
    "apertus": ApertusConfig(
        **common,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 1000.0,
            "factor": 8.0,
            "original_max_position_embeddings": 16,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
        },
    ),
    # As E2B and E4B: layers 3 and 4 read keys and values of layers 2 and 1.
    "gemma4": Gemma4TextConfig(
        **{**common, "num_hidden_layers": 5},
        head_dim=8,
        global_head_dim=12,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "full_attention"],
        num_kv_shared_layers=2,
        use_double_wide_mlp=True,
        # Of few numbers some rows are nearly 0, which a norm makes large.
        hidden_size_per_layer_input=12,
        vocab_size_per_layer_input=VOCAB,
        final_logit_softcapping=8.0,
    ),
    # As 26B-A4B, and 31B without the experts: keys are values where all is seen.
    "gemma4_experts": Gemma4TextConfig(
        **common,
        head_dim=8,
        global_head_dim=16,
        num_global_key_value_heads=1,
        attention_k_eq_v=True,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
        hidden_size_per_layer_input=0,
        enable_moe_block=True,
        num_experts=4,
        top_k_experts=2,
        moe_intermediate_size=8,
        use_bidirectional_attention="vision",
    ),
    "gemma4_image": Gemma4Config(
        text_config=text(
            num_hidden_layers=3,
            head_dim=8,
            global_head_dim=12,
            sliding_window=4,
            layer_types=["full_attention", "sliding_attention", "full_attention"],
            num_kv_shared_layers=1,
            hidden_size_per_layer_input=12,
            vocab_size_per_layer_input=VOCAB,
        ),
        vision_config=dict(
            hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, head_dim=4,
            patch_size=4, position_embedding_size=4,
        ),
        audio_config=None,
        image_token_id=40, video_token_id=41, audio_token_id=42,
    ),
    "gemma4_unified": Gemma4UnifiedConfig(
        text_config=text(
            head_dim=4,
            global_head_dim=8,
            num_global_key_value_heads=1,
            attention_k_eq_v=True,
            sliding_window=4,
            layer_types=["sliding_attention", "full_attention"],
        ),
        vision_config=dict(patch_size=4, pooling_kernel_size=1, mm_embed_dim=8, mm_posemb_size=4, output_proj_dims=8),
        audio_config=dict(audio_embed_dim=8),
        image_token_id=40, video_token_id=41, audio_token_id=42,
    ),
    "lfm2_moe": Lfm2MoeConfig(
        **{**common, "num_hidden_layers": 3},
        layer_types=["conv", "full_attention", "conv"],
        num_dense_layers=1,
        moe_intermediate_size=12,
        num_experts=5,
        num_experts_per_tok=2,
        routed_scaling_factor=1.5,
        **rope("default"),
    ),
    "lfm2_moe_plain": Lfm2MoeConfig(
        **common,
        layer_types=["full_attention", "conv"],
        num_dense_layers=0,
        moe_intermediate_size=12,
        num_experts=4,
        num_experts_per_tok=2,
        use_expert_bias=False,
        norm_topk_prob=False,
        tie_word_embeddings=False,
        **rope("default"),
    ),
    "falcon_h1": FalconH1Config(
        **common,
        **falcon_mamba,
        mamba_d_ssm=24,
        embedding_multiplier=2.0,
        lm_head_multiplier=0.5,
        key_multiplier=0.6,
        attention_in_multiplier=0.9,
        attention_out_multiplier=0.8,
        ssm_in_multiplier=1.2,
        ssm_out_multiplier=0.7,
        ssm_multipliers=[0.5, 0.7, 1.2, 0.8, 1.5],
        mlp_multipliers=[0.8, 1.3],
        **rope("default"),
    ),
    "falcon_h1_normed": FalconH1Config(
        **common, **falcon_mamba, mamba_d_ssm=24, mamba_rms_norm=True, mamba_norm_before_gate=False, tie_word_embeddings=True
    ),
    "falcon_h1_normed_first": FalconH1Config(
        **common, **falcon_mamba, mamba_d_ssm=None, mamba_rms_norm=True, attention_bias=True, mlp_bias=True
    ),
    "bamba": BambaConfig(**{**common, "num_hidden_layers": 3}, **falcon_mamba, attn_layer_indices=[1]),
    "qwen3_5_text": Qwen3_5TextConfig(
        **{**common, "num_hidden_layers": 3},
        **delta_net,
        layer_types=["linear_attention", "full_attention", "linear_attention"],
        attention_bias=True,
    ),
    "qwen3_5_image": Qwen3_5Config(
        text_config=text(
            **delta_net,
            layer_types=["linear_attention", "full_attention"],
            rope_parameters={**mrope["rope_parameters"], "mrope_interleaved": True, "partial_rotary_factor": 0.5},
            mtp_num_hidden_layers=1,
            attn_output_gate=True,
        ),
        vision_config=dict(
            hidden_size=8, out_hidden_size=16, intermediate_size=12, num_heads=2, num_position_embeddings=4, **qwen_sight
        ),
        tie_word_embeddings=True,
        **image_tokens,
    ),
    "granite_hybrid_experts": GraniteMoeHybridConfig(
        **{**common, "intermediate_size": 12},
        **{**granite_mamba, "num_local_experts": 4},
        layer_types=["mamba", "attention"],
        num_experts_per_tok=2,
        residual_multiplier=0.7,
        output_router_logits=True,
        router_aux_loss_coef=0.2,
    ),
    "granitemoe": GraniteMoeConfig(
        **{**common, "intermediate_size": 12}, num_local_experts=4, num_experts_per_tok=2, embedding_multiplier=3.0, tie_word_embeddings=True
    ),
    "granitemoeshared": GraniteMoeSharedConfig(
        **{**common, "intermediate_size": 12}, num_local_experts=4, num_experts_per_tok=3, shared_intermediate_size=20
    ),
    "qwen3_next": Qwen3NextConfig(
        **{**common, "num_hidden_layers": 3},
        **delta_net,
        **few_experts,
        layer_types=["linear_attention", "full_attention", "linear_attention"],
        mlp_only_layers=[0],
        output_router_logits=True,
        router_aux_loss_coef=0.2,
    ),
    "qwen3_5_moe_text": Qwen3_5MoeTextConfig(
        **{key: value for key, value in common.items() if key != "intermediate_size"},
        **delta_net,
        **few_experts,
        layer_types=["linear_attention", "full_attention"],
    ),
    "qwen3_5_moe_image": Qwen3_5MoeConfig(
        text_config={
            **{key: value for key, value in common.items() if key != "intermediate_size"},
            **delta_net,
            **few_experts,
            "layer_types": ["full_attention", "linear_attention"],
        },
        vision_config=dict(
            hidden_size=8, out_hidden_size=16, intermediate_size=12, num_heads=2, num_position_embeddings=4, **qwen_sight
        ),
        **image_tokens,
    ),
    # The second and the last layer look at images alone.
    "mllama": MllamaConfig(
        text_config=text(num_hidden_layers=4, cross_attention_layers=[1, 3], **rope("default")),
        vision_config=dict(
            hidden_size=8, attention_heads=2, num_hidden_layers=1, num_global_layers=1, intermediate_size=12, vision_output_dim=16,
            image_size=16, patch_size=8, max_num_tiles=1, intermediate_layers_indices=[0], supported_aspect_ratios=[[1, 1]],
        ),
        image_token_index=39,
    ),
    # Layers 2 and 3 read keys and values of layers 1 and 0.
    "gemma3n": Gemma3nTextConfig(
        **{**common, "num_hidden_layers": 4, "intermediate_size": [24, 16, 24, 24]},
        head_dim=8,
        sliding_window=4,
        layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
        num_kv_shared_layers=2,
        hidden_size_per_layer_input=12,
        vocab_size_per_layer_input=VOCAB,
        altup_num_inputs=3,
        laurel_rank=4,
        activation_sparsity_pattern=[0.6, 0.0, 0.3, 0.0],
        final_logit_softcapping=8.0,
    ),
    "gemma3n_other_stream": Gemma3nTextConfig(
        **common,
        head_dim=8,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention"],
        num_kv_shared_layers=0,
        hidden_size_per_layer_input=12,
        vocab_size_per_layer_input=VOCAB,
        altup_num_inputs=2,
        altup_active_idx=1,
        altup_correct_scale=False,
        laurel_rank=4,
    ),
    "vaultgemma": VaultGemmaConfig(**common, head_dim=8, sliding_window=4, query_pre_attn_scalar=16, attn_logit_softcapping=3.0),
    # Queries grow from the third token on; of two groups of experts one is chosen.
    "mistral4": Mistral4Config(
        **latent,
        q_lora_rank=8,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=2,
        topk_group=1,
        routed_scaling_factor=1.5,
        first_k_dense_replace=1,
        **rope(
            "yarn", factor=4.0, original_max_position_embeddings=3, mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.4
        ),
    ),
    # Texts are longer than a chunk; the second layer knows no positions, and the third has no experts.
    "llama4": Llama4TextConfig(
        **{**common, "num_hidden_layers": 3},
        head_dim=8,
        intermediate_size_mlp=20,
        num_local_experts=4,
        moe_layers=[0, 1],
        no_rope_layers=[1, 0, 1],
        attention_chunk_size=4,
        floor_scale=3,
        attn_scale=0.5,
    ),
    # Two experts a token, no norms, and every layer as its number has it.
    "llama4_plain": Llama4TextConfig(
        **common,
        head_dim=8,
        intermediate_size_mlp=20,
        num_local_experts=4,
        num_experts_per_tok=2,
        interleave_moe_layer_step=2,
        no_rope_layer_interval=2,
        use_qk_norm=False,
        attn_temperature_tuning=False,
        attention_bias=True,
        tie_word_embeddings=True,
        attention_chunk_size=6,
    ),
    "llama4_image": Llama4Config(
        text_config=text(
            head_dim=8, intermediate_size_mlp=20, num_local_experts=3, interleave_moe_layer_step=2, attention_chunk_size=5,
            no_rope_layers=[1, 0], floor_scale=4, pad_token_id=0,
        ),
        vision_config=dict(
            hidden_size=8, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8,
            vision_output_dim=8, projector_input_dim=8, projector_output_dim=8, rope_parameters=dict(rope_theta=10000.0, rope_type="default"),
        ),
        image_token_index=39, boi_token_index=37, eoi_token_index=38,
    ),
    "qwen3_vl_moe": Qwen3VLMoeConfig(
        text_config=text(
            num_hidden_layers=3,
            head_dim=8,
            num_experts=5,
            num_experts_per_tok=2,
            moe_intermediate_size=12,
            mlp_only_layers=[1],
            attention_bias=True,
            output_router_logits=True,
            router_aux_loss_coef=0.2,
            **mrope,
        ),
        vision_config=dict(
            hidden_size=8, out_hidden_size=16, intermediate_size=12, num_heads=2, num_position_embeddings=4,
            deepstack_visual_indexes=[0], **qwen_sight,
        ),
        **image_tokens,
    ),
    # Rates are held above a bound that some reach.
    "nemotron_h": NemotronHConfig(
        **{key: value for key, value in common.items() if key != "num_hidden_layers"},
        **nemotron_mamba,
        hybrid_override_pattern="M-*M",
        head_dim=6,
        time_step_min=0.6,
        mlp_bias=True,
        use_bias=True,
    ),
    "nemotron_h_experts": NemotronHConfig(
        **{key: value for key, value in common.items() if key != "num_hidden_layers"},
        **nemotron_mamba,
        layers_block_type=["moe", "full_attention", "linear_attention", "moe"],
        head_dim=4,
        use_conv_bias=False,
        **nemotron_experts,
        n_group=2,
        topk_group=1,
        routed_scaling_factor=1.5,
    ),
    "nemotron_h_latent": NemotronHConfig(
        **{key: value for key, value in common.items() if key != "num_hidden_layers"},
        **nemotron_mamba,
        hybrid_override_pattern="*EM",
        head_dim=4,
        **nemotron_experts,
        moe_latent_size=8,
        norm_topk_prob=False,
        mlp_bias=True,
    ),
    "mamba2": Mamba2Config(
        vocab_size=VOCAB, hidden_size=12, num_hidden_layers=2, num_heads=4, head_dim=6, state_size=5, n_groups=2, conv_kernel=3, chunk_size=4,
        time_step_limit=(0.4, 1.1), bos_token_id=1, eos_token_id=None, pad_token_id=0,
    ),
    "mamba2_tied": Mamba2Config(
        vocab_size=VOCAB, hidden_size=12, num_hidden_layers=2, num_heads=4, head_dim=6, state_size=5, n_groups=1, chunk_size=4,
        use_bias=True, use_conv_bias=False, tie_word_embeddings=True, bos_token_id=1, eos_token_id=None, pad_token_id=0,
    ),
    "mamba": MambaConfig(
        vocab_size=VOCAB, hidden_size=12, num_hidden_layers=2, state_size=5, conv_kernel=3, bos_token_id=1, eos_token_id=None, pad_token_id=0,
    ),
    "mamba_biased": MambaConfig(
        vocab_size=VOCAB, hidden_size=12, num_hidden_layers=2, state_size=4, expand=3, time_step_rank=3, use_bias=True, use_conv_bias=False,
        tie_word_embeddings=False, bos_token_id=1, eos_token_id=None, pad_token_id=0,
    ),
    "falcon_mamba": FalconMambaConfig(
        vocab_size=VOCAB, hidden_size=18, num_hidden_layers=2, state_size=5, mixer_rms_eps=1e-3, tie_word_embeddings=False, bos_token_id=1,
        eos_token_id=None, pad_token_id=0,
    ),
    "jamba": JambaConfig(
        **{**common, "num_hidden_layers": 4},
        attn_layer_period=3,
        attn_layer_offset=1,
        num_experts=4,
        mamba_d_state=5,
        mamba_d_conv=3,
        mamba_dt_rank=3,
        output_router_logits=True,
    ),
    "jamba_dense": JambaConfig(
        **common, attn_layer_period=2, attn_layer_offset=1, num_experts=1, mamba_d_state=4, mamba_proj_bias=True, mamba_conv_bias=False,
        tie_word_embeddings=True,
    ),
    "lfm2_vl": Lfm2VlConfig(
        text_config=text(
            model_type="lfm2", block_auto_adjust_ff_dim=False, layer_types=["conv", "full_attention"], **rope("default"),
        ),
        vision_config=dict(model_type="siglip2_vision_model", hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2, num_patches=4, patch_size=4),
        projector_hidden_size=12,
        image_token_id=2,
    ),
    "phimoe": PhimoeConfig(
        **common,
        num_local_experts=4,
        attention_bias=True,
        lm_head_bias=True,
        router_jitter_noise=0.3,
        rope_parameters=dict(
            rope_type="longrope", rope_theta=1e4, short_factor=[1.0, 1.5], long_factor=[2.0, 6.0], short_mscale=1.3, long_mscale=1.3,
            original_max_position_embeddings=24,
        ),
    ),
    "phimoe_balanced": PhimoeConfig(
        **common, num_local_experts=5, router_jitter_noise=0.5, sliding_window=4, output_router_logits=True, router_aux_loss_coef=0.2
    ),
    "olmo_hybrid": OlmoHybridConfig(
        **{**common, "num_hidden_layers": 3},
        layer_types=["linear_attention", "full_attention", "linear_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=6,
        linear_value_head_dim=10,
        attention_bias=True,
    ),
    # Heads that do not turn.
    "olmo_hybrid_unturned": OlmoHybridConfig(
        **common,
        layer_types=["full_attention", "linear_attention"],
        linear_allow_neg_eigval=False,
        linear_conv_kernel_dim=3,
        rope_parameters=dict(rope_type="default", rope_theta=None),
    ),
}

# Those above are drawn by their place, so that nothing may come between them; what is added here is drawn by its name.
SEEDS = {name: 100 + place for place, name in enumerate(CONFIGS)}
CONFIGS |= {
    "minimax_m2": MiniMaxM2Config(**common, head_dim=8, rotary_dim=4, num_local_experts=4, num_experts_per_tok=2),
    "solar_open": SolarOpenConfig(
        **{key: value for key, value in common.items() if key != "intermediate_size"},
        head_dim=8,
        attention_bias=True,
        moe_intermediate_size=12,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=2,
        topk_group=1,
        routed_scaling_factor=1.5,
    ),
    # Layers that slide, and a last one that sees all and knows no positions; the first has no experts.
    "afmoe": AfmoeConfig(
        **{**common, "num_hidden_layers": 3},
        head_dim=8,
        moe_intermediate_size=12,
        num_experts=5,
        num_experts_per_tok=2,
        route_scale=1.5,
        sliding_window=4,
        global_attn_every_n_layers=3,
        mup_enabled=True,
    ),
    "exaone_moe": ExaoneMoeConfig(
        **{**common, "num_hidden_layers": 3},
        sliding_window=4,
        sliding_window_pattern=2,
        moe_intermediate_size=12,
        num_experts=4,
        num_experts_per_tok=2,
        n_group=2,
        topk_group=1,
    ),
    "flex_olmo": FlexOlmoConfig(**common, num_experts=5, num_experts_per_tok=2, output_router_logits=True, router_aux_loss_coef=0.2),
    "mellum": MellumConfig(
        **{**common, "num_hidden_layers": 3},
        head_dim=8,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        mlp_layer_types=["sparse", "dense", "sparse"],
        sliding_window=4,
        moe_intermediate_size=12,
        num_experts=5,
        num_experts_per_tok=2,
        output_router_logits=True,
        router_aux_loss_coef=0.2,
        rope_parameters=dict(
            full_attention=dict(rope_type="yarn", rope_theta=1000.0, factor=4.0, original_max_position_embeddings=12),
            sliding_attention=dict(rope_type="default", rope_theta=100.0),
        ),
    ),
    "hy_v3": HYV3Config(
        **common,
        head_dim=8,
        attention_bias=True,
        mlp_bias=True,
        moe_intermediate_size=12,
        num_experts=5,
        num_experts_per_tok=2,
        num_shared_experts=2,
        rope_parameters=dict(rope_type="default", rope_theta=100.0),
    ),
    # The first layer has no experts, and turns though it sees all; of the others the last one neither slides nor turns.
    "cohere2_moe": Cohere2MoeConfig(
        **{**common, "num_hidden_layers": 3, "intermediate_size": 12},
        head_dim=8,
        num_experts=4,
        num_shared_experts=1,
        first_k_dense_replace=1,
        prefix_dense_intermediate_size=20,
        sliding_window=4,
        sliding_window_pattern=2,
    ),
    "cohere2_moe_rms": Cohere2MoeConfig(
        **{**common, "intermediate_size": 12},
        head_dim=8,
        num_experts=4,
        num_shared_experts=2,
        shared_expert_combination_strategy="sum",
        expert_selection_fn="sigmoid",
        rms_norm_eps=1e-5,
        prefix_dense_sliding_window_pattern=2,
        mlp_layer_types=["sparse", "dense"],
        tie_word_embeddings=False,
    ),
    "granitemoe_swa": GraniteMoeSWAConfig(
        **{**common, "intermediate_size": 12, "num_hidden_layers": 3},
        num_local_experts=4,
        shared_intermediate_size=20,
        attention_multiplier=0.3,
        residual_multiplier=0.7,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        layer_rope_theta=[100.0, 0, 1000.0],
        output_router_logits=True,
        router_aux_loss_coef=0.2,
    ),
    "mimo_v2_flash": MiMoV2FlashConfig(
        **{**common, "num_hidden_layers": 3},
        head_dim=12,
        v_head_dim=7,
        attention_bias=True,
        layer_types=["full_attention", "sliding_attention", "full_attention"],
        sliding_window=4,
        moe_intermediate_size=12,
        n_routed_experts=4,
        num_experts_per_tok=2,
    ),
    # Of two groups of experts one is chosen.
    "axk1": AXK1Config(
        **latent,
        q_lora_rank=8,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=2,
        topk_group=1,
        rope_parameters=dict(rope_type="default", rope_theta=100.0),
    ),
    "laguna": LagunaConfig(
        **{**common, "num_hidden_layers": 3},
        head_dim=8,
        layer_types=["full_attention", "sliding_attention", "full_attention"],
        sliding_window=4,
        num_attention_heads_per_layer=[2, 4, 4],
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=12,
        shared_expert_intermediate_size=10,
        moe_routed_scaling_factor=1.5,
    ),
    "laguna_columns": LagunaConfig(
        **common,
        head_dim=8,
        attention_bias=True,
        gating="per-element",
        mlp_layer_types=["sparse", "dense"],
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=12,
        shared_expert_intermediate_size=10,
        moe_router_logit_softcapping=0.5,
    ),
    "codegen": CodeGenConfig(
        vocab_size=VOCAB, n_positions=32, n_ctx=32, n_embd=16, n_layer=2, n_head=4, n_inner=24, rotary_dim=2, bos_token_id=1, eos_token_id=None,
    ),
    # Nothing is told of the position of the third token.
    "xglm": XGLMConfig(
        vocab_size=VOCAB, max_position_embeddings=32, d_model=16, ffn_dim=24, num_layers=2, attention_heads=4, bos_token_id=1,
        eos_token_id=None, pad_token_id=4,
    ),
    "biogpt": BioGptConfig(**many_heads),
    "doge": DogeConfig(**common),
    "doge_biased": DogeConfig(**common, attention_bias=True, mlp_bias=True, sliding_window=4, tie_word_embeddings=True),
    "persimmon": PersimmonConfig(**many_heads, **partial(0.5)),
    "persimmon_plain": PersimmonConfig(**many_heads, qk_layernorm=False, hidden_act="gelu", tie_word_embeddings=True),
}

IMAGE_TEXT = {"gemma3", "gemma4", "gemma4_unified", "mistral3", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "smolvlm", "llava", "exaone4_5", "qwen3_5", "qwen3_5_moe", "mllama", "qwen3_vl_moe", "lfm2_vl", "llama4", "internvl", "llava_next", "llava_next_video", "llava_onevision", "video_llava", "vipllava", "idefics2", "aya_vision", "cohere2_vision", "ovis2", "granite4_vision", "deepseek_vl", "video_llama_3", "minicpmv4_6", "glm4v", "glm46v", "glm4v_moe", "muse_glimmer", "aria"}


def text_names(model, tensors):
    """Tensors of the text part under the names of a model that has no other; all, of such a model."""
    if model.config.model_type not in IMAGE_TEXT:
        return tensors
    prefixes = ("model.language_model.", "model.text_model.", "language_model.model.")
    named = {}
    for name, value in tensors.items():
        if name.startswith(("lm_head.", "language_model.lm_head.")):
            named[name.removeprefix("language_model.")] = value
        for prefix in prefixes:
            if name.startswith(prefix):
                named["model." + name.removeprefix(prefix)] = value
    return named


def gpt_oss_apart(tensors, by_turns=True):
    """Of tensors that hold the experts of a layer inputs first, gates and ups by turns or one after the other."""
    stored = {}
    for name, value in tensors.items():
        module, _, own = name.rpartition(".")
        if not module.endswith(".experts"):
            stored[name] = value
            continue
        kind = "bias" if own.endswith("_bias") else "weight"
        for expert, joined in enumerate(value):
            outputs = joined if kind == "bias" else joined.T
            gate, up = (outputs[::2], outputs[1::2]) if by_turns else outputs.chunk(2)
            parts = dict(gate_proj=gate, up_proj=up) if own.startswith("gate_up") else dict(down_proj=outputs)
            for part, values in parts.items():
                stored[f"{module}.{expert}.{part}.{kind}"] = values
    return stored


def experts_apart(model, tensors):
    """
    Tensors of the model with each expert's matrices by themselves, under the names that `save_pretrained` gives them; those of gpt-oss,
    which it keeps together, outputs first under such names.
    """
    if model.config.model_type == "gpt_oss":
        return gpt_oss_apart(tensors)
    if model.config.model_type in ("llama4", "llama4_text", "aria", "aria_text"):
        return gpt_oss_apart(tensors, by_turns=False)
    if model.config.model_type == "ernie4_5_moe":
        tensors = {name.replace("gate.moe_statics", "moe_statics"): value for name, value in tensors.items()}
    if model.config.model_type == "phimoe":
        tensors = {name.replace("mlp.router", "mlp.gate"): value for name, value in tensors.items()}
    if model.config.model_type == "exaone_moe":
        tensors = {name.replace("gate.e_score_correction_bias", "e_score_correction_bias"): value for name, value in tensors.items()}
    if model.config.model_type == "axk1":
        tensors = {name.replace("mlp.post_mlp_layernorm", "post_mlp_layernorm"): value for name, value in tensors.items()}
    if model.config.model_type == "mimo_v2_flash":
        tensors = {name.replace("self_attn.sinks", "self_attn.attention_sink_bias"): value for name, value in tensors.items()}
    mixtral = model.config.model_type in ("mixtral", "phimoe", "minimax_m2")
    gate, up, down = ("w1", "w3", "w2") if mixtral or model.config.model_type == "lfm2_moe" else ("gate_proj", "up_proj", "down_proj")
    stored = {}
    for name, value in tensors.items():
        module, _, own = name.replace(".mlp.", ".block_sparse_moe.").rpartition(".") if mixtral else name.rpartition(".")
        if own == "gate_up_proj" and value.dim() == 3:
            for expert, both in enumerate(value):
                for part, half in zip((gate, up), both.chunk(2)):
                    stored[f"{module}.{expert}.{part}.weight"] = half
        elif own in ("down_proj", "up_proj") and value.dim() == 3:
            for expert, matrix in enumerate(value):
                stored[f"{module}.{expert}.{down if own == 'down_proj' else own}.weight"] = matrix
        elif module.endswith("block_sparse_moe.router"):
            # Granite's, as files have it.
            stored[f"{module}.layer.{own}"] = value
        else:
            stored[f"{module}.{own}"] = value
    return stored


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    # Gains less 1.
    kind = model.config.model_type
    ahead_of_one = kind.startswith(("gemma", "qwen3_5", "qwen3_next", "muse_glimmer")) and not kind.startswith(("gemma4", "gemma3n"))
    vision = ("vision", "visual", "projector", "connector")
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name or ".ln_" in name:
                ahead = ahead_of_one and not any(part in name for part in (*vision, "linear_attn"))
                # Whose last norm is as others'.
                ahead = ahead and not (kind == "muse_glimmer" and name == "model.language_model.norm.weight")
                centre = 0.0 if name.endswith("bias") or ahead else 1.0
                parameter.copy_(centre + 0.2 * noise)
            elif name.endswith("gate_up_proj_bias"):
                # gpt-oss clamps what is beyond 7.
                parameter.copy_(5.0 * noise)
            elif "linear_attn.conv1d" in name:
                # Of short queries and keys a small change is a great one of their direction.
                parameter.copy_(noise)
            else:
                parameter.copy_((0.05 if name.endswith("bias") else 0.3) * noise)
        for name, buffer in sorted(model.named_buffers()):
            if name.endswith("e_score_correction_bias"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
            if name.endswith("layer_scalar"):
                buffer.copy_(1.0 + 0.2 * torch.randn(buffer.shape, generator=generator))
    model.tie_weights()


def documents(seed):
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for length in (11, 5, 14):
        ids = torch.randint(1, VOCAB, (length,), generator=generator).tolist()
        labels = [i if t >= length // 3 else IGNORE for t, i in enumerate(ids)]
        rows.append((ids, labels))
    return rows


def padded(rows, left):
    width = max(len(ids) for ids, _ in rows)

    def pad(values, filler):
        gap = [filler] * (width - len(values))
        return gap + values if left else values + gap

    mask = [pad([1] * len(ids), 0) for ids, _ in rows]
    positions = [pad(list(range(len(ids))), 0) for ids, _ in rows]
    return dict(
        input_ids=torch.tensor([pad(ids, 0) for ids, _ in rows]),
        attention_mask=torch.tensor(mask),
        position_ids=torch.tensor(positions),
        labels=torch.tensor([pad(labels, IGNORE) for _, labels in rows]),
    )


def rope_type(model):
    return (getattr(model.config, "rope_parameters", None) or {}).get("rope_type")


def alone(model, ids):
    """Logits of one document. Dynamic rotary scaling remembers the longest row it saw: made to forget."""
    rotary = getattr(model.model, "rotary_emb", None) if hasattr(model, "model") else None
    if rotary is not None and rotary.rope_type == "dynamic":
        rotary.max_seq_len_cached = rotary.original_max_seq_len
        rotary.inv_freq = rotary.original_inv_freq
    return model(torch.tensor([ids]), use_cache=False).logits[0]


def sees_padding(config):
    # Padding on the left enters a convolution as the biases of the map before it; Llama 4 counts it among the positions that queries grow by.
    if config.model_type.startswith("llama4"):
        return config.get_text_config().attn_temperature_tuning
    if config.model_type in ("mamba", "mamba2", "falcon_mamba", "nemotron_h"):
        return config.use_bias
    return getattr(config, "mamba_proj_bias", False) or config.model_type == "lfm2" and config.conv_bias


def loss_of(model, rows, left=False):
    if rope_type(model) in ("dynamic", "longrope"):
        # In a batch every row would turn by the longest one's angles; rxtune turns each document by its own.
        logits = torch.cat([alone(model, ids)[:-1] for ids, _ in rows])
        labels = torch.tensor([label for _, labels in rows for label in labels[1:]])
        return torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE)
    return model(**padded(rows, left), use_cache=False).loss


def build(name, config, seed):
    # Falcon's eager attention of transformers 5.18 adds ALiBi twice.
    config._attn_implementation = "sdpa" if getattr(config, "alibi", False) else "eager"
    seeing = config.model_type in IMAGE_TEXT
    # transformers 5.18 registers Mistral 4 among models that see images.
    seen = seeing or config.model_type == "mistral4"
    auto = transformers.AutoModelForImageTextToText if seen else transformers.AutoModelForCausalLM
    model = auto.from_config(config).float()
    model.config.use_cache = False
    randomise(model, seed)
    model.eval()
    rows = documents(seed)
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    tied = getattr(model.config, "tie_word_embeddings", False)
    saved = {}
    for key, value in experts_apart(model, model.state_dict()).items():
        if not (tied and key == "lm_head.weight"):
            # As the hub has it.
            stored = key.replace("lm_head", "embed_out") if model.config.model_type == "gpt_neox" else key
            saved[stored] = value.detach().clone().contiguous()
    if seeing:
        # Names that files have depend on the class: as it writes them itself.
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
    if not seeing or model.config.model_type == "qwen3_vl_moe":
        save_file(saved, str(folder / "model.safetensors"), metadata={"format": "pt"})
    if not seeing:
        (folder / "config.json").write_text(model.config.to_json_string() + "\n")

    with torch.no_grad():
        logits = [alone(model, ids) for ids, _ in rows]
    # transformers 5.18 forgets the whole text where LongRoPE's angles change and keys are kept: it sees the last token alone then. Where it
    # keeps the states of Mamba-2, it holds no rate within its bounds.
    keeps = rope_type(model) != "longrope" and model.config.model_type not in ("mamba2", "nemotron_h")
    generated = model.generate(torch.tensor([rows[0][0]]), max_new_tokens=8, do_sample=False, use_cache=keeps, pad_token_id=0)[0].tolist()

    balanced = getattr(model.config.get_text_config(), "output_router_logits", False)
    if balanced:
        with torch.no_grad():
            aux = model(**padded(rows, False), use_cache=False).aux_loss.item()
    loss = loss_of(model, rows)
    loss.backward()
    # None of what a configuration leaves unused.
    read = [(key, p) for key, p in model.named_parameters() if p.requires_grad and (p.grad is not None or "altup" not in key)]
    gradients = {key: torch.zeros_like(p) if p.grad is None else p.grad for key, p in read}
    gradients = experts_apart(model, text_names(model, gradients))
    largest = {key: gradient.abs().max().item() for key, gradient in gradients.items()}
    save_file(
        {key: (gradient / max(largest[key], 1e-30)).half().contiguous() for key, gradient in gradients.items()},
        str(folder / "gradients.safetensors"),
        metadata={key: repr(value) for key, value in largest.items()},
    )
    model.zero_grad()
    with torch.no_grad():
        left = loss_of(model, rows, left=not sees_padding(model.config)).item()

    decay = [p for key, p in model.named_parameters() if not is_exempt(key)]
    exempt = [p for key, p in model.named_parameters() if is_exempt(key)]
    optimizer = torch.optim.AdamW(
        [dict(params=decay, weight_decay=0.1), dict(params=exempt, weight_decay=0.0)], lr=5e-3, eps=1e-8
    )
    losses = []
    for _ in range(STEPS):
        step = loss_of(model, rows)
        step.backward()
        losses.append(step.item())
        optimizer.step()
        optimizer.zero_grad()

    golden = dict(
        generator=f"torch {torch.__version__}, transformers {transformers.__version__}",
        documents=[dict(input_ids=ids, labels=labels) for ids, labels in rows],
        logits=[[[round(x, 6) for x in row] for row in matrix.tolist()[-2:]] for matrix in logits],
        loss=dict(right=loss.item(), left=left),
        losses=losses,
        generated=generated,
    )
    if balanced:
        golden["aux_loss"] = aux
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")
    assert math.isfinite(loss.item())
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{name}: loss {loss.item():.5f} (left {left:.5f}) -> {losses[-1]:.5f}, {size} bytes")


def is_exempt(name):
    return "bias" in name or "norm" in name or ".ln_" in name


if __name__ == "__main__":
    torch.set_num_threads(1)
    wanted = sys.argv[1:] or CONFIGS
    for name, config in CONFIGS.items():
        if name in wanted:
            build(name, config, SEEDS.get(name, zlib.crc32(name.encode())))
