"""What a 4-bit weight multiplies with: the published algorithm in torch."""

import torch

NF4 = torch.tensor([-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
                    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
                    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0])
FP4 = torch.tensor([0, 0.0625, 8, 12, 4, 6, 2, 3, -0.0, -0.0625, -8, -12, -4, -6, -2, -3]) / 12
CODES = {"nf4": NF4, "fp4": FP4}


def blocks_of(x, size):
    padded = torch.nn.functional.pad(x, (0, -len(x) % size))
    return padded.view(-1, size)


def nearest(x, size, codes):
    """Index of the nearest code to each value over the largest magnitude of its block, and those magnitudes."""
    blocks = blocks_of(x, size)
    absmax = blocks.abs().max(dim=1).values
    scaled = (blocks * (1 / absmax).unsqueeze(1)).reshape(-1)[: len(x)]
    return (scaled.unsqueeze(1) - codes).abs().argmin(dim=1), absmax


def dequantized(weight, kind):
    flat = weight.flatten()
    index, absmax = nearest(flat, 64, CODES[kind])
    return (CODES[kind][index] * absmax.repeat_interleave(64)[: len(flat)]).view_as(weight)
