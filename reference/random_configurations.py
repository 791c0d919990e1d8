"""Random configurations for random_runs.py: an architecture, rows of some kind, options of SFTConfig, an adapter's options."""

import json
import random
import re
from pathlib import Path

import torch
from transformers.pytorch_utils import Conv1D

models = Path(__file__).resolve().parent.parent / "test" / "golden" / "models"

# What is not drawn, or is set right in TRL before it is compared.
LEFT_OUT = {
    "human and gpt": "TRL keeps from/value's names of roles, rxtune makes them user and assistant: the draw says user and assistant",
    "assistant_only_loss with from/value": "TRL 1.13 looks for the assistant before it knows the conversation",
    "completion_mask alone": "TRL heeds the mask of rows of ids where completion_only_loss says so, rxtune wherever it is: the option is set",
    "drop_last of evaluations": "transformers leaves out the last incomplete batch of evaluation rows, too, rxtune evaluates all: not dropped",
    "experts with smoothed labels or dft": "TRL's loss of these has no load-balancing part, rxtune's has",
    "rows of a tied table with chunked_nll": "TRL 1.13 asks PEFT's wrapper of the head for a bias it has not, and fails",
    "experts with nll and a coefficient": "TRL 1.13 takes config.json's there: the option is that one",
    "Phi-3.5-MoE with chunked_nll and a coefficient": "TRL 1.13 looks for num_experts, which its config.json has not, and fails: nll",
    "the best of experts and of OLMo Hybrid": "transformers 5 loads a checkpoint's experts (and norms and convolutions of this) by names that the model has not, so the last ones stay: not loaded at the end",
    "biases of gpt-oss with LoRA": "those of experts are a tensor of another name in transformers, which PEFT does not train",
    "smoothed labels beside images and of Mistral 4": "transformers 5.18 does not shift labels of classes that it does not know as causal",
    "the row of Youtu's padding": "transformers 5.18 zeroes it when it loads a model: it begins with zeros",
    "out_proj of Falcon-H1, Mamba, Mamba-2 and Nemotron-H": "PEFT refuses to adapt it",
    "dt_proj of Mamba and Jamba": "transformers reads its weight past the adapter",
    "draws of Phi-3.5-MoE's router": "transformers draws experts at random where it trains, rxtune never: it does not there",
    "biases beside images with LoRA": "PEFT saves those of the vision tower, too, which rxtune does not load",
    "LoRA of MLPs beside experts": "PEFT 0.21 takes the names for those of the experts' tensors, too, and gate and up together alone",
    "experts with adafactor": "transformers 5 holds the experts of a layer in one tensor, whose update is scaled as one",
    "accuracy or entropy of named sets as the best": "TRL calls those of every set eval_entropy and eval_mean_token_accuracy",
    "Llama 4 with chunked_nll": "TRL 1.13 asks its class for the states below the head, which it has not, and fails: nll",
    "short texts beside long ones under longrope": "transformers turns both by the angles of the longest, rxtune each by its own",
    "long texts of Phi-3.5-MoE": "transformers 5.18 turns them by the short factors, rxtune by the long ones: none is long",
    "OPT, Falcon, BLOOM, MPT, XGLM, gpt-oss, Llama 4, Granite 4 and models that see images packed or without padding": "transformers lets documents of these see each other on a CPU",
    "states and convolutions packed or without padding": "transformers lets them run on from document to document on a CPU, here each begins anew",
    "rows and windows without a label": "TRL keeps packed windows of which nothing is trained, rxtune refuses them: left out",
    "Granite, HyperCLOVA X, MiniCPM3 and Falcon-H1 with chunked_nll": "TRL 1.13 forgets logits_scaling and lm_head_multiplier there",
    "the best of evaluations before the first update": "transformers does not judge that one, rxtune does: eval_on_start without a best model",
    "the tokens of GPT-2": "transformers 5.18 counts each row's first, which nothing predicts, in their number: told that labels are shifted",
    "smoothed and dft evaluations": "TRL's eval_loss has the training loss's form, rxtune's is -log p always: set so",
    "evaluations by length": "transformers 5 groups evaluation rows by length, too, which changes the mean over batches: rows in their order",
}

