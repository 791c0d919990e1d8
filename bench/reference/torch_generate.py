"""transformers' generate on the processor, greedily, a line at a time.

python torch_generate.py --model DIR --threads 2
Prints {"ready": true, …}; then, for each line {"prompts": [[ids]], "tokens": n}, all prompts of one length, continues them as one
batch by n tokens each and prints {"seconds", "ids"}. Attention is SDPA, weights float32, the cache the default one.
"""

import argparse
import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()

torch.set_num_threads(args.threads)
model = AutoModelForCausalLM.from_pretrained(args.model, attn_implementation="sdpa", dtype=torch.float32).eval()
print(json.dumps({"ready": True, "torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
for line in sys.stdin:
    case = json.loads(line)
    ids = torch.tensor(case["prompts"])
    length = {"max_new_tokens": case["tokens"], "min_new_tokens": case["tokens"]}
    start = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=0, eos_token_id=None, **length
        )
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "ids": out[:, ids.shape[1] :].tolist()}), flush=True)
