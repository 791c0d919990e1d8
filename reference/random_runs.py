"""Whole fine-tuning runs of random configurations with TRL's SFTTrainer, for random_runs.mjs to make again and compare.

    python reference/random_runs.py DIR [--count 50] [--seed 1] [--only 3,17] [--architectures lfm2,bamba] [--parity [--trl FOLDER]] [--bfloat16]
    node reference/random_runs.mjs DIR

Run i of a seed is a function of both: a tiny random model of some architecture, rows of some kind, options, perhaps an adapter. DIR/i has
the case, model, adapter and rows that both begin with; DIR/i/theirs what TRL leaves, DIR/i/theirs.json what it told. Order: rows as
they are given, or rxtune's own order for seed and epoch. Accuracies and entropies are means over tokens, as rxtune has them.
With --parity the same for `parity: 'trl-0.7.10'`, whose TRL these versions are not: rows are made by its SFTTrainer where --trl names a
checkout of it (trl_0_7_10.py), else here by its rules, and trained by transformers' Trainer, with the mean of micro-batches' means and
epochs of whole updates. What is not drawn, and why, stands in
random_configurations.py. With --bfloat16 models lie in files as bfloat16, and are trained as float32 all the same. Needs trl 1.13, transformers 5.18, peft 0.21 (CPU).
"""

import argparse
import json
import math
import re
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
from random_configurations import EXPERTS, adapter, draw
from rxtune_draws import permutation
from torch.utils.data import Sampler, SequentialSampler
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    default_data_collator,
)
from transformers.models.phimoe import modeling_phimoe
from trl import SFTConfig, SFTTrainer
from trl_0_7_10 import trl_0_7_10

parser = argparse.ArgumentParser()
parser.add_argument("out", type=Path)
parser.add_argument("--count", type=int, default=50)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--only", default="")
parser.add_argument("--architectures", default="", help="by turns, in place of those drawn")
parser.add_argument("--parity", action="store_true")
parser.add_argument("--trl", help="a checkout of TRL 0.7.10")
parser.add_argument("--bfloat16", action="store_true")
asked = parser.parse_args()

root = Path(__file__).resolve().parent.parent
quickstart = root / "examples" / "quickstart"
mixer = modeling_phimoe.sparsemixer
modeling_phimoe.sparsemixer = lambda scores, jitter_eps, training, top_k=2: mixer(scores, jitter_eps, False, top_k)
datasets.disable_caching()
datasets.disable_progress_bars()
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
warnings.filterwarnings("ignore")
torch.set_num_threads(1)

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


def text_of_old(row, tokenizer):
    """The text of a row as 0.7.10 formats it: prompt and completion as two turns, no end of sequence but the template's."""
    if "text" in row:
        return row["text"]
    turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}] if "prompt" in row else row["messages"]
    return tokenizer.apply_chat_template(turns, tokenize=False)


def rows_of_old(rows, tokenizer, length, packing):
    """Rows cut, or windows of one text buffer after another, each ending where no whole window is left (spec of ConstantLengthDataset)."""
    texts = [text_of_old(row, tokenizer) for row in rows]
    if not packing:
        return [{"input_ids": tokenizer(text, truncation=True, max_length=length)["input_ids"]} for text in texts]
    made, at = [], 0
    while at < len(texts):
        buffer, size = [], 0
        while at < len(texts) and size < length * 3.6 * 1024:
            buffer.append(texts[at])
            size += len(texts[at])
            at += 1
        ids = [i for text in buffer for i in [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]]
        windows = [ids[start : start + length] for start in range(0, len(ids), length)]
        made += [{"input_ids": window, "labels": window} for window in windows if len(window) == length]
    return made


def auto(config):
    """The class that opens a model; transformers 5.18 registers Mistral 4 among those that see images."""
    return AutoModelForImageTextToText if hasattr(config, "vision_config") or config.model_type == "mistral4" else AutoModelForCausalLM


