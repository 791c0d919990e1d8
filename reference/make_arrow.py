"""Arrow files for test/formats/data: the stream as `datasets` writes it, the file format, and the values they hold.

python reference/make_arrow.py   (written with datasets 5.0.1, pyarrow 25.0.1)
"""
import json
import pathlib
import shutil
import tempfile

import pyarrow as pa
from datasets import Dataset, Features, List, Value

rows = [
    {
        "text": f"row {i} é 𝄞" if i % 5 else None,
        "input_ids": list(range(i % 4)),
        "messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": "a" * (i % 3)}][: i % 3],
        "score": i / 4,
        "big": 2**53 + i,
        "flag": i % 2 == 0,
        "meta": {"id": i, "tags": ["x", None] if i % 2 else None},
    }
    for i in range(23)
]
features = Features(
    text=Value("string"),
    input_ids=List(Value("int32")),
    messages=List({"role": Value("string"), "content": Value("string")}),
    score=Value("float64"),
    big=Value("int64"),
    flag=Value("bool"),
    meta={"id": Value("int8"), "tags": List(Value("large_string"))},
)
out = pathlib.Path(__file__).parent.parent / "test" / "formats" / "data"
with tempfile.TemporaryDirectory() as work:
    Dataset.from_list(rows, features=features).save_to_disk(work + "/set")
    shutil.copy(work + "/set/data-00000-of-00001.arrow", out / "rows-datasets.arrow")

table = pa.Table.from_pylist(rows, schema=features.arrow_schema).remove_column(4)
table = table.append_column("kind", pa.array(["a", "b", None] * 7 + ["c", "a"]).dictionary_encode())
for name, open_writer, options in [
    ("stream", pa.ipc.new_stream, None),
    ("file", pa.ipc.new_file, None),
    ("zstd", pa.ipc.new_stream, pa.ipc.IpcWriteOptions(compression="zstd")),
    ("lz4", pa.ipc.new_file, pa.ipc.IpcWriteOptions(compression="lz4")),
]:
    with open_writer(out / f"rows-{name}.arrow", table.schema, **({"options": options} if options else {})) as writer:
        writer.write_table(table, max_chunksize=10)
for row in rows:
    row["big"] = str(row["big"]) if row["big"] > 2**53 - 1 else row["big"]
(out / "rows-arrow.json").write_text(json.dumps(rows, ensure_ascii=False) + "\n")
