"""Writes the small Parquet files that test/formats/parquet.test.ts reads, one a codec: python make_parquet.py OUT_DIR"""
import sys

import pyarrow as pa
import pyarrow.parquet as pq

rows = [
    {
        "messages": [{"role": "user", "content": f"Frage {i} é"}, {"role": "assistant", "content": "x" * i}],
        "input_ids": list(range(i)),
        "weight": None if i % 3 == 0 else i / 4,
        "big": 2**53 + 2 * i if i == 6 else i,
        "flag": i % 2 == 0,
        "text": None if i == 2 else f"row {i}",
    }
    for i in range(7)
]
table = pa.Table.from_pylist(rows)
for codec in ["none", "snappy", "zstd", "gzip"]:
    pq.write_table(table, f"{sys.argv[1]}/rows-{codec}.parquet", compression=codec, row_group_size=3)
