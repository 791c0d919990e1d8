"""Fine-tuning runs of the tiny checkpoints in test/golden/models, step by step, with transformers, PEFT and torch's AdamW.

Writes test/golden/runs/*.json (rows, options, loss, gradient norm and learning rate of every step, final weights' norms) and
the adapter that the LoRA run begins with. Run: python reference/make_tiny_runs.py
"""

import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, get_scheduler

root = Path(__file__).resolve().parent.parent / "test" / "golden"


def rows(seed, count, vocab, shortest, longest):
    """Rows of a pattern that can be learnt; the first third of each is a prompt without labels."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        length = int(torch.randint(shortest, longest + 1, (1,), generator=generator))
        start = int(torch.randint(3, vocab, (1,), generator=generator))
        ids = [(start + 3 * t) % (vocab - 3) + 3 for t in range(length)]
        labels = [-100 if t < length // 3 else i for t, i in enumerate(ids)]
        made.append({"input_ids": ids, "labels": labels})
    return made


def padded(batch):
    width = max(len(row["input_ids"]) for row in batch)
    fill = lambda row, key, value: row[key] + [value] * (width - len(row[key]))
    return {
        "input_ids": torch.tensor([fill(row, "input_ids", 0) for row in batch]),
        "labels": torch.tensor([fill(row, "labels", -100) for row in batch]),
        "attention_mask": torch.tensor([[1] * len(r["input_ids"]) + [0] * (width - len(r["input_ids"])) for r in batch]),
    }


def run(name, directory, data, options, adapter=None):
    model = AutoModelForCausalLM.from_pretrained(root / "models" / directory, dtype=torch.float32, attn_implementation="eager")
    if adapter is not None:
        torch.manual_seed(5)
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **adapter))
        with torch.no_grad():
            for key, weight in model.named_parameters():
                if "lora_B" in key:
                    weight.normal_(std=0.05)
        # The name of the base, not its place on this machine.
        model.peft_config["default"].base_model_name_or_path = f"models/{Path(model.peft_config['default'].base_model_name_or_path).name}"
        model.save_pretrained(root / "runs" / f"{name}-adapter")
        (root / "runs" / f"{name}-adapter" / "README.md").unlink(missing_ok=True)
    model.eval()  # dropout off
    trained = [(key, p) for key, p in model.named_parameters() if p.requires_grad]
    exempt = lambda key: "bias" in key or "norm" in key or ".ln_" in key
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for key, p in trained if not exempt(key)], "weight_decay": options["weight_decay"]},
            {"params": [p for key, p in trained if exempt(key)], "weight_decay": 0.0},
        ],
        lr=options["learning_rate"],
    )
    steps, size, every = options["max_steps"], options["batch_size"], options["accumulation"]
    scheduler = get_scheduler(options["lr_scheduler_type"], optimizer, options["warmup_steps"], steps)
    at, log = 0, []
    for step in range(steps):
        batches = []
        for _ in range(every):
            batches.append(data[at : at + size])
            at = (at + size) % len(data)
        # transformers from 4.46 on: the sum over the whole update divided by its supervised tokens.
        count = sum(label != -100 for batch in batches for row in batch for label in row["labels"][1:])
        loss = 0.0
        for batch in batches:
            inputs = padded(batch)
            output = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
            logits = output.logits
            part = torch.nn.functional.cross_entropy(
                logits[:, :-1].reshape(-1, logits.shape[-1]).float(),
                inputs["labels"][:, 1:].reshape(-1),
                ignore_index=-100,
                reduction="sum",
            ) / count
            if getattr(model.config, "output_router_logits", False):
                part = part + model.config.router_aux_loss_coef * output.aux_loss / every
            part.backward()
            loss += part.item()
        norm = torch.nn.utils.clip_grad_norm_([p for _, p in trained], options["max_grad_norm"])
        log.append({"step": step + 1, "loss": loss, "grad_norm": norm.item(), "learning_rate": scheduler.get_last_lr()[0]})
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    finals = {key: p.detach().norm().item() for key, p in trained}
    out = {"name": name, "model": directory, "options": options, "rows": data, "log": log, "final_norms": finals}
    if adapter is not None:
        out["adapter"] = f"{name}-adapter"
    (root / "runs").mkdir(exist_ok=True)
    (root / "runs" / f"{name}.json").write_text(json.dumps(out) + "\n")
    print(name, [round(row["loss"], 4) for row in log])


vocab = lambda directory: json.loads((root / "models" / directory / "config.json").read_text())["vocab_size"]

run(
    "llama-accumulated",
    "llama",
    rows(1, 12, vocab("llama"), 3, 14),
    dict(
        max_steps=9, batch_size=2, accumulation=2, learning_rate=5e-3, lr_scheduler_type="cosine", warmup_steps=2,
        weight_decay=0.1, max_grad_norm=0.5,
    ),
)
run(
    "gpt2-lora",
    "gpt2",
    rows(2, 9, vocab("gpt2"), 4, 10),
    dict(
        max_steps=8, batch_size=3, accumulation=1, learning_rate=2e-2, lr_scheduler_type="linear", warmup_steps=0,
        weight_decay=0.0, max_grad_norm=1.0,
    ),
    adapter=dict(r=3, lora_alpha=6, target_modules=["c_attn"], lora_dropout=0.0, fan_in_fan_out=True),
)
for name, directory, targets in (
    ("mamba-lora", "mamba", ["in_proj", "x_proj"]),
    ("falcon_mamba-lora", "falcon_mamba", ["in_proj", "x_proj"]),
    ("jamba-lora", "jamba", ["q_proj", "v_proj", "in_proj", "x_proj", "out_proj"]),
):
    run(
        name,
        directory,
        rows(4, 9, vocab(directory), 4, 12),
        dict(
            max_steps=8, batch_size=3, accumulation=1, learning_rate=1e-2, lr_scheduler_type="linear", warmup_steps=0,
            weight_decay=0.0, max_grad_norm=1.0,
        ),
        adapter=dict(r=3, lora_alpha=6, target_modules=targets, lora_dropout=0.0),
    )
