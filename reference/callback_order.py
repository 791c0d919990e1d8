"""In which order transformers' Trainer tells its callbacks what happens, and what their flags do: test/golden/callbackOrder.json.

Six rows in batches of two, two epochs: six updates. A callback sets the flags of a case; another writes down what it is told.

    OMP_NUM_THREADS=1 python reference/callback_order.py test/golden/callbackOrder.json
"""

import json
import sys
import tempfile

import transformers
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

ROWS = [{"input_ids": [i, i + 1, i + 2], "labels": [i, i + 1, i + 2]} for i in range(6)]

# options, then flags by "step:N" or "epoch:N" (the end of epoch N, from 0)
CASES = [
    ({"logging_steps": 2, "eval_strategy": "steps", "eval_steps": 2, "save_steps": 2}, {}),
    ({"logging_strategy": "epoch", "eval_strategy": "epoch", "save_strategy": "epoch"}, {}),
    ({"logging_strategy": "no", "save_strategy": "no"}, {"step:2": {"should_log": True, "should_evaluate": True, "should_save": True}}),
    (
        {"logging_steps": 2, "eval_strategy": "steps", "eval_steps": 2, "save_steps": 2},
        {"step:2": {"should_log": False, "should_evaluate": False, "should_save": False}},
    ),
    ({"logging_steps": 1, "save_strategy": "no"}, {"step:1": {"should_epoch_stop": True}}),
    ({"logging_strategy": "epoch", "eval_strategy": "epoch", "save_strategy": "epoch"}, {"step:2": {"should_epoch_stop": True}}),
    ({"logging_strategy": "epoch", "eval_strategy": "epoch", "save_strategy": "epoch"}, {"step:2": {"should_training_stop": True}}),
    ({"logging_steps": 1, "save_strategy": "no"}, {"step:5": {"should_training_stop": True}}),
    ({"logging_strategy": "no", "save_strategy": "no"}, {"epoch:0": {"should_evaluate": True, "should_log": True, "should_save": True}}),
    ({"logging_strategy": "epoch", "eval_strategy": "epoch", "save_strategy": "no"}, {"epoch:1": {"should_evaluate": False}}),
]


def told(options, flags):
    events = []

    def obey(key, control):
        for name, value in flags.get(key, {}).items():
            setattr(control, name, value)

    class Recorder(TrainerCallback):
        epoch = -1

        def on_epoch_begin(self, args, state, control, **kwargs):
            self.epoch += 1
            events.append(f"epochBegun {self.epoch}")

        def on_epoch_end(self, args, state, control, **kwargs):
            events.append(f"epochEnded {self.epoch}")
            obey(f"epoch:{self.epoch}", control)

        def on_step_end(self, args, state, control, **kwargs):
            events.append(f"step {state.global_step}")
            obey(f"step:{state.global_step}", control)

        def on_log(self, args, state, control, logs, **kwargs):
            if "loss" in logs:
                events.append(f"log {state.global_step}")

        def on_evaluate(self, args, state, control, **kwargs):
            events.append(f"evaluation {state.global_step}")

        def on_save(self, args, state, control, **kwargs):
            events.append(f"checkpoint {state.global_step}")

    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=2, num_train_epochs=2, report_to="none", use_cpu=True, disable_tqdm=True, **options
        )
        model = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_embd=8, n_layer=1, n_head=1, n_positions=8))
        Trainer(model=model, args=args, train_dataset=ROWS, eval_dataset=ROWS[:2], callbacks=[Recorder()]).train()
    return events


json.dump(
    {
        "versions": {"transformers": transformers.__version__},
        "cases": [{"options": options, "flags": flags, "events": told(options, flags)} for options, flags in CASES],
    },
    open(sys.argv[1], "w"),
    indent=1,
)