def make_model(case):
    """A model of the architecture over the quick start's tokens, with weights large enough that tokens differ."""
    torch.manual_seed(1000 * case["seed"] + case["index"])
    whole = AutoConfig.from_pretrained(root / "test" / "golden" / "models" / case["architecture"])
    config = whole.get_text_config()
    positions = next((name for name in ("n_positions", "max_seq_len") if hasattr(config, name)), "max_position_embeddings")
    seen = [name for name in vars(whole) if re.search("(image|video|audio|vision|bo[ia]|eo[ia]).*_token_(id|index)$", name)]
    for beyond, name in enumerate(seen):
        setattr(whole, name, 512 + beyond)
    changes = {"vocab_size": 512 + len(seen), positions: 256, "bos_token_id": 0 if config.model_type in ("cwm", "mllama_text_model") else None, "eos_token_id": 2, "pad_token_id": 3}
    if hasattr(config, "vocab_size_per_layer_input"):
        changes["vocab_size_per_layer_input"] = 512 + len(seen)
    for name in vars(config):
        if "pdrop" in name or name.endswith("dropout") or name == "input_jitter_noise":
            changes[name] = 0.0
        if name in ("sliding_window", "window_size") and getattr(config, name):
            changes[name] = 16
    for name, value in changes.items():
        setattr(config, name, value)
    if (getattr(config, "rope_parameters", None) or {}).get("rope_type") == "longrope":
        # All texts are short, or all long: transformers turns those of a batch by the longest one's angles.
        config.original_max_position_embeddings = config.rope_parameters["original_max_position_embeddings"] = 256 if config.model_type == "phimoe" else 2
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(whole, name, changes[name])
    model = auto(whole).from_config(whole).float()
    gemma = config.model_type in ("gemma", "gemma2", "gemma3_text", "vaultgemma")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name or ".ln_" in name:
                weight.copy_((0.0 if name.endswith("bias") or gemma else 1.0) + 0.1 * torch.randn(weight.shape))
            else:
                weight.normal_(std=0.05 if name.endswith("bias") else 0.3)
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.normal_(std=0.1)
        if config.model_type == "youtu":
            model.get_input_embeddings().weight[config.pad_token_id] = 0.0
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


sft, utils = trl_0_7_10(asked.trl) if asked.trl else (None, None)


class Old(Trainer if sft is None else sft.SFTTrainer):
    """What of TRL 0.7.10's trainer is left to transformers, or that trainer: rows in an order both can follow."""

    order = "given"

    def _get_train_sampler(self, train_dataset=None):
        return InOrder(self, self.train_dataset if train_dataset is None else train_dataset, self.order)


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


def collated(trainer, rows):
    """Rows as the collator labels them, one by one."""
    made = (trainer.data_collator([row]) for row in rows)
    return [{"input_ids": one["input_ids"][0].tolist(), "labels": one["labels"][0].tolist()} for one in made]


def theirs_of_old(case, directory, model, tokenizer, rows, held_out):
    options = dict(case["options"])
    length, packing = options.pop("max_length"), options.pop("packing", False)
    options.pop("loss_type")
    if "warmup_ratio" in options:
        options["warmup_steps"] = options.pop("warmup_ratio")
    args = TrainingArguments(
        output_dir=str(directory / "theirs"), report_to="none", use_cpu=True, dataloader_pin_memory=False, disable_tqdm=True, **options
    )
    if sft is None:
        trained = rows_of_old(rows, tokenizer, length, packing)
        evaluated = {name: rows_of_old(own, tokenizer, length, packing) for name, own in held_out.items()}
        trainer = Old(
            model=model,
            args=args,
            train_dataset=Dataset.from_list(trained),
            eval_dataset=None if not evaluated else Dataset.from_list(next(iter(evaluated.values()))),
            processing_class=tokenizer,
            data_collator=default_data_collator if packing else DataCollatorForLanguageModeling(tokenizer, mlm=False),
        )
    else:
        evaluation = None if not held_out else Dataset.from_list(next(iter(held_out.values())))
        templates = case.get("templates")
        trainer = Old(
            model=model,
            args=args,
            train_dataset=Dataset.from_list(rows),
            eval_dataset=evaluation,
            tokenizer=tokenizer,
            data_collator=None if templates is None else utils.DataCollatorForCompletionOnlyLM(*templates, tokenizer=tokenizer),
            dataset_text_field="text" if case["kind"] == "text" else None,
            max_seq_length=length,
            packing=packing,
        )
        trained, evaluated = collated(trainer, trainer.train_dataset), {}
        if evaluation is not None:
            evaluated = {next(iter(held_out)): collated(trainer, trainer.eval_dataset)}
    trainer.order = case["order"]
    trainer.model_accepts_loss_kwargs = False
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    trainer.save_model(str(directory / "theirs" / "final"))
    pad = tokenizer.pad_token_id

    def whole(own):
        return [{"labels": [-100 if i == pad else i for i in row["input_ids"]], **row} for row in own]

    return {"rows": whole(trained), "evalRows": {name: whole(own) for name, own in evaluated.items()}, **ended(trainer, directory)}


