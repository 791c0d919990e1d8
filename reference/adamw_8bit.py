"""Vectors of AdamW with moments in 8 bits: test/golden/adamw8bit.json.

The algorithm of "8-bit optimizers via block-wise quantization" (Dettmers et al. 2022) in torch, independent of rxtune: dynamic maps,
nearest code by argmin over all 256 distances, a scale for every 256 numbers, a negative first moment never stored as 0. Decay goes before
the step, as in torch.optim.AdamW. Where bitsandbytes is installed its maps are checked against these, and its version is recorded.

    OMP_NUM_THREADS=1 python reference/adamw_8bit.py test/golden/adamw8bit.json
"""

import base64
import json
import sys

import torch

BLOCK = 256


def dynamic_map(signed):
    codes = [0.0, 1.0]
    for i in range(7):
        edges = torch.linspace(0.1, 1, 2 ** (i if signed else i + 1) + 1)
        middles = (10 ** (i - 6) * ((edges[:-1] + edges[1:]) / 2)).tolist()
        codes += middles + ([-x for x in middles] if signed else [])
    return torch.tensor(sorted(codes))


SIGNED, UNSIGNED = dynamic_map(True), dynamic_map(False)


def widen(codes, absmax, code_map):
    return code_map[codes.long()] * absmax.repeat_interleave(BLOCK)[: len(codes)]


def narrow(x, code_map):
    padded = torch.nn.functional.pad(x, (0, -len(x) % BLOCK)).view(-1, BLOCK)
    absmax = padded.abs().max(dim=1).values
    scaled = x / absmax.repeat_interleave(BLOCK)[: len(x)].clamp(min=1e-38)
    codes = (scaled.unsqueeze(1).double() - code_map.double()).abs().argmin(dim=1)
    zero = (code_map == 0).nonzero().item()
    codes = torch.where((x < 0) & (codes == zero), torch.tensor(max(0, zero - 1)), codes)
    return codes.to(torch.uint8), absmax


def step(p, g, m, v, number, lr=1e-2, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.1):
    first = beta1 * widen(*m, SIGNED) + (1 - beta1) * g
    second = beta2 * widen(*v, UNSIGNED) + (1 - beta2) * g * g
    root = (second / (1 - beta2**number)).sqrt() + eps
    p = p * (1 - lr * decay) - lr * (first / (1 - beta1**number)) / root
    return p, narrow(first, SIGNED), narrow(second, UNSIGNED)


def checked_by_bitsandbytes():
    try:
        import bitsandbytes
        from bitsandbytes.functional import create_dynamic_map
    except ImportError:
        return None
    assert torch.equal(create_dynamic_map(signed=True), SIGNED) and torch.equal(create_dynamic_map(signed=False), UNSIGNED)
    return bitsandbytes.__version__


def packed(x):
    data = x.numpy().astype("uint8" if x.dtype == torch.uint8 else "<f4").tobytes()
    return base64.b64encode(data).decode()


torch.manual_seed(11)
size = 2 * BLOCK + 90
p = torch.randn(size)
m = v = (torch.zeros(size, dtype=torch.uint8), torch.zeros(3))
states = []
for number in range(1, 5):
    g = torch.randn(size) * 10 ** torch.empty(size).uniform_(-6, 0)
    g[torch.rand(size) < 0.1] = 0
    g[BLOCK : 2 * BLOCK] *= number > 2  # a block that stays 0 for two updates
    before = {"p": packed(p), "g": packed(g), "m": [packed(x) for x in m], "v": [packed(x) for x in v]}
    p, m, v = step(p, g, m, v, number)
    after = {"p": packed(p), "m": [packed(x) for x in m], "v": [packed(x) for x in v]}
    states.append({"step": number, "before": before, "after": after})
json.dump(
    {
        "versions": {"torch": torch.__version__, "bitsandbytes": checked_by_bitsandbytes()},
        "signed": packed(SIGNED),
        "unsigned": packed(UNSIGNED),
        "size": size,
        "states": states,
    },
    open(sys.argv[1], "w"),
)
