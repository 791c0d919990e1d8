"""Byte vectors of 4-bit and 8-bit quantisation for test/golden/quantized.json.

The published algorithm in torch, independent of rxtune: nearest of 16 codes to x / absmax by argmin over all distances, a dynamic
map for the scales of double quantisation, LLM.int8 rows. Where bitsandbytes is installed, its own results are checked against
them, and its version is recorded.

    python reference/quantize_vectors.py test/golden/quantized.json
"""

import json
import sys

import torch

from four_bit import CODES, nearest


def dynamic_map():
    codes = []
    for i in range(7):
        edges = torch.linspace(0.1, 1, 2**i + 1)
        middles = 10 ** (i - 6) * ((edges[:-1] + edges[1:]) / 2)
        codes += middles.tolist() + (-middles).tolist()
    return torch.tensor(sorted(codes + [0.0, 1.0]))


def four_bit(x, kind):
    index, absmax = nearest(x, 64, CODES[kind])
    if kind == "fp4":  # 0 and -0 are equally near: the sign decides, as on CUDA
        index = torch.where((x < 0) & (index == 0), torch.tensor(8), index)
    if len(index) % 2:
        index = torch.cat([index, torch.zeros(1, dtype=index.dtype)])
    packed = (index[::2] << 4 | index[1::2]).to(torch.uint8)
    offset = absmax.mean()
    codes, nested = nearest(absmax - offset, 256, dynamic_map())
    return {"bytes": packed.tolist(), "absmax": absmax.tolist(), "nestedCodes": codes.tolist(), "nestedAbsmax": nested.tolist(),
            "offset": offset.item()}


def int8(w):
    scale = w.abs().max(dim=1).values
    return {"codes": torch.round(127 * w / scale.unsqueeze(1)).to(torch.int8).tolist(), "scale": scale.tolist()}


def checked_by_bitsandbytes(x, kind, ours):
    try:
        import bitsandbytes
        from bitsandbytes.functional import quantize_4bit
    except ImportError:
        return "not installed"
    packed, state = quantize_4bit(x, blocksize=64, quant_type=kind)
    assert packed.flatten().tolist() == ours["bytes"] and state.absmax.tolist() == ours["absmax"], kind
    return bitsandbytes.__version__


torch.manual_seed(5)
cases, version = [], None
for kind in CODES:
    for size in (1, 63, 64, 65, 200):
        x = torch.randn(size)
        result = four_bit(x, kind)
        version = checked_by_bitsandbytes(x, kind, result)
        cases.append({"kind": kind, "values": x.tolist(), **result})
rows = torch.randn(5, 9)
many = torch.rand(1030) * 3
codes, nested = nearest(many - many.mean(), 256, dynamic_map())
json.dump(
    {
        "versions": {"torch": torch.__version__, "bitsandbytes": version},
        "dynamicMap": dynamic_map().tolist(),
        "fourBit": cases,
        "int8": {"values": rows.tolist(), **int8(rows)},
        "nested": {"scales": many.tolist(), "codes": codes.tolist(), "absmax": nested.tolist(), "offset": many.mean().item()},
    },
    open(sys.argv[1], "w"),
)