def theirs(case, directory, model, tokenizer, rows, held_out):
    options = dict(case["options"])
    # transformers 5 has one name for both.
    if "warmup_ratio" in options:
        options["warmup_steps"] = options.pop("warmup_ratio")
    ordered = "group_by_length" if case["order"] == "by length" else "random"
    Trainer = type("Trainer", (Followed,), {"order": case["order"], "counts": None})
    evaluation = {name: Dataset.from_list(own) for name, own in held_out.items()}
    early = case["early"]

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
    # Of many classes that see images transformers divides each micro-batch's loss by its own tokens.
    case["meanOfMeans"] = options["gradient_accumulation_steps"] > 1 and options["loss_type"] != "dft" and not trainer.model_accepts_loss_kwargs
    (directory / "case.json").write_text(json.dumps(case, indent=1))
    prepared = plain_rows(trainer.train_dataset)
    evaluated = trainer.eval_dataset
    evaluated = {} if evaluated is None else evaluated if isinstance(evaluated, dict) else {"": evaluated}
    told = {"rows": prepared, "evalRows": {name: plain_rows(own) for name, own in evaluated.items()}}
    trainer.train()
    trainer.save_model(str(directory / "theirs" / "final"))
    return told | ended(trainer, directory)


def ended(trainer, directory):
    """What a run told, and what it left."""
    state = trainer.state
    best = state.best_model_checkpoint
    return {
        "history": state.log_history,
        "state": {
            "global_step": state.global_step, "max_steps": state.max_steps, "epoch": state.epoch, "best_metric": state.best_metric,
            "best_step": state.best_global_step, "best_model_checkpoint": None if best is None else Path(best).name,
        },
        "checkpoints": sorted(path.name for path in (directory / "theirs").glob("checkpoint-*")),
    }  # fmt: skip


def run(seed, index):
    rng, case, rows, held_out = draw(seed, index, asked.parity, [name for name in asked.architectures.split(",") if name])
    directory = asked.out / f"{seed}-{index}"
    if asked.trl and case["template"] == "chatml" and not case["options"].get("packing") and rng.random() < 0.6:
        # Of rows of no label alone transformers' mean is no number.
        case["templates"] = ["<|im_start|>assistant\n"] + (["<|im_start|>user\n"] if rng.random() < 0.5 else [])
        case["options"]["max_length"] = 200
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    model = make_model(case)
    (model.to(torch.bfloat16) if asked.bfloat16 else model).save_pretrained(directory / "model")
    model = auto(model.config).from_pretrained(directory / "model", dtype=torch.float32, attn_implementation="eager")
    tokenizer = make_tokenizer(case, directory / "tokenizer")
    if case["lora"]:
        case["lora"] = adapter(rng, model, case["options"], getattr(model.config, "tie_word_embeddings", False), case["architecture"] in EXPERTS)
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
        told = (theirs_of_old if asked.parity else theirs)(case, directory, model, tokenizer, rows, held_out)
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
