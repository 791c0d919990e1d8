"""Files that torch.save writes, and what is in them.

Writes test/golden/torch/*.bin, contents.json (dtype, shape and bytes of every tensor), a checkpoint in one file and in two, and an
adapter, of those under test/golden/models and test/golden/adapters.

    OMP_NUM_THREADS=1 python reference/torch_files.py            # needs torch, safetensors, numpy
"""

import json
import os
import sys
from collections import OrderedDict
from pathlib import Path

import numpy
import torch
from safetensors.torch import load_file

GOLDEN = Path(__file__).resolve().parent.parent / "test" / "golden"
OUT = GOLDEN / "torch"
NAMES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.uint16: "U16",
    torch.uint32: "U32",
}


class RunsCode:
    def __reduce__(self):
        return (os.system, ("echo this must never run",))


def content(tensors):
    return {
        name: {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "bytes": bytes(tensor.detach().clone().contiguous().flatten().view(torch.uint8).tolist()).hex(),
        }
        for name, tensor in tensors.items()
    }


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    values = torch.randn(3, 4)
    dtypes = OrderedDict()
    for dtype, name in NAMES.items():
        if not name.startswith("F8") and not name.startswith("U16") and not name.startswith("U32"):
            dtypes[name] = (values * 10).to(dtype)
    dtypes["scalar"] = torch.tensor(7.5)
    dtypes["empty"] = torch.empty(0, 3)
    dtypes._metadata = OrderedDict([("", {"version": 1})])

    pool = torch.arange(60, dtype=torch.float32) / 7
    cube = pool.reshape(3, 4, 5)
    views = {
        "whole": pool,
        "reshaped": cube,
        "transposed": cube[1].t(),
        "permuted": cube.permute(2, 0, 1),
        "stepped": pool[3:50:7],
        "row": cube[2, 1],
        "column": cube[:, 2, 3],
        "expanded": pool[5:8].unsqueeze(1).expand(3, 4),
        "half": torch.arange(12).to(torch.float16).reshape(3, 4).t(),
        "none": cube[:, :0].transpose(0, 2),
        "byte": torch.arange(6, dtype=torch.uint8).reshape(2, 3).t(),
        "long": torch.arange(6).reshape(2, 3).t(),
    }
    parameters = {"weight": torch.nn.Parameter(values.clone()), "fixed": torch.nn.Parameter(values[0], requires_grad=False)}
    young = {
        "f8": values.to(torch.float8_e4m3fn),
        "f8_5": values.to(torch.float8_e5m2),
        "u16": torch.arange(5).to(torch.uint16),
        "u32": torch.arange(8).to(torch.uint32)[2:6],
    }
    contents = {}

    def write(name, what, told=None, **options):
        torch.save(what, OUT / f"{name}.bin", **options)
        contents[f"{name}.bin"] = content(what if told is None else told)

    write("dtypes", dtypes)
    write("views", views)
    write("views_legacy", views, _use_new_zipfile_serialization=False)
    write("dtypes_legacy", dtypes, _use_new_zipfile_serialization=False)
    write("parameters", parameters)
    write("young", young)
    write("protocol4", dtypes, pickle_protocol=4)

    # As a big-endian machine leaves it.
    turned = {name: tensor.clone(memory_format=torch.preserve_format) for name, tensor in views.items() if name != "expanded"}
    told = {name: tensor.clone() for name, tensor in turned.items()}
    for tensor in turned.values():
        tensor.untyped_storage().byteswap(tensor.dtype)
    order, sys.byteorder = sys.byteorder, "big"
    try:
        write("big_endian", turned, told)
    finally:
        sys.byteorder = order
    again = torch.load(OUT / "big_endian.bin", weights_only=True)
    assert all(torch.equal(again[name], told[name]) for name in told)

    refused = {
        "runs_code": {"weight": values, "extra": RunsCode()},
        "runs_code_legacy": {"weight": values, "extra": RunsCode()},
        "module": torch.nn.Linear(2, 2),
        "numpy": {"weight": values, "step": numpy.float64(3)},
        "training": {"model": dict(parameters), "epoch": 3},
        "sparse": {"weight": torch.eye(3).to_sparse()},
        "one_tensor": values,
        "numbered": {0: values},
    }
    for name, what in refused.items():
        torch.save(what, OUT / f"refused_{name}.bin", _use_new_zipfile_serialization="legacy" not in name)

    def checkpoint(model, file):
        return load_file(GOLDEN / "models" / model / file)

    # GPT-2 as its model class saves it: the head beside the embedding it shares, and the masks.
    gpt2 = checkpoint("gpt2", "model.safetensors")
    gpt2["lm_head.weight"] = gpt2["transformer.wte.weight"]
    for layer in range(2):
        gpt2[f"transformer.h.{layer}.attn.bias"] = torch.tril(torch.ones(1, 1, 32, 32, dtype=torch.bool))
        gpt2[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    torch.save(OrderedDict(gpt2), OUT / "gpt2.bin")
    llama = checkpoint("llama", "model.safetensors")
    names = sorted(llama)
    weight_map = {}
    for i, part in enumerate((names[::2], names[1::2])):
        file = f"pytorch_model-0000{i + 1}-of-00002.bin"
        torch.save({name: llama[name] for name in part}, OUT / file, _use_new_zipfile_serialization=i == 0)
        weight_map.update({name: file for name in part})
    (OUT / "llama.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}, indent=1))
    torch.save(load_file(GOLDEN / "adapters" / "llama-dora" / "adapter_model.safetensors"), OUT / "adapter.bin")

    (OUT / "contents.json").write_text(json.dumps({"torch": torch.__version__, "files": contents}, indent=1) + "\n")


if __name__ == "__main__":
    main()
