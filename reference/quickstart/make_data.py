"""Writes examples/quickstart/train.jsonl and heldout.jsonl.  Usage: python make_data.py"""

import json
import pathlib

import shop

out = pathlib.Path(__file__).resolve().parents[2] / "examples" / "quickstart"
train, heldout = shop.chats(seed=20240119, train=400, heldout=60)
for name, rows in [("train.jsonl", train), ("heldout.jsonl", heldout)]:
    (out / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(name, len(rows), "rows", (out / name).stat().st_size, "bytes")
