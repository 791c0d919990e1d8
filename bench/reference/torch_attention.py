"""Times scaled_dot_product_attention forward and backward: reads one JSON case a line, answers with the median seconds.

python torch_attention.py --threads 2
Several documents are run both ways, a causal call each and one call with a block-diagonal mask; the faster one counts.
"""

import argparse
import json
import statistics
import sys
import time

import torch
from torch.nn.functional import scaled_dot_product_attention

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=1)
torch.set_num_threads(parser.parse_args().threads)


def median_seconds(run, count: int) -> float:
    run()
    times = []
    for _ in range(count):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def case(documents, heads: int, kv_heads: int, head_dim: int, count: int, dtype: torch.dtype) -> dict:
    n = sum(documents)
    # As a model has them: tokens first, heads split off and moved forward as a view.
    leaves = [torch.full((n, h * head_dim), 0.01, dtype=dtype, requires_grad=True) for h in (heads, kv_heads, kv_heads)]
    d_out = torch.full((n, heads * head_dim), 0.01, dtype=dtype)

    def split(x, h):
        return x.view(1, n, h, head_dim).transpose(1, 2)

    def joined(x, length):
        return x.transpose(1, 2).reshape(length, heads * head_dim)

    gqa = heads != kv_heads

    def by_document():
        parts = [split(x, h).split(documents, 2) for x, h in zip(leaves, (heads, kv_heads, kv_heads))]
        outs = [
            joined(scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=gqa), length)
            for q, k, v, length in zip(*parts, documents)
        ]
        out = outs[0] if len(outs) == 1 else torch.cat(outs)
        torch.autograd.grad(out, leaves, d_out)

    ways = {"a call a document": by_document}
    if len(documents) > 1:
        document = torch.repeat_interleave(torch.arange(len(documents)), torch.tensor(documents))
        mask = (document[:, None] == document[None, :]).tril()[None, None]

        def masked():
            q, k, v = (split(x, h) for x, h in zip(leaves, (heads, kv_heads, kv_heads)))
            torch.autograd.grad(joined(scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=gqa), n), leaves, d_out)

        ways["one call with a mask"] = masked
    times = {way: median_seconds(run, count) for way, run in ways.items()}
    way = min(times, key=times.get)
    return {"seconds": times[way], "way": way}


print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    dtype = torch.bfloat16 if asked["dtype"] == "bfloat16" else torch.float32
    print(json.dumps(case(asked["documents"], asked["heads"], asked["kvHeads"], asked["headDim"], asked["count"], dtype)), flush=True)
