"""Goldens of `datasets`: which files make which split, and how sources are interleaved.

python reference/dataset_sources.py   (written with datasets 5.0.1, numpy 2)
Writes test/golden/dataset_sources.json.
"""
import json
import pathlib
import tempfile

import datasets
import numpy as np
from datasets import Dataset, interleave_datasets
from datasets.data_files import DataFilesDict, get_data_patterns

FOLDERS = [
    ["train.jsonl", "test.jsonl"],
    ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet"],
    ["data/heldout-00000-of-00001.parquet", "data/train_sft-00000-of-00001.parquet", "extra.csv"],
    ["train/a.jsonl", "train/b.jsonl", "validation/a.jsonl"],
    ["my-train/a.jsonl", "eval/b.jsonl"],
    ["a.jsonl", "b.jsonl"],
    ["my_train_file.csv", "my_dev_file.csv", "my_testing.csv"],
    ["training.txt", "valid.txt", "evaluation.txt"],
    ["retrained.jsonl", "contest.jsonl"],
    ["sub/folder/train-0.jsonl", "sub/folder/val-0.jsonl"],
    ["train.jsonl", ".hidden/test.jsonl", "__pycache__/test.jsonl", "README.md"],
    ["gsm_train.jsonl", "gsm_test.jsonl"],
    ["train1.jsonl", "train2.jsonl", "test 1.jsonl"],
    ["data.json", "dataset_infos.json", "config.json"],
]


def splits(files):
    with tempfile.TemporaryDirectory() as base:
        for file in files:
            path = pathlib.Path(base, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
        found = DataFilesDict.from_patterns(get_data_patterns(base), base_path=base)
        relative = lambda path: pathlib.Path(path).relative_to(base).as_posix()  # noqa: E731
        return {str(split): sorted(relative(path) for path in paths) for split, paths in found.items()}


def draws(probabilities, seed, count):
    """As RandomlyCyclingMultiSourcesExamplesIterable and the map-style function draw: in batches of 1000."""
    rng = np.random.default_rng(seed)
    out = []
    while len(out) < count:
        out += rng.choice(len(probabilities), size=1000, p=probabilities).tolist()
    return out[:count]


MIXES = [
    ([3, 4, 5], [0.5, 0.3, 0.2], 1),
    ([10, 2], [0.1, 0.9], 2),
    ([1, 1], [0.5, 0.5], 3),
    ([7, 30, 2], [0.2, 0.7, 0.1], 4),
]
STRATEGIES = ["first_exhausted", "all_exhausted", "all_exhausted_without_replacement"]
mixes = []
for lengths, probabilities, seed in MIXES:
    sets = [Dataset.from_list([{"row": [s, i]} for i in range(n)]) for s, n in enumerate(lengths)]
    for strategy in STRATEGIES:
        mixed = interleave_datasets(sets, probabilities=probabilities, seed=seed, stopping_strategy=strategy)
        streamed = interleave_datasets(
            [one.to_iterable_dataset() for one in sets], probabilities=probabilities, seed=seed, stopping_strategy=strategy
        )
        rows = [list(row["row"]) for row in mixed]
        assert rows == [list(row["row"]) for row in streamed], (lengths, strategy)
        mixes.append({"lengths": lengths, "draws": draws(probabilities, seed, 400), "strategy": strategy, "rows": rows})

out = pathlib.Path(__file__).parent.parent / "test" / "golden" / "dataset_sources.json"
golden = {
    "versions": {"datasets": datasets.__version__, "numpy": np.__version__},
    "folders": [{"files": files, "splits": splits(files)} for files in FOLDERS],
    "mixes": mixes,
}
out.write_text(json.dumps(golden) + "\n")
print(out, out.stat().st_size)
