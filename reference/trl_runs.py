"""Fine-tuning runs with TRL's SFTTrainer on a tiny random Llama and the quick start's tokenizer: what rxtune is held against.

Three configurations: plain text with evaluation; conversations with LoRA, loss on the assistant, accumulation and a cosine schedule
with warm-up; rows packed by best fit with label smoothing and weight decay. Writes test/golden/trl/: the model, the adapter the
LoRA run begins with, and runs.json with rows, options, and loss, gradient norm, learning rate of every step and every evaluation
loss. Needs trl 1.13, transformers 5.18, peft 0.21 (CPU). Run: python reference/trl_runs.py
"""

import json
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer

root = Path(__file__).resolve().parent.parent
golden = root / "test" / "golden" / "trl"
quickstart = root / "examples" / "quickstart"


class InOrder(SFTTrainer):
    """Rows in the order in which they are given: two libraries do not shuffle alike."""

    def _get_train_sampler(self, train_dataset=None):
        return SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)


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


def run(name, options, train, evaluation=None, lora=None):
    model = AutoModelForCausalLM.from_pretrained(golden / "model", dtype=torch.float32, attn_implementation="eager")
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
    trainer = InOrder(
        model=model,
        args=SFTConfig(
            output_dir=work, logging_steps=1, save_strategy="no", report_to="none", use_cpu=True, bf16=False, seed=1,
            gradient_checkpointing=False, optim="adamw_torch", dataloader_pin_memory=False, disable_tqdm=True, **options,
        ),
        train_dataset=Dataset.from_list(train),
        eval_dataset=None if evaluation is None else Dataset.from_list(evaluation),
        processing_class=AutoTokenizer.from_pretrained(quickstart / "base"),
    )
    trainer.train()
    shutil.rmtree(work)
    history = trainer.state.log_history
    steps = [
        {key: row[key] for key in ("step", "epoch", "loss", "grad_norm", "learning_rate", "num_tokens", "mean_token_accuracy")}
        for row in history
        if "loss" in row
    ]
    evals = [{"step": row["step"], "eval_loss": row["eval_loss"]} for row in history if "eval_loss" in row]
    print(name, [round(row["loss"], 4) for row in steps], evals)
    return {
        "name": name, "options": options, "adapter": lora is not None, "train": train,
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
versions = {package: version(package) for package in ("trl", "transformers", "peft", "torch", "datasets")}
(golden / "runs.json").write_text(json.dumps({"versions": versions, "runs": made}, ensure_ascii=False) + "\n")
