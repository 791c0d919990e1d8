"""One training step of PyTorch at its best CPU settings, a line at a time.

python torch_step.py --model DIR --mode full|lora --dtype float32|bfloat16 --batch 2 --seq 512 --threads 2
Prints {"ready": true, …}; then, for each line read from standard input, runs one step (forward, loss on every position,
backward, clip at 1.0, fused AdamW) on the token ids in that line and prints {"seconds", "loss", "peak_bytes"}.
Attention is SDPA; bfloat16 is autocast over float32 master weights, bfloat16-weights autocast over weights in bfloat16 (trained
so where they train: no master weights); LoRA is PEFT's, r 16 alpha 32 on q and v (c_attn for GPT-2, in_proj and
x_proj for Mamba).
"""
import argparse
import json
import resource
import sys
import time

import torch
from transformers import AutoConfig, AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--mode", default="full", choices=["full", "lora"])
parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "bfloat16-weights"])
parser.add_argument("--batch", type=int, default=2)
parser.add_argument("--seq", type=int, default=512)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()

torch.set_num_threads(args.threads)
weights = torch.bfloat16 if args.dtype == "bfloat16-weights" else torch.float32
# Transformers refuses SDPA where there is no attention.
looks_back = AutoConfig.from_pretrained(args.model).model_type != "mamba"
attention = {"attn_implementation": "sdpa"} if looks_back else {}
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=weights, **attention)
if args.mode == "lora":
    from peft import LoraConfig, get_peft_model

    targets = {"gpt2": ["c_attn"], "mamba": ["in_proj", "x_proj"]}.get(model.config.model_type, ["q_proj", "v_proj"])
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=targets, task_type="CAUSAL_LM"))
model.train()
model.config.use_cache = False
parameters = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=1e-5, weight_decay=0.0, fused=True)


def step(ids: torch.Tensor) -> float:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.dtype != "float32"):
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


print(json.dumps({"ready": True, "torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
for line in sys.stdin:
    ids = torch.tensor(json.loads(line)).view(args.batch, args.seq)
    start = time.perf_counter()
    loss = step(ids)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "loss": loss, "peak_bytes": peak}), flush=True)
