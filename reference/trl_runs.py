"""Fine-tuning runs with TRL's SFTTrainer on a tiny random Llama and the quick start's tokenizer: what rxtune is held against.

Three whole configurations: plain text with evaluation; conversations with LoRA, loss on the assistant, accumulation and a cosine
schedule with warm-up; rows packed by best fit with label smoothing and weight decay. Then ten steps for one option each: label
smoothing, NEFTune (with rxtune's noise in place of torch's), accumulation over rows of very unequal length as transformers has it
since 4.46 and as it was before, weight decay and what it leaves out, schedules with a lowest rate, clipping, models with routed experts. Writes
test/golden/trl/: the model, the adapter the LoRA run begins with, and runs.json with rows, options, and loss, gradient norm,
learning rate of every step and every evaluation loss. Needs trl 1.13, transformers 5.18, peft 0.21 (CPU).
Run: python reference/trl_runs.py
"""

import json
import shutil
import tempfile
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from rxtune_draws import Draws
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer

root = Path(__file__).resolve().parent.parent
golden = root / "test" / "golden" / "trl"
quickstart = root / "examples" / "quickstart"


class InOrder(SFTTrainer):
    """Rows in the order in which they are given: two libraries do not shuffle alike. Losses are kept as they are, not rounded."""

    micro_batches = 0
    losses = ()
    mask = None

    def _get_train_sampler(self, train_dataset=None):
        return SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)

    def training_step(self, model, inputs, num_items_in_batch=None):
        self.mask = inputs.get("attention_mask")
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.micro_batches += 1
        self.losses = (*self.losses, float(loss))
        return loss

    def loss_of(self, step):
        """Of an update: what its micro-batches add up to."""
        every = self.args.gradient_accumulation_steps
        return sum(self.losses[(step - 1) * every : step * every])


class MeanOfMeans(InOrder):
    """Accumulation as it was before transformers 4.46: the mean of the micro-batches' means."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False


@contextmanager
def noise_of_rxtune(trainer, seed):
    """NEFTune's hook as it is, but that its draws are those of rxtune, over the tokens that are no padding."""
    uniform_ = torch.Tensor.uniform_

    def ours(tensor, low=0.0, high=1.0, **more):
        if tensor.dim() != 3:
            return uniform_(tensor, low, high, **more)
        bound = float(high)
        draws = Draws(seed, "neftune", trainer.micro_batches)
        real = trainer.mask.bool()
        values = [(2 * draws.uniform() - 1) * bound for _ in range(int(real.sum()) * tensor.shape[-1])]
        tensor[real] = torch.tensor(values, dtype=torch.float32).reshape(-1, tensor.shape[-1])
        return tensor

    torch.Tensor.uniform_ = ours
    try:
        yield
    finally:
        torch.Tensor.uniform_ = uniform_


def conversations(count, turns):
    lines = (quickstart / "train.jsonl").read_text().splitlines()
    return [{"messages": json.loads(line)["messages"][:turns]} for line in lines[:count]]


def texts(first, count):
    rows = conversations(first + count, 2)[first:]
    return [{"text": " => ".join(message["content"] for message in row["messages"])} for row in rows]


def make_model():
    torch.manual_seed(11)
    config = LlamaConfig(
        vocab_size=512, hidden_size=32, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=256, tie_word_embeddings=True, bos_token_id=None, eos_token_id=2, pad_token_id=3,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        # Larger than the usual initialisation: losses that differ between tokens show what a mean was taken of.
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(std=0.15)
    model.save_pretrained(golden / "model")


def run(name, options, train, evaluation=None, lora=None, kind=InOrder, base="trl/model"):
    model = AutoModelForCausalLM.from_pretrained(golden.parent / base, dtype=torch.float32, attn_implementation="eager")
    if lora is not None:
        torch.manual_seed(12)
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora))
        with torch.no_grad():
            for key, weight in model.named_parameters():
                if "lora_B" in key:
                    weight.normal_(std=0.05)
        model.peft_config["default"].base_model_name_or_path = "trl/model"
        model.save_pretrained(golden / "adapter")
        (golden / "adapter" / "README.md").unlink(missing_ok=True)
    work = tempfile.mkdtemp()
    trainer = kind(
        model=model,
        args=SFTConfig(
            output_dir=work, logging_steps=1, save_strategy="no", report_to="none", use_cpu=True, bf16=False,
            gradient_checkpointing=False, dataloader_pin_memory=False, disable_tqdm=True,
            **{"seed": 1, "optim": "adamw_torch", **options},
        ),
        train_dataset=Dataset.from_list(train),
        eval_dataset=None if evaluation is None else Dataset.from_list(evaluation),
        processing_class=AutoTokenizer.from_pretrained(quickstart / "base"),
    )
    with noise_of_rxtune(trainer, trainer.args.seed):
        trainer.train()
    shutil.rmtree(work)
    history = trainer.state.log_history
    more = ("aux_loss",) if trainer.aux_loss_enabled else ()
    steps = [
        {key: row[key] for key in (*more, "step", "epoch", "loss", "grad_norm", "learning_rate", "num_tokens", "mean_token_accuracy")}
        for row in history
        if "loss" in row
    ]
    for row in steps:
        exact = trainer.loss_of(row["step"])
        assert abs(exact - row["loss"]) < 1e-3, (exact, row)
        row["loss"] = exact
    evals = [{"step": row["step"], "eval_loss": row["eval_loss"]} for row in history if "eval_loss" in row]
    print(name, [round(row["loss"], 4) for row in steps], evals)
    return {
        "name": name, "model": base, "options": options, "adapter": lora is not None, "meanOfMeans": kind is MeanOfMeans, "train": train,
        **({} if evaluation is None else {"eval": evaluation}), "steps": steps, "evaluations": evals,
    }


