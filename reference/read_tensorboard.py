"""Reads a run's event files with TensorBoard itself and compares them with the run's own log.

    python reference/read_tensorboard.py OUTPUT_DIR

OUTPUT_DIR is that of a run with `--report-to tensorboard`. Made with tensorboard 2.21; nothing else is needed.
"""

import json
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

out = pathlib.Path(sys.argv[1])
events = EventAccumulator(str(out / "runs"), size_guidance={"scalars": 0, "tensors": 0})
events.Reload()
tags = events.Tags()


def compare(file, prefix, tag_of):
    compared = 0
    for line in (out / file).read_text().splitlines():
        row = json.loads(line)
        for name, value in row.items():
            if name == "step" or not name.startswith(prefix):
                continue
            found = [e.value for e in events.Scalars(tag_of(name)) if e.step == row["step"]]
            assert len(found) == 1 and abs(found[0] - value) <= 1e-6 * max(1, abs(value)), (file, name, value, found)
            compared += 1
    return compared


train = compare("log.jsonl", "", lambda name: f"train/{name}")
evaluated = (
    compare("evaluations.jsonl", "eval_", lambda name: f"eval/{name[5:]}") if (out / "evaluations.jsonl").exists() else 0
)
texts = [tag for tag in tags["tensors"] if tag.startswith("samples/")]
for tag in texts:
    assert events.Tensors(tag)[0].tensor_proto.string_val[0].decode().startswith("**prompt**")
print(f"{train} numbers of log.jsonl, {evaluated} of evaluations.jsonl, {len(texts)} answers: all as TensorBoard reads them")
