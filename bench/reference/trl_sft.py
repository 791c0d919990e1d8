"""TRL's SFTTrainer on the real job, one step a line.

python trl_sft.py --model DIR --data FILE.jsonl --mode full|lora --dtype float32|bfloat16 --settings default|best --steps N
Rows hold prompt and completion, so the loss is on completions only (TRL's default for such rows). `default` leaves every
setting that bears on speed as TRL ships it (gradient checkpointing on, chunked loss); `best` turns checkpointing off and groups
rows by length. Prints one JSON object a step: {"step", "seconds", "loss", "trained_tokens", "tokens", "peak_bytes"}.
Waits for a line on standard input before each step, so that two programs can take turns.
"""
import argparse
import json
import os
import resource
import sys
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp()

import datasets  # noqa: E402
import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--mode", default="full", choices=["full", "lora"])
parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
parser.add_argument("--settings", default="default", choices=["default", "best"])
parser.add_argument("--steps", type=int, default=6)
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()

torch.set_num_threads(args.threads)
datasets.disable_progress_bars()
tokenizer = AutoTokenizer.from_pretrained(args.model)
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
best = args.settings == "best"
config = dict(
    output_dir=tempfile.mkdtemp(),
    per_device_train_batch_size=args.batch,
    max_steps=args.steps,
    learning_rate=1e-4 if args.mode == "lora" else 2e-5,
    lr_scheduler_type="linear",
    logging_steps=1,
    save_strategy="no",
    report_to=[],
    use_cpu=True,
    bf16=args.dtype == "bfloat16",
    disable_tqdm=True,
    train_sampling_strategy="group_by_length" if best else "sequential",
)
if best:
    config.update(gradient_checkpointing=False, optim="adamw_torch_fused")
peft_config = None
if args.mode == "lora":
    from peft import LoraConfig

    targets = ["c_attn"] if model.config.model_type == "gpt2" else ["q_proj", "v_proj"]
    peft_config = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM")


class Turns(TrainerCallback):
    started = 0.0
    seconds = 0.0

    def on_step_begin(self, *_args, **_kwargs):
        sys.stdin.readline()
        self.started = time.perf_counter()

    def on_step_end(self, *_args, **_kwargs):
        self.seconds = time.perf_counter() - self.started

    def on_log(self, _args, state, _control, logs=None, **_kwargs):
        if logs and "loss" in logs:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            record = {"step": state.global_step, "seconds": self.seconds, "loss": logs["loss"], "peak_bytes": peak}
            print(json.dumps({**record, **counted[-1]}), file=sys.__stdout__, flush=True)

    def on_train_begin(self, *_args, **_kwargs):
        print(json.dumps({"ready": True}), file=sys.__stdout__, flush=True)


counted: list[dict] = []
trainer = SFTTrainer(
    model,
    args=SFTConfig(**config),
    train_dataset=datasets.load_dataset("json", data_files=args.data, split="train"),
    processing_class=tokenizer,
    peft_config=peft_config,
    callbacks=[Turns()],
)
compute_loss = trainer.compute_loss


def counting(model, inputs, *rest, **kwargs):
    counted.append(
        {
            "trained_tokens": int((inputs["labels"][:, 1:] != -100).sum()),
            "tokens": int(inputs["attention_mask"].sum()) if "attention_mask" in inputs else inputs["input_ids"].numel(),
            "rows": [int(n) for n in inputs["attention_mask"].sum(1)] if "attention_mask" in inputs else [],
        }
    )
    return compute_loss(model, inputs, *rest, **kwargs)


trainer.compute_loss = counting
sys.stdout = sys.stderr  # the trainer's own prints
trainer.train()