PLAIN = [
    "llama", "llama_biased_tied", "llama_llama3", "mistral", "qwen2", "qwen3", "gpt2", "gpt2_by_layer", "opt", "opt_350m", "gpt_neo", "gemma",
    "gemma3", "phi", "phi3_partial", "olmo", "olmo2", "gpt_neox", "gptj", "falcon", "falcon_groups", "cohere", "granite", "stablelm",
    "stablelm_parallel", "starcoder2", "smollm3", "helium", "apertus", "arcee", "bloom", "cohere2", "cwm", "ernie4_5", "exaone4", "gemma2", "gemma4",
    "glm", "glm4", "gpt_bigcode", "gpt_bigcode_many_heads", "granite_hybrid_attention", "granite_swa", "hunyuan_v1_dense", "hyperclovax", "jais2",
    "minicpm3", "ministral", "mpt", "nanochat", "nemotron", "olmo3", "seed_oss", "youtu", "vaultgemma", "gemma3n", "gemma3n_other_stream",
    "codegen", "persimmon", "persimmon_plain", "xglm",
]  # fmt: skip
RECURRENT = [
    "bamba", "falcon_h1", "falcon_h1_normed", "falcon_h1_normed_first", "granite_hybrid", "granite_hybrid_bounded", "lfm2", "lfm2_biased", "lfm2_moe",
    "lfm2_moe_plain", "qwen3_5_text", "granite_hybrid_experts", "qwen3_next", "qwen3_5_moe_text", "mamba", "mamba_biased", "mamba2",
    "mamba2_tied", "falcon_mamba", "jamba", "jamba_dense", "nemotron_h",
    "nemotron_h_experts", "nemotron_h_latent", "olmo_hybrid", "olmo_hybrid_unturned", "lfm2_vl", "qwen3_5_image", "qwen3_5_moe_image",
]
# Text models within models that see images.
SEEING = [
    "gemma3_image", "mistral3", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "smolvlm", "llava", "exaone4_5", "gemma4_image", "gemma4_unified", "mllama",
]  # fmt: skip
BALANCED = [
    "mixtral", "qwen2_moe", "qwen2_moe_mixed", "qwen3_moe", "olmoe", "ernie4_5_moe", "gpt_oss", "gpt_oss_balanced", "granitemoe", "granitemoeshared",
    "granite_hybrid_experts", "qwen3_next", "qwen3_5_moe_text", "qwen3_5_moe_image", "qwen3_vl_moe", "phimoe", "phimoe_balanced",
    "flex_olmo", "granitemoe_swa", "jamba", "mellum",
]  # fmt: skip
UNBALANCED = [
    "deepseek_v2", "deepseek_v2_groups", "deepseek_v3", "deepseek_v3_flat", "dots1", "gemma4_experts", "glm4_moe", "glm4_moe_lite", "hunyuan_v1_moe",
    "lfm2_moe", "lfm2_moe_plain", "llama4", "llama4_plain", "llama4_image", "mistral4", "nemotron_h_experts", "nemotron_h_latent",
    "afmoe", "axk1", "cohere2_moe", "cohere2_moe_rms", "exaone_moe", "hy_v3", "laguna", "laguna_columns", "mimo_v2_flash", "minimax_m2", "solar_open",
]  # fmt: skip
# Where modules of models that see images are not the text model's.
SIGHT = re.compile("vision|visual|projector|connector|embed_audio")
EXPERTS = [*BALANCED, *UNBALANCED]
# What TRL 1.13 does not scale with chunked_nll.
UNSCALED = ("granite", "hyperclovax", "minicpm3", "falcon_h1")
WORDS = (
    "red blue six seven chair table Monday Friday please send order the a of and Hello item colour count day "
    "naïve 🌟 don't 1,234 x=1; \n\n \t <b> {\"k\": [1, 2]} émigré 日本 zebra quick"
).split(" ")

def some(rng, low, high):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(low, high)))


def turns(rng, most=2, system=0.3):
    messages = [{"role": "system", "content": some(rng, 1, 4)}] if rng.random() < system else []
    for _ in range(rng.randint(1, most)):
        messages.append({"role": "user", "content": some(rng, 1, 8)})
        messages.append({"role": "assistant", "content": some(rng, 1, 8)})
    return messages


