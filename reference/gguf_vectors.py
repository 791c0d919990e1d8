"""Bytes that the gguf package makes, for the tests of rxtune's writer.

Writes test/golden/gguf.json: rows of float32 and their q8_0 blocks, and a whole file with metadata of every kind and tensors.

    python reference/gguf_vectors.py            # needs gguf, numpy
"""

import base64
import json
import tempfile
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np

OUT = Path(__file__).resolve().parent.parent / "test" / "golden" / "gguf.json"
text = lambda data: base64.b64encode(data).decode()

generator = np.random.default_rng(5)
rows = np.concatenate(
    [
        generator.standard_normal(96).astype(np.float32),
        np.zeros(32, np.float32),
        (generator.standard_normal(32) * 1e-6).astype(np.float32),
        (generator.standard_normal(32) * 1e4).astype(np.float32),
        np.arange(-16, 16, dtype=np.float32) * np.float32(127 / 32),
    ]
)
blocks = gguf.quants.quantize(rows, gguf.GGMLQuantizationType.Q8_0)

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "small.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("model")
    writer.add_uint32("llama.block_count", 3)
    writer.add_float32("llama.rope.freq_base", 10000.0)
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.add_array("tokenizer.ggml.tokens", ["a", "Ġé", "漢字", ""])
    writer.add_array("tokenizer.ggml.token_type", [1, 3, 4, 5])
    writer.add_array("tokenizer.ggml.scores", [0.0, -1.5, -2.0, 0.25])
    matrix = rows[:192].reshape(3, 64)
    writer.add_tensor("output_norm.weight", rows[:5])
    writer.add_tensor("token_embd.weight", matrix.astype(np.float16))
    writer.add_tensor(
        "output.weight",
        gguf.quants.quantize(matrix, gguf.GGMLQuantizationType.Q8_0),
        raw_dtype=gguf.GGMLQuantizationType.Q8_0,
    )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = path.read_bytes()

OUT.write_text(
    json.dumps(dict(generator=f"gguf {version('gguf')}", rows=text(rows.tobytes()), q8_0=text(blocks.tobytes()), file=text(file)))
    + "\n"
)
print(len(file), "bytes")
