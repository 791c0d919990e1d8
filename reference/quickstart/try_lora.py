"""Is the quick start learnable? LoRA on its base with PEFT: exact match on the held-out rows before and after.

Usage: python try_lora.py [steps] [rate] [rank]
"""

import json
import pathlib
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

here = pathlib.Path(__file__).resolve().parents[2] / "examples" / "quickstart"
steps, rate, rank = int((sys.argv + [150])[1] if len(sys.argv) > 1 else 150), float(sys.argv[2]) if len(sys.argv) > 2 else 5e-3, int(sys.argv[3]) if len(sys.argv) > 3 else 16
BATCH = 16

torch.manual_seed(0)
torch.set_num_threads(1)
tokenizer = AutoTokenizer.from_pretrained(here / "base")
model = AutoModelForCausalLM.from_pretrained(here / "base", dtype=torch.float32)
read = lambda name: [json.loads(line)["messages"] for line in (here / name).open()]


@torch.no_grad()
def exact(rows):
    model.eval()
    right, shown = 0, []
    for messages in rows:
        ids = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, return_tensors="pt", return_dict=True)["input_ids"]
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=48, do_sample=False, eos_token_id=tokenizer.eos_token_id)
        text = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        right += text == messages[1]["content"]
        shown.append((messages[0]["content"], text, messages[1]["content"]))
    return right / len(rows), shown


heldout = read("heldout.jsonl")
before, shown = exact(heldout)
print("before", before, *shown[:3], sep="\n  ")
model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"))
model.print_trainable_parameters()
rows = []
for messages in read("train.jsonl"):
    out = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    rows.append((out["input_ids"], [i if m else -100 for i, m in zip(out["input_ids"], out["assistant_masks"])]))
print("tokens a row", sum(len(r[0]) for r in rows) / len(rows), "longest", max(len(r[0]) for r in rows))
print("".join(f"[{tokenizer.decode([i])}]" if l == -100 else tokenizer.decode([i]) for i, l in zip(*rows[1])))
parameters = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
order, begun = [], time.time()
model.train()
for step in range(steps):
    if len(order) < BATCH:
        order = torch.randperm(len(rows)).tolist()
    picked, order = [rows[i] for i in order[:BATCH]], order[BATCH:]
    length = max(len(ids) for ids, _ in picked)
    ids = torch.tensor([i + [3] * (length - len(i)) for i, _ in picked])
    labels = torch.tensor([l + [-100] * (length - len(l)) for _, l in picked])
    mask = torch.tensor([[1] * len(i) + [0] * (length - len(i)) for i, _ in picked])
    loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    optimizer.param_groups[0]["lr"] = rate * min(1, (step + 1) / 10) * (1 - step / steps)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    if step % 25 == 0 or step == steps - 1:
        print(f"step {step} loss {loss.item():.4f} {time.time() - begun:.0f} s", flush=True)
after, shown = exact(heldout)
print("after", after)
for prompt, got, wanted in [s for s in shown if s[1] != s[2]][:8]:
    if got != wanted:
        print(" ", prompt, got, wanted, sep="\n    ")
