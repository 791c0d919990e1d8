"""Holds rxtune's safetensors against the reference implementation.

python check_safetensors.py make DIR    writes theirs.safetensors, sharded/ and bf16.safetensors (rounded by torch)
python check_safetensors.py check DIR   reads what check_safetensors.mjs wrote into DIR and compares; exits 1 on a difference
"""
import json
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file

command, folder = sys.argv[1:]
torch.manual_seed(7)
dtypes = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8,
          torch.uint8, torch.bool]
tensors = {}
for i, dtype in enumerate(dtypes):
    values = torch.randn(3, 5 + i) * 50
    tensors[f"layer.{i}.{str(dtype).split('.')[1]}"] = values.to(dtype)
tensors["empty"] = torch.zeros(0, 4)
tensors["scalar"] = torch.tensor(1.5)
# Exact halves, subnormals, the largest values, infinities, NaN: rounding is compared bit for bit.
edges = torch.randint(-2**31, 2**31, (200_000,), dtype=torch.int64).to(torch.int32).view(torch.float32)
spread = torch.randn(200_000) * torch.pow(2.0, torch.randint(-30, 20, (200_000,)).float())
exact = torch.cat([edges[~edges.isnan()], spread, torch.tensor([0.0, -0.0, float("inf"), -float("inf"), 65519.99, 65520.0, 6e-8, 2.98e-8])])

if command == "make":
    save_file(tensors, f"{folder}/theirs.safetensors", {"format": "pt"})
    save_file({"f32": exact, "bf16": exact.to(torch.bfloat16), "f16": exact.to(torch.float16)}, f"{folder}/rounded.safetensors")
    sys.exit()

failures = 0
ours = json.load(open(f"{folder}/written.json"))
for name in ours:
    with safe_open(f"{folder}/{name}", "pt") as file:
        keys = list(file.keys())
        theirs = tensors
        if sorted(keys) != sorted(theirs):
            failures += 1
            print("names differ:", name, sorted(set(keys) ^ set(theirs)))
        for key in keys:
            a, b = file.get_tensor(key), theirs[key]
            if a.dtype != b.dtype or a.shape != b.shape or not torch.equal(a, b):
                failures += 1
                print("differs:", name, key, a.dtype, b.dtype, tuple(a.shape), tuple(b.shape))
print(json.dumps({"files": len(ours), "tensors": len(tensors), "failures": failures}))
sys.exit(1 if failures else 0)