def tools(rng):
    parameters = {"type": "object", "properties": {"n": {"type": rng.choice(["integer", "string"])}}, "required": []}
    one = {"type": "function", "function": {"name": rng.choice("fgh"), "description": some(rng, 0, 3), "parameters": parameters}}
    return json.dumps([one])


def row(rng, kind, columns):
    if kind == "text":
        return {"text": some(rng, 2, 30)}
    if kind == "prompt":
        return {"prompt": some(rng, 1, 10), "completion": " " + some(rng, 1, 12)}
    if kind == "messages":
        return {"messages": turns(rng)}
    if kind == "from/value":
        return {"conversations": [{"from": m["role"], "value": m["content"]} for m in turns(rng)]}
    if kind == "tools":
        called = turns(rng)
        if rng.random() < 0.5:
            called[-1] = {**called[-1], "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}]}
        return {"messages": called, "tools": tools(rng) if rng.random() < 0.8 else None}
    if kind == "prompt messages":
        messages = turns(rng)
        return {"prompt": messages[:-1], "completion": messages[-1:]}
    length = rng.randint(2, 40)
    ids = [rng.randint(4, 511) for _ in range(length)]
    shown = [t >= length // 3 and rng.random() < 0.9 for t in range(length - 1)] + [True]
    more = {
        "labels": [i if on else -100 for i, on in zip(ids, shown)],
        "completion_mask": [int(t >= length // 3) for t in range(length)],
        "assistant_masks": [int(on) for on in shown],
    }
    return {"input_ids": ids, **{name: more[name] for name in columns}}


def every(rng, most):
    return rng.choice([1, 1, 2, 3, most // 2 or 1, 0.3, 0.45])


def schedule(rng, peak):
    kind = rng.choice(
        ["linear", "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt",
         "cosine_with_min_lr", "warmup_stable_decay"]
    )  # fmt: skip
    kwargs = {
        "cosine": lambda: rng.choice([{}, {"num_cycles": 1.5}]),
        "cosine_with_restarts": lambda: rng.choice([{}, {"num_cycles": 2}, {"num_cycles": 3}]),
        "polynomial": lambda: rng.choice([{}, {"power": 2.0}, {"lr_end": peak / 10}]),
        "inverse_sqrt": lambda: rng.choice([{}, {"timescale": 4}]),
        "cosine_with_min_lr": lambda: rng.choice([{"min_lr": peak / 5}, {"min_lr_rate": 0.3}, {"min_lr": peak / 7, "num_cycles": 1.25}]),
        "warmup_stable_decay": lambda: {
            "num_decay_steps": rng.randint(1, 4),
            **rng.choice([{}, {"num_stable_steps": 2}]),
            **rng.choice([{}, {"min_lr_ratio": 0.1}]),
            **rng.choice([{}, {"warmup_type": rng.choice(["linear", "cosine", "1-sqrt"]), "decay_type": rng.choice(["linear", "cosine", "1-sqrt"])}]),
        },
    }.get(kind, dict)()
    warm = rng.choice([{}, {}, {"warmup_steps": rng.randint(1, 3)}, {"warmup_steps": 0.3}, {"warmup_ratio": 0.25}])
    return {"lr_scheduler_type": kind, **({"lr_scheduler_kwargs": kwargs} if kwargs else {}), **warm}


def adapter(rng, model, options, tied, experts):
    """Options of LoRA for a model, by what it is made of."""
    seeing = hasattr(model.config, "vision_config")
    maps = [name for name, part in model.named_modules() if isinstance(part, (torch.nn.Linear, Conv1D)) and not (seeing and SIGHT.search(name))]
    linear = sorted({name.rsplit(".", 1)[-1] for name in maps})
    outer = {"lm_head", "embed_out", "gate", "shared_expert_gate", "router", *(["gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"] if experts else [])}
    falcon = model.config.model_type in ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")
    outer |= {"out_proj"} if falcon else set()
    outer |= {"dt_proj"} if model.config.model_type in ("falcon_mamba", "mamba", "jamba") else set()
    inner = [name for name in linear if name not in outer]
    modules = [name for name in maps if name.rsplit(".", 1)[-1] in inner]
    # Those that the first layer has of which any are adapted, whatever layers are asked for.
    first = min(int(layer[1]) for layer in (re.search(r"\.(\d+)\.", module) for module in modules) if layer)
    inner = [name for name in inner if any(f".{first}." in module for module in modules if module.endswith(f".{name}"))]
    embedding = next(name.rsplit(".", 1)[-1] for name, part in model.named_modules() if part is model.get_input_embeddings())
    chosen = rng.sample(inner, rng.randint(1, min(3, len(inner))))
    lora = {"r": rng.choice([1, 2, 4]), "lora_alpha": rng.choice([2, 4, 8, 16]), "lora_dropout": 0.0, "target_modules": chosen}
    form = rng.random()
    if seeing:
        # Llama 3.2 Vision's layer 1 looks at images.
        layers = first if model.config.model_type == "mllama" else rng.choice([first, "[0-9]+"])
        lora["target_modules"] = rf".*(language_model|text_model)\..*\.{layers}\..*({'|'.join(chosen)})"
    elif form < 0.1 and not experts and not falcon and "dt_proj" not in linear:
        lora["target_modules"] = "all-linear"
    elif form < 0.2:
        lora["target_modules"] = rf".*\.{first}\..*({'|'.join(chosen)})"
    elif form < 0.3 and any(".1." in module and module.rsplit(".", 1)[-1] in chosen for module in modules):
        lora["layers_to_transform"] = [1]
    elif form < 0.4 and options.get("loss_type") != "chunked_nll":
        lora["target_modules"] = [*chosen, rng.choice([embedding, *(["lm_head"] if "lm_head" in linear and not tied else [])])]
    if rng.random() < 0.25:
        lora["use_rslora"] = True
    if rng.random() < 0.25:
        lora["use_dora"] = True
    if rng.random() < 0.25:
        lora["bias"] = rng.choice(["all", "lora_only"])
    if model.config.model_type == "gpt_oss" or seeing:
        lora.pop("bias", None)
    if isinstance(lora["target_modules"], list) and rng.random() < 0.3:
        of = [name for name in modules if name.rsplit(".", 1)[-1] in chosen]
        lora["rank_pattern"] = {rng.choice([rng.choice(of), chosen[0]]): 3}
    if isinstance(lora["target_modules"], list) and rng.random() < 0.2:
        lora["alpha_pattern"] = {chosen[-1]: 6}
    if not tied and rng.random() < 0.2 and "lm_head" not in lora["target_modules"] and lora["target_modules"] != "all-linear":
        lora["modules_to_save"] = rng.choice([["lm_head"], [embedding]]) if "lm_head" in linear else [embedding]
        if embedding in lora["target_modules"]:
            lora["modules_to_save"] = ["lm_head"]
    elif rng.random() < 0.1 and not (tied and options["loss_type"] == "chunked_nll") and embedding not in lora["target_modules"] and "lm_head" not in lora["target_modules"]:
        lora["trainable_token_indices"] = {embedding: sorted(rng.sample(range(4, 500), 3))}
    return lora


def draw(seed, index, parity, architectures=()):
    """A stream to go on drawing from, the configuration, rows to train on and to evaluate on by name of their set.

    Of the architectures named, where some are."""
    rng = random.Random(f"{seed} {index}{' parity' if parity else ''}")
    architecture = rng.choice([*PLAIN, *RECURRENT, *SEEING]) if parity or rng.random() < 0.8 else rng.choice(EXPERTS)
    if architectures:
        architecture = architectures[index % len(architectures)]
    kind = rng.choice(["text", "prompt", "messages", "messages", "from/value", "tools", "prompt messages", "ids", "ids"])
    columns = rng.choice([[], ["labels"], ["completion_mask"], ["assistant_masks"]]) if kind == "ids" else []
    count = rng.randint(6, 26)
    batch, accumulation = rng.randint(1, 4), rng.choice([1, 1, 2, 3])
    peak = rng.choice([1e-3, 3e-3, 5e-3])
    optim = rng.choice(["adamw_torch"] * 5 + ["sgd", "adafactor", "adamw_torch_fused"])
    if optim == "sgd":
        peak = rng.choice([0.05, 0.2])
    options = {
        "per_device_train_batch_size": batch, "per_device_eval_batch_size": rng.randint(1, 5),
        "gradient_accumulation_steps": accumulation, "learning_rate": peak, "optim": optim, "seed": rng.randint(0, 1000),
        "loss_type": rng.choice(["nll", "nll", "dft", *(["chunked_nll"] * 2 if not architecture.startswith(UNSCALED) else [])]),
        "gradient_checkpointing": rng.random() < 0.3, "max_grad_norm": rng.choice([1.0, 1.0, 0.0, 0.1, 5.0]),
        "weight_decay": rng.choice([0.0, 0.0, 0.1, 1.0]), **schedule(rng, peak),
    }  # fmt: skip
    if rng.random() < 0.3:
        options |= {"adam_beta1": rng.choice([0.0, 0.8]), "adam_beta2": rng.choice([0.9, 0.95]), "adam_epsilon": rng.choice([1e-8, 1e-4])}
    if rng.random() < 0.5:
        options["max_steps"] = rng.randint(3, 9)
    else:
        options["num_train_epochs"] = rng.choice([1, 2, 1.5, 2.3, 0.6])
    if rng.random() < 0.2:
        options["dataloader_drop_last"] = True
    shape = rng.random()
    if shape < 0.3:
        options |= {"packing": True, "packing_strategy": rng.choice(["bfd", "bfd", "bfd_split", "wrapped"]), "max_length": rng.choice([16, 32, 64, 100])}
        if rng.random() < 0.3:
            options["eval_packing"] = False
    elif kind == "tools" and (shape < 0.4 or shape >= 0.9):
        # Tools make rows long, and rxtune's default is what the tokenizer can hold.
        options["max_length"] = 256
    elif shape < 0.4:
        options |= {"padding_free": True, "max_length": None}
    elif shape < 0.9:
        options["max_length"] = rng.choice([12, 24, 40, 80])
    if rng.random() < 0.1 and shape >= 0.4:
        options["pad_to_multiple_of"] = 8
    if kind.startswith("prompt") and rng.random() < 0.5:
        options["completion_only_loss"] = rng.random() < 0.5
    if columns == ["completion_mask"]:
        options["completion_only_loss"] = rng.random() < 0.7
    if kind in ("messages", "tools", "prompt messages") and rng.random() < 0.4:
        options["assistant_only_loss"] = True
    if options["loss_type"] == "nll" and rng.random() < 0.25:
        options["label_smoothing_factor"] = rng.choice([0.1, 0.3])
    if architecture.startswith(("granite_hybrid", "llama4", "afmoe", "hy_v3", "jamba_dense", "laguna", "minimax_m2")) and architecture not in BALANCED:
        # TRL looks for the router that config.json speaks of, where there is none, or balances softmaxes of what is scored by sigmoids.
        options["router_aux_loss_coef"] = 0.0
    if architecture in BALANCED:
        options["router_aux_loss_coef"] = rng.choice([0.0, 0.05, 0.5])
    if architecture.startswith("llama4") and options["loss_type"] == "chunked_nll":
        options["loss_type"] = "nll"
    order = rng.choice(["given", "given", "rxtune", *([] if parity else ["by length"])])
    if order == "rxtune" and rng.random() < 0.5:
        options["data_seed"] = rng.randint(0, 1000)
    if order == "by length":
        options["train_sampling_strategy"] = "group_by_length"
    if architecture in EXPERTS and optim == "adafactor":
        options["optim"] = "adamw_torch"
    if architecture in BALANCED:
        options.pop("label_smoothing_factor", None)
        if options["loss_type"] == "dft" or architecture.startswith("phimoe"):
            options["loss_type"] = "nll"
        if options.get("router_aux_loss_coef") and options["loss_type"] == "nll":
            config = json.loads((models / architecture / "config.json").read_text())
            options["router_aux_loss_coef"] = config.get("text_config", config)["router_aux_loss_coef"]
    if architecture.startswith(("opt", "falcon", "bloom", "mpt", "xglm", "gpt_oss", "granite_hybrid", "llama4")) or architecture in (*RECURRENT, *SEEING, "qwen3_vl_moe"):
        options.pop("padding_free", None)
        if options.get("packing"):
            options["packing_strategy"] = "wrapped"
    options |= {"logging_strategy": "steps", "logging_steps": every(rng, 4)} if rng.random() < 0.8 else {"logging_strategy": rng.choice(["epoch", "no"])}
    if rng.random() < 0.2:
        options["logging_first_step"] = True
    sets = rng.choice([[], [""], [""], ["a", "b"]])
    early = None
    if sets and parity:
        sets = [""]
    if sets:
        options |= rng.choice([{"eval_strategy": "steps", "eval_steps": every(rng, 4)}, {"eval_strategy": "epoch"}])
        if rng.random() < 0.2:
            options["eval_delay"] = rng.choice([1, 2, 0.5]) if options["eval_strategy"] == "epoch" else rng.choice([1, 3])
        if rng.random() < 0.2:
            options["eval_on_start"] = True
    saves = rng.random()
    if sets and not parity and saves < 0.5:
        options.pop("eval_on_start", None)
        options["load_best_model_at_end"] = rng.random() < 0.8
        options["save_strategy"] = options["eval_strategy"] if rng.random() < 0.7 else "best"
        if options["save_strategy"] == "steps":
            options["save_steps"] = options["eval_steps"]
        prefix = f"eval_{rng.choice(sets)}_" if sets != [""] else rng.choice(["eval_", ""])
        options["metric_for_best_model"] = prefix + rng.choice(["loss", "loss", *(["entropy", "mean_token_accuracy"] if sets == [""] else [])])
        if not options["metric_for_best_model"].endswith("loss"):
            options["greater_is_better"] = rng.random() < 0.5
        if rng.random() < 0.5:
            early = {"patience": rng.randint(1, 2), "threshold": rng.choice([0.0, 0.0, 0.05])}
    elif saves < 0.8:
        options |= rng.choice([{"save_strategy": "steps", "save_steps": every(rng, 5)}, {"save_strategy": "epoch"}])
    else:
        options["save_strategy"] = "no"
    if rng.random() < 0.5:
        options["save_total_limit"] = rng.randint(1, 3)
    if rng.random() < 0.1:
        options["save_only_model"] = True
    if architecture in EXPERTS or architecture.startswith("olmo_hybrid"):
        options.pop("load_best_model_at_end", None)
    if parity:
        as_of_old(rng, options)
        kind, columns = rng.choice(["text", "prompt", "messages"]), []
        # 0.7.10 draws the order of windows when it packs.
        order = "given" if options.get("packing") else order
        count = batch * accumulation * rng.randint(2, 4)
    if architecture in (*SEEING, "mistral4", "lfm2_vl", "qwen3_vl_moe") or architecture.endswith("_image"):
        options.pop("label_smoothing_factor", None)
    template = "tools" if kind == "tools" else rng.choice(["chatml", "chatml", "bos"])
    mean_of_means = parity or accumulation > 1 and options["loss_type"] != "dft" and rng.random() < 0.2
    rows = [row(rng, kind, columns) for _ in range(count)]
    held_out = {name: [row(rng, kind, columns) for _ in range(rng.randint(2, 9))] for name in sets}
    return rng, {
        "seed": seed, "index": index, "architecture": architecture, "kind": kind, "columns": columns, "template": template, "order": order,
        "options": options, "early": early, "meanOfMeans": mean_of_means, "lora": rng.random() < 0.45, "resume": rng.choice(["", "stop", "checkpoint"]), "parity": parity,
    }, rows, held_out  # fmt: skip


def as_of_old(rng, options):
    """Options that 0.7.10 has, and for which transformers has not changed."""
    for name in (
        "padding_free", "packing", "packing_strategy", "eval_packing", "completion_only_loss", "assistant_only_loss", "router_aux_loss_coef",
        "dataloader_drop_last", "train_sampling_strategy", "metric_for_best_model", "greater_is_better", "eval_on_start", "load_best_model_at_end",
        "pad_to_multiple_of",
    ):  # fmt: skip
        options.pop(name, None)
    options["loss_type"] = "nll"
    options["max_length"] = rng.choice([24, 40, 80])
    if options["save_strategy"] == "best":
        options["save_strategy"] = "no"
    if rng.random() < 0.3:
        # Whatever the windows are, epochs are of whole updates then: at their ends transformers has changed.
        options |= {"packing": True, "gradient_accumulation_steps": 1}
    elif rng.random() < 0.3:
        options["label_smoothing_factor"] = 0.2
