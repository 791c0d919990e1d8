"""Tiny mixtures of experts as transformers 5 writes them when it keeps its own names: one tensor for the gates and ups of all experts of
a layer, another for their downs. In shards.

Writes test/golden/packed_experts/<name>/ from test/golden/models/<name>/, of the same values.

    python reference/packed_experts.py            # needs torch, transformers
"""

import shutil
from pathlib import Path

import transformers

GOLDEN = Path(__file__).resolve().parent.parent / "test" / "golden"

if __name__ == "__main__":
    for name in ("mixtral", "qwen2_moe_mixed"):
        model = transformers.AutoModelForCausalLM.from_pretrained(GOLDEN / "models" / name, dtype="float32")
        folder = GOLDEN / "packed_experts" / name
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder, save_original_format=False, max_shard_size="20KB")
        (folder / "generation_config.json").unlink(missing_ok=True)
        print(name, [f"{path.name} {path.stat().st_size}" for path in sorted(folder.iterdir())])