shutil.rmtree(golden, ignore_errors=True)
make_model()
made = [
    run(
        "text",
        dict(
            max_steps=8, per_device_train_batch_size=3, per_device_eval_batch_size=2, learning_rate=5e-3, lr_scheduler_type="linear",
            eval_strategy="steps", eval_steps=3, max_length=48, max_grad_norm=1.0,
        ),
        texts(0, 14),
        texts(14, 5),
    ),
    run(
        "conversations",
        dict(
            max_steps=8, per_device_train_batch_size=2, gradient_accumulation_steps=2, learning_rate=1e-2,
            lr_scheduler_type="cosine", warmup_steps=3, assistant_only_loss=True, max_length=128, max_grad_norm=0.5,
        ),
        conversations(20, 4),
        lora=dict(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=["q_proj", "v_proj", "down_proj"]),
    ),
    run(
        "packed",
        dict(
            max_steps=6, per_device_train_batch_size=2, learning_rate=5e-3, lr_scheduler_type="linear", packing=True,
            packing_strategy="bfd", max_length=96, label_smoothing_factor=0.1, weight_decay=0.1, max_grad_norm=1.0,
            # TRL 1.13 cannot smooth labels with its own default, chunked_nll.
            loss_type="nll",
        ),
        texts(0, 24),
    ),
]
ten = dict(max_steps=10, per_device_train_batch_size=3, learning_rate=5e-3, lr_scheduler_type="constant", max_length=96, max_grad_norm=1.0)


def unequal(count):
    """Texts of which each is a few times as long as the one before, by turns."""
    whole = texts(0, count)
    return [{"text": row["text"][: (24, 60, 200)[i % 3]]} for i, row in enumerate(whole)]


def patterns(count):
    """Rows of ids for a model of 40 tokens."""
    return [{"input_ids": [3 + (5 * i + 7 * t + t * t) % 37 for t in range(5 + 3 * (i % 4))]} for i in range(count)]


accumulated = {**ten, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 3, "loss_type": "nll"}
made += [
    run("label smoothing", {**ten, "label_smoothing_factor": 0.2, "loss_type": "nll"}, texts(0, 30)),
    run("NEFTune", {**ten, "neftune_noise_alpha": 5.0, "seed": 1}, texts(0, 30)),
    run("accumulation", accumulated, unequal(30)),
    run("accumulation, mean of means", accumulated, unequal(30), kind=MeanOfMeans),
    run("weight decay", {**ten, "learning_rate": 1e-2, "weight_decay": 3.0}, patterns(30), base="models/qwen2"),
    run(
        "cosine to a lowest rate",
        {**ten, "lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.3}, "warmup_steps": 3},
        texts(0, 30),
    ),
    run(
        "warm up, hold, fall",
        {
            **ten, "lr_scheduler_type": "warmup_stable_decay", "warmup_steps": 3,
            "lr_scheduler_kwargs": {
                "num_decay_steps": 3, "num_stable_steps": 2, "min_lr_ratio": 0.1, "warmup_type": "1-sqrt", "decay_type": "linear",
            },
        },
        texts(0, 30),
    ),
    run("clipping", {**ten, "max_grad_norm": 0.05, "optim": "sgd", "learning_rate": 2.0}, texts(0, 30)),
    run("experts", {**ten, "eval_strategy": "steps", "eval_steps": 4}, patterns(30), patterns(5), base="models/mixtral"),
    run(
        "experts, accumulation",
        {**ten, "router_aux_loss_coef": 0.1, "gradient_accumulation_steps": 2, "eval_strategy": "steps", "eval_steps": 5},
        patterns(60),
        patterns(5),
        base="models/qwen2_moe_mixed",
    ),
    run(
        "experts, accumulation, mean of means",
        # With nll TRL 1.13 takes the coefficient of config.json, whatever the option says.
        {**ten, "router_aux_loss_coef": 0.5, "gradient_accumulation_steps": 2, "loss_type": "nll"},
        patterns(60),
        base="models/qwen2_moe_mixed",
        kind=MeanOfMeans,
    ),
    run("experts left alone", {**ten, "router_aux_loss_coef": 0.0}, patterns(30), base="models/olmoe"),
]
versions = {package: version(package) for package in ("trl", "transformers", "peft", "torch", "datasets")}
(golden / "runs.json").write_text(json.dumps({"versions": versions, "runs": made}, ensure_ascii=False) + "\n")
