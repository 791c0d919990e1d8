"""Times torch.mm, or oneDNN's product where a shape asks for it: reads one JSON shape a line, answers with the seconds
of one of several made in a row.

python torch_gemm.py --threads 2
"""

import argparse
import json
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
    if shape.get("onednn"):
        # made contiguous beforehand: oneDNN is timed on the layout that it likes best
        x, w = a.contiguous().to_mkldnn(), b.t().contiguous().to_mkldnn()

        def product():
            torch.ops.aten.mkldnn_linear(x, w)

    else:
        out = torch.empty(m, n, dtype=dtype)

        def product():
            torch.mm(a, b, out=out)

    product()
    started = time.perf_counter()
    for _ in range(shape["repeats"]):
        product()
    seconds = (time.perf_counter() - started) / shape["repeats"]
    print(json.dumps({"seconds": seconds}), flush=True)
