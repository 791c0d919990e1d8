"""Whole fine-tuning runs of random configurations with TRL's SFTTrainer, for random_runs.mjs to make again and compare.

    python reference/random_runs.py DIR [--count 50] [--seed 1] [--only 3,17]
    node reference/random_runs.mjs DIR

Run i of a seed is a function of both: a tiny random model of some architecture, rows of some kind, options, perhaps an adapter. DIR/i has
the case, model, adapter and rows that both begin with; DIR/i/theirs what TRL leaves, DIR/i/theirs.json what it told. Order: rows as
they are given, or rxtune's own order for seed and epoch. Accuracies and entropies are means over tokens, as rxtune has them.
What is not drawn, and why, stands in LEFT_OUT. Needs trl 1.13, transformers 5.18, peft 0.21 (CPU).
"""

import argparse
import json
import math
import random
import shutil
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path

import datasets
import torch
import transformers
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from rxtune_draws import permutation
from torch.utils.data import Sampler, SequentialSampler
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, EarlyStoppingCallback, PrinterCallback
from transformers.pytorch_utils import Conv1D
from trl import SFTConfig, SFTTrainer

parser = argparse.ArgumentParser()
parser.add_argument("out", type=Path)
parser.add_argument("--count", type=int, default=50)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--only", default="")
asked = parser.parse_args()

root = Path(__file__).resolve().parent.parent
quickstart = root / "examples" / "quickstart"
datasets.disable_caching()
datasets.disable_progress_bars()
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
warnings.filterwarnings("ignore")
torch.set_num_threads(1)

# What is not drawn, or is set right in TRL before it is compared.
LEFT_OUT = {
    "human and gpt": "TRL keeps from/value's names of roles, rxtune makes them user and assistant: the draw says user and assistant",
    "assistant_only_loss with from/value": "TRL 1.13 looks for the assistant before it knows the conversation",
    "completion_mask alone": "TRL heeds the mask of rows of ids where completion_only_loss says so, rxtune wherever it is: the option is set",
    "drop_last of evaluations": "transformers leaves out the last incomplete batch of evaluation rows, too, rxtune evaluates all: not dropped",
    "experts with smoothed labels or dft": "TRL's loss of these has no load-balancing part, rxtune's has",
    "rows of a tied table with chunked_nll": "TRL 1.13 asks PEFT's wrapper of the head for a bias it has not, and fails",
    "experts with nll and a coefficient": "TRL 1.13 takes config.json's there: the option is that one",
    "the best of experts": "transformers 5 loads a checkpoint's experts by names that the model has not, so the last ones stay: not loaded at the end",
    "experts with adafactor": "transformers 5 holds the experts of a layer in one tensor, whose update is scaled as one",
    "accuracy or entropy of named sets as the best": "TRL calls those of every set eval_entropy and eval_mean_token_accuracy",
    "OPT and Falcon packed or without padding": "transformers lets documents of these see each other on a CPU",
    "rows and windows without a label": "TRL keeps packed windows of which nothing is trained, rxtune refuses them: left out",
    "granite with chunked_nll": "TRL 1.13 forgets logits_scaling there",
    "the best of evaluations before the first update": "transformers does not judge that one, rxtune does: eval_on_start without a best model",
    "the tokens of GPT-2": "transformers 5.18 counts each row's first, which nothing predicts, in their number: told that labels are shifted",
    "smoothed and dft evaluations": "TRL's eval_loss has the training loss's form, rxtune's is -log p always: set so",
    "evaluations by length": "transformers 5 groups evaluation rows by length, too, which changes the mean over batches: rows in their order",
}

