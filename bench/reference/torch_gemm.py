"""Times torch.mm: reads one JSON shape a line, answers with the median seconds of a product.

python torch_gemm.py --threads 2
"""

import argparse
import json
import statistics
import sys
import time

import torch

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=1)
torch.set_num_threads(parser.parse_args().threads)
torch.set_grad_enabled(False)

print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    shape = json.loads(line)
    m, n, k = shape["m"], shape["n"], shape["k"]
    dtype = torch.float32 if shape["dtype"] == "float32" else torch.bfloat16
    a = torch.full((k, m) if shape["ta"] else (m, k), 0.5, dtype=dtype)
    b = torch.full((n, k) if shape["tb"] else (k, n), 0.25, dtype=dtype)
    a = a.t() if shape["ta"] else a
    b = b.t() if shape["tb"] else b
    out = torch.empty(m, n, dtype=dtype)
    torch.mm(a, b, out=out)
    times = []
    for _ in range(shape["repeats"]):
        started = time.perf_counter()
        torch.mm(a, b, out=out)
        times.append(time.perf_counter() - started)
    print(json.dumps({"seconds": statistics.median(times)}), flush=True)
