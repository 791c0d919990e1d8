"""GPTQ's published algorithm in torch on one small layer, for test/golden/gptq.json.

Inverse by torch.cholesky_inverse, error carried on column by column, scales rounded to half precision as files hold them.

    python reference/gptq_vectors.py test/golden/gptq.json
"""

import json
import sys

import torch

torch.manual_seed(11)
ROWS, COLUMNS = 8, 16
mixing = torch.randn(COLUMNS, COLUMNS, dtype=torch.float64)
inputs = torch.randn(64, COLUMNS, dtype=torch.float64) @ mixing
weight = torch.randn(ROWS, COLUMNS, dtype=torch.float64).float().double()
hessian = inputs.T @ inputs


def ranges(block, bits, sym):
    top, bottom = block.max(dim=1).values.clamp(min=0), block.min(dim=1).values.clamp(max=0)
    if sym:
        top = torch.maximum(top, -bottom)
        bottom = -top
    scale = ((top - bottom) / (2**bits - 1)).half().double()
    zero = torch.full_like(scale, 2 ** (bits - 1)) if sym else torch.round(-bottom / scale).clamp(1, 2**bits - 1)
    return scale, zero


def gptq(bits, group, act_order, sym):
    order = torch.argsort(torch.diag(hessian), descending=True) if act_order else torch.arange(COLUMNS)
    w, h = weight[:, order].clone(), hessian[order][:, order].clone()
    h += 0.01 * torch.diag(h).mean() * torch.eye(COLUMNS, dtype=torch.float64)
    u = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    size = COLUMNS if group == -1 else group
    codes, scales, zeros = torch.zeros_like(w), [], []
    for i in range(COLUMNS):
        if i % size == 0:
            scale, zero = ranges(w[:, i : i + size], bits, sym)
            scales.append(scale.tolist())
            zeros.append(zero.tolist())
        code = (torch.round(w[:, i] / scale) + zero).clamp(0, 2**bits - 1)
        codes[:, i] = code
        error = (w[:, i] - scale * (code - zero)) / u[i, i]
        w[:, i + 1 :] -= error.unsqueeze(1) * u[i, i + 1 :].unsqueeze(0)
    back = torch.argsort(order)
    index = (torch.arange(COLUMNS) // size)[back]
    return {"codes": codes[:, back].int().tolist(), "scales": scales, "zeros": zeros, "groupIndex": index.tolist()}


cases = [
    {"bits": bits, "groupSize": group, "descAct": act, "sym": sym, **gptq(bits, group, act, sym)}
    for bits, group, act, sym in [(4, -1, False, True), (4, 8, False, False), (4, 8, True, True), (8, 8, True, False)]
]
json.dump({"torch": torch.__version__, "weight": weight.tolist(), "hessian": hessian.tolist(), "cases": cases}, open(sys.argv[1], "w"))