PLAIN = [
    "llama", "llama_biased_tied", "llama_llama3", "mistral", "qwen2", "qwen3", "gpt2", "gpt2_by_layer", "opt", "opt_350m", "gpt_neo", "gemma",
    "gemma3", "phi", "phi3_partial", "olmo", "olmo2", "gpt_neox", "gptj", "falcon", "falcon_groups", "cohere", "granite", "stablelm",
    "stablelm_parallel", "starcoder2", "smollm3", "helium",
]  # fmt: skip
EXPERTS = ["mixtral", "qwen2_moe", "qwen2_moe_mixed", "qwen3_moe", "olmoe"]
WORDS = (
    "red blue six seven chair table Monday Friday please send order the a of and Hello item colour count day "
    "naïve 🌟 don't 1,234 x=1; \n\n \t <b> {\"k\": [1, 2]} émigré 日本 zebra quick"
).split(" ")
TEMPLATE_TOOLS = (
    "{%- if tools %}{{- '<|im_start|>system\\n' }}{%- for tool in tools %}{{- tool | tojson }}{{- '\\n' }}{%- endfor %}{{- '<|im_end|>\\n' }}"
    "{%- endif %}{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}{%- if message.role == 'assistant' %}"
    "{% generation %}{{- message.content or '' }}{%- for call in message.tool_calls or [] %}{{- '[' + call.function.name + ']' }}"
    "{%- endfor %}{{- '<|im_end|>' }}{% endgeneration %}{%- else %}{{- message.content + '<|im_end|>' }}{%- endif %}{{- '\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
TEMPLATE_BOS = (
    "{{- bos_token }}{%- for message in messages %}{%- if message.role == 'assistant' %}{% generation %}{{- message.content + eos_token }}"
    "{% endgeneration %}{%- else %}{{- message.role + ': ' + message.content + '\\n' }}{%- endif %}{%- endfor %}"
)


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


def adapter(rng, model, options, tied):
    """Options of LoRA for a model, by what it is made of."""
    linear = sorted({name.rsplit(".", 1)[-1] for name, part in model.named_modules() if isinstance(part, (torch.nn.Linear, Conv1D))})
    inner = [name for name in linear if name not in ("lm_head", "embed_out", "gate", "shared_expert_gate")]
    modules = [name for name, part in model.named_modules() if isinstance(part, (torch.nn.Linear, Conv1D)) and name.rsplit(".", 1)[-1] in inner]
    # Those that every layer has, whatever layers are asked for.
    inner = [name for name in inner if any(f".{layer}." in module for module in modules for layer in "0" if module.endswith(f".{name}"))]
    embedding = next(name.rsplit(".", 1)[-1] for name, part in model.named_modules() if isinstance(part, torch.nn.Embedding))
    chosen = rng.sample(inner, rng.randint(1, min(3, len(inner))))
    lora = {"r": rng.choice([1, 2, 4]), "lora_alpha": rng.choice([2, 4, 8, 16]), "lora_dropout": 0.0, "target_modules": chosen}
    form = rng.random()
    if form < 0.1 and not hasattr(model.config, "num_experts_per_tok"):
        lora["target_modules"] = "all-linear"
    elif form < 0.2:
        lora["target_modules"] = rf".*\.0\..*({'|'.join(chosen)})"
    elif form < 0.3:
        lora["layers_to_transform"] = [1]
    elif form < 0.4 and options.get("loss_type") != "chunked_nll":
        lora["target_modules"] = [*chosen, rng.choice([embedding, *(["lm_head"] if "lm_head" in linear and not tied else [])])]
    if rng.random() < 0.25:
        lora["use_rslora"] = True
    if rng.random() < 0.25:
        lora["use_dora"] = True
    if rng.random() < 0.25:
        lora["bias"] = rng.choice(["all", "lora_only"])
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


def draw(seed, index):
    rng = random.Random(f"{seed} {index}")
    architecture = rng.choice(PLAIN) if rng.random() < 0.87 else rng.choice(EXPERTS)
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
        "loss_type": rng.choice(["nll", "nll", "dft", *(["chunked_nll"] * 2 if architecture != "granite" else [])]),
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
    if architecture in EXPERTS:
        options["router_aux_loss_coef"] = rng.choice([0.0, 0.05, 0.5])
    order = rng.choice(["given", "given", "rxtune", "by length"])
    if order == "rxtune" and rng.random() < 0.5:
        options["data_seed"] = rng.randint(0, 1000)
    if order == "by length":
        options["train_sampling_strategy"] = "group_by_length"
    if architecture in EXPERTS:
        options.pop("label_smoothing_factor", None)
        if options["loss_type"] == "dft":
            options["loss_type"] = "nll"
        if options.get("router_aux_loss_coef") and options["loss_type"] == "nll":
            config = json.loads((root / "test" / "golden" / "models" / architecture / "config.json").read_text())
            options["router_aux_loss_coef"] = config["router_aux_loss_coef"]
        if optim == "adafactor":
            options["optim"] = "adamw_torch"
    if architecture.startswith(("opt", "falcon")):
        options.pop("padding_free", None)
        if options.get("packing"):
            options["packing_strategy"] = "wrapped"
    options |= {"logging_strategy": "steps", "logging_steps": every(rng, 4)} if rng.random() < 0.8 else {"logging_strategy": rng.choice(["epoch", "no"])}
    if rng.random() < 0.2:
        options["logging_first_step"] = True
    sets = rng.choice([[], [""], [""], ["a", "b"]])
    early = None
    if sets:
        options |= rng.choice([{"eval_strategy": "steps", "eval_steps": every(rng, 4)}, {"eval_strategy": "epoch"}])
        if rng.random() < 0.2:
            options["eval_delay"] = rng.choice([1, 2, 0.5]) if options["eval_strategy"] == "epoch" else rng.choice([1, 3])
        if rng.random() < 0.2:
            options["eval_on_start"] = True
    saves = rng.random()
    if sets and saves < 0.5:
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
    if architecture in EXPERTS:
        options.pop("load_best_model_at_end", None)
    template = "tools" if kind == "tools" else rng.choice(["chatml", "chatml", "bos"])
    mean_of_means = accumulation > 1 and options["loss_type"] != "dft" and rng.random() < 0.2
    rows = [row(rng, kind, columns) for _ in range(count)]
    held_out = {name: [row(rng, kind, columns) for _ in range(rng.randint(2, 9))] for name in sets}
    return rng, {
        "seed": seed, "index": index, "architecture": architecture, "kind": kind, "columns": columns, "template": template, "order": order,
        "options": options, "early": early, "meanOfMeans": mean_of_means, "lora": rng.random() < 0.45, "resume": rng.choice(["", "stop", "checkpoint"]),
    }, rows, held_out  # fmt: skip


def make_model(case):
    """A model of the architecture over the quick start's tokens, with weights large enough that tokens differ."""
    torch.manual_seed(1000 * case["seed"] + case["index"])
    config = AutoConfig.from_pretrained(root / "test" / "golden" / "models" / case["architecture"])
    positions = "n_positions" if hasattr(config, "n_positions") else "max_position_embeddings"
    changes = {"vocab_size": 512, positions: 256, "bos_token_id": None, "eos_token_id": 2, "pad_token_id": 3}
    for name in vars(config):
        if "pdrop" in name or name.endswith("dropout"):
            changes[name] = 0.0
        if name in ("sliding_window", "window_size") and getattr(config, name):
            changes[name] = 16
    for name, value in changes.items():
        setattr(config, name, value)
    model = AutoModelForCausalLM.from_config(config).float()
    gemma = config.model_type.startswith("gemma")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name or ".ln_" in name:
                weight.copy_((0.0 if name.endswith("bias") or gemma else 1.0) + 0.1 * torch.randn(weight.shape))
            else:
                weight.normal_(std=0.05 if name.endswith("bias") else 0.3)
    return model


def make_tokenizer(case, directory):
    shutil.copytree(quickstart / "base", directory, ignore=shutil.ignore_patterns("model*", "config.json", "generation_config.json"))
    settings = json.loads((directory / "tokenizer_config.json").read_text())
    if case["template"] == "tools":
        settings["chat_template"] = TEMPLATE_TOOLS
    if case["template"] == "bos":
        settings |= {"chat_template": TEMPLATE_BOS, "bos_token": "<|endoftext|>"}
        tokenizer = json.loads((directory / "tokenizer.json").read_text())
        bos = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
        tokenizer["post_processor"] = {
            "type": "TemplateProcessing", "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
        }  # fmt: skip
        (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return AutoTokenizer.from_pretrained(directory)


@contextmanager
def permuted_by(order):
    """torch.randperm as the order says."""
    randperm = torch.randperm
    torch.randperm = lambda *_, **__: torch.tensor(order)
    try:
        yield
    finally:
        torch.randperm = randperm


class InOrder(Sampler):
    """Rows as they are given, in rxtune's order, or by length as transformers groups rxtune's order."""

    def __init__(self, trainer, rows, order):
        self.trainer, self.rows, self.order, self.epoch = trainer, rows, order, 0

    def __len__(self):
        return len(self.rows)

    def __iter__(self):
        args, epoch = self.trainer.args, self.epoch
        self.epoch += 1
        if self.order == "given":
            return iter(range(len(self.rows)))
        drawn = permutation(len(self.rows), args.seed if args.data_seed is None else args.data_seed, epoch)
        if self.order == "rxtune":
            return iter(drawn)
        with permuted_by(drawn):
            return iter(list(super(SFTTrainer, self.trainer)._get_train_sampler(self.rows)))


def learns(row):
    """Whether a label is left that something predicts: not the first of a document."""
    starts = {sum(row["seq_lengths"][:i]) for i in range(len(row["seq_lengths"]))} if "seq_lengths" in row else {0}
    return any(label != -100 and at not in starts for at, label in enumerate(row["labels"]))


class Followed(SFTTrainer):
    """Orders both can follow, and means over tokens."""

    order = "given"

    def _get_train_sampler(self, train_dataset=None):
        return InOrder(self, self.train_dataset if train_dataset is None else train_dataset, self.order)

    def _get_eval_sampler(self, eval_dataset):
        return SequentialSampler(eval_dataset)

    def _prepare_dataset(self, *args, **kwargs):
        return super()._prepare_dataset(*args, **kwargs).filter(learns)

    def get_eval_dataloader(self, eval_dataset=None):
        drops, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.args.dataloader_drop_last = drops

    def compute_loss(self, model, inputs, *args, **kwargs):
        mode = "train" if self.model.training else "eval"
        self.counts.setdefault(mode, []).append(int((inputs["labels"][..., 1:] != -100).sum()))
        forms = self.label_smoother, self.compute_loss_func
        if mode == "eval":
            self.label_smoother, self.compute_loss_func = None, None
        try:
            return super().compute_loss(model, inputs, *args, **kwargs)
        finally:
            self.label_smoother, self.compute_loss_func = forms

    def log(self, logs, start_time=None):
        mode = "train" if self.model.training else "eval"
        counts = self.counts.pop(mode, [])
        whole = max(1, sum(counts))
        for key in ("entropy", "mean_token_accuracy"):
            values = self._metrics[mode].get(key)
            if values:
                assert len(values) == len(counts), (mode, key, len(values), len(counts))
                sums = [value * count for value, count in zip(values, counts)]
                self._metrics[mode][key] = [sum(map(round, sums)) / whole if key != "entropy" else sum(sums) / whole]
        if counts:
            logs["items" if mode == "train" else "eval_items"] = sum(counts)
        super().log(logs, start_time)


def plain_rows(rows):
    return [{key: one[key] for key in ("input_ids", "labels", "seq_lengths") if key in one} for one in rows]


def theirs(case, directory, model, tokenizer, rows, held_out):
    options = dict(case["options"])
    # transformers 5 has one name for both.
    if "warmup_ratio" in options:
        options["warmup_steps"] = options.pop("warmup_ratio")
    ordered = "group_by_length" if case["order"] == "by length" else "random"
    Trainer = type("Trainer", (Followed,), {"order": case["order"], "counts": None})
    evaluation = {name: Dataset.from_list(own) for name, own in held_out.items()}
    early = case["early"]
    trainer = None

    class Made(Trainer):
        def __init__(self, *args, **kwargs):
            self.counts = {}
            super().__init__(*args, **kwargs)
            self._loss_shifts_labels = True
            if case["meanOfMeans"]:
                self.model_accepts_loss_kwargs = False

    trainer = Made(
        model=model,
        args=SFTConfig(
            output_dir=str(directory / "theirs"), report_to="none", use_cpu=True, bf16=False, dataloader_pin_memory=False, disable_tqdm=True,
            **{**options, "train_sampling_strategy": ordered},
        ),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=None if not evaluation else evaluation[""] if "" in evaluation else evaluation,
        processing_class=tokenizer,
        callbacks=[] if early is None else [EarlyStoppingCallback(early["patience"], early["threshold"])],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    prepared = plain_rows(trainer.train_dataset)
    evaluated = trainer.eval_dataset
    evaluated = {} if evaluated is None else evaluated if isinstance(evaluated, dict) else {"": evaluated}
    told = {"rows": prepared, "evalRows": {name: plain_rows(own) for name, own in evaluated.items()}}
    trainer.train()
    state = trainer.state
    trainer.save_model(str(directory / "theirs" / "final"))
    best = state.best_model_checkpoint
    return told | {
        "history": state.log_history,
        "state": {
            "global_step": state.global_step, "max_steps": state.max_steps, "epoch": state.epoch, "best_metric": state.best_metric,
            "best_step": state.best_global_step, "best_model_checkpoint": None if best is None else Path(best).name,
        },
        "checkpoints": sorted(path.name for path in (directory / "theirs").glob("checkpoint-*")),
    }  # fmt: skip


def run(seed, index):
    rng, case, rows, held_out = draw(seed, index)
    directory = asked.out / f"{seed}-{index}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    model = make_model(case)
    model.save_pretrained(directory / "model")
    model = AutoModelForCausalLM.from_pretrained(directory / "model", dtype=torch.float32, attn_implementation="eager")
    tokenizer = make_tokenizer(case, directory / "tokenizer")
    if case["lora"]:
        case["lora"] = adapter(rng, model, case["options"], model.config.tie_word_embeddings)
        torch.manual_seed(index)
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **case["lora"]))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name or "lora_embedding_A" in name:
                    weight.normal_(std=0.05)
        model.peft_config["default"].base_model_name_or_path = "model"
        model.save_pretrained(directory / "adapter")
    else:
        case["lora"] = None
    (directory / "case.json").write_text(json.dumps(case, indent=1))
    (directory / "rows.json").write_text(json.dumps({"train": rows, "eval": held_out}))
    try:
        told = theirs(case, directory, model, tokenizer, rows, held_out)
    except Exception as error:
        told = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()[-1500:]}
    for numbers in [*told.get("history", []), told.get("state", {})]:
        for key, number in numbers.items():
            if isinstance(number, float) and not math.isfinite(number):
                numbers[key] = str(number)
    (directory / "theirs.json").write_text(json.dumps(told))
    print(seed, index, case["architecture"], case["kind"], told.get("error", told.get("state")), flush=True)


for index in map(int, asked.only.split(",")) if asked.only else range(asked.count):
    run(asked.seed, index)
