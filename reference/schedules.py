"""Learning rates of transformers' get_scheduler, and its counts of warm-up updates: test/golden/schedules.json.

    python reference/schedules.py test/golden/schedules.json
"""

import json
import sys

import torch
import transformers
from transformers import TrainingArguments, get_scheduler

RATE = 3e-4

# Warm-up updates, updates of the run; some warm up longer than the run, some not at all.
RUNS = [(0, 7), (3, 12), (5, 5), (4, 3)]

SCHEDULES = [
    ("linear", {}),
    ("cosine", {}),
    ("cosine", {"num_cycles": 1.25}),
    ("cosine_with_restarts", {}),
    ("cosine_with_restarts", {"num_cycles": 3}),
    ("polynomial", {}),
    ("polynomial", {"lr_end": 2e-5, "power": 2.5}),
    ("constant", {}),
    ("constant_with_warmup", {}),
    ("inverse_sqrt", {}),
    ("inverse_sqrt", {"timescale": 9}),
    ("cosine_with_min_lr", {"min_lr": 4e-5}),
    ("cosine_with_min_lr", {"min_lr_rate": 0.2, "num_cycles": 1.5}),
    ("warmup_stable_decay", {"num_decay_steps": 4}),
    ("warmup_stable_decay", {"num_decay_steps": 4, "min_lr_ratio": 0.1, "decay_type": "linear"}),
    ("warmup_stable_decay", {"num_decay_steps": 3, "min_lr_ratio": 0.25, "decay_type": "1-sqrt"}),
    ("warmup_stable_decay", {"num_decay_steps": 2, "num_cycles": 0.75}),
    ("warmup_stable_decay", {"num_decay_steps": 4, "warmup_type": "cosine"}),
    ("warmup_stable_decay", {"num_decay_steps": 4, "warmup_type": "1-sqrt", "min_lr_ratio": 0.2}),
    ("warmup_stable_decay", {"num_decay_steps": 3, "num_stable_steps": 2, "min_lr_ratio": 0.1}),
    ("warmup_stable_decay", {"num_decay_steps": 2, "num_stable_steps": 0, "warmup_type": "cosine", "decay_type": "linear"}),
]


def rates(name, kwargs, warmup, total):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    scheduler = get_scheduler(name, optimizer, warmup, total, dict(kwargs))
    found = []
    for _ in range(total + 3):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return found


def attempt(name, kwargs, warmup, total):
    try:
        return [{"name": name, "kwargs": kwargs, "warmup_steps": warmup, "total_steps": total, "rates": rates(name, kwargs, warmup, total)}]
    except ZeroDivisionError:
        # polynomial divides by the length of its decay.
        return []


json.dump(
    {
        "transformers": transformers.__version__,
        "learning_rate": RATE,
        "schedules": [case for name, kwargs in SCHEDULES for run in RUNS for case in attempt(name, kwargs, *run)],
        "warmups": [
            {"warmup_steps": steps, "total_steps": total, "expected": TrainingArguments("out", use_cpu=True, warmup_steps=steps).get_warmup_steps(total)}
            for steps in (0, 0.03, 0.1, 0.5, 1, 4)
            for total in (1, 10, 33, 100)
        ],
    },
    open(sys.argv[1], "w"),
    indent=1,
)
