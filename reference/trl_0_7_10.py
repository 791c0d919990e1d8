"""The SFTTrainer of TRL 0.7.10 itself, from a checkout (`git worktree add FOLDER v0.7.10`), on newer transformers.

Its Trainer takes the old name of the tokenizer, columns of messages have the class of newer `datasets`, and windows keep their order,
which it drew without a seed.
"""

import importlib
import sys
import types
from pathlib import Path

import transformers
from datasets import List, Value
from transformers import Trainer


class TrainerOf436(Trainer):
    """The Trainer under the names it had."""

    def __init__(self, *args, tokenizer=None, **kwargs):
        super().__init__(*args, processing_class=tokenizer, **kwargs)


def trl_0_7_10(folder):
    """Its trl.trainer.sft_trainer and trl.trainer.utils, without the trainers that need more than is installed."""
    for name in [name for name in sys.modules if name == "trl" or name.startswith("trl.")]:
        del sys.modules[name]
    for name in ("trl", "trl.trainer", "trl.extras", "trl.models"):
        package = types.ModuleType(name)
        package.__path__ = [str(Path(folder, *name.split(".")))]
        sys.modules[name] = package
    transformers.modeling_utils.unwrap_model = lambda model: model
    importlib.import_module("trl.extras.dataset_formatting").FORMAT_MAPPING["chatml"] = List({"content": Value("string"), "role": Value("string")})
    trainers = importlib.import_module("trl.trainer.sft_trainer")
    trainers.SFTTrainer.__bases__ = (TrainerOf436,)
    utils = importlib.import_module("trl.trainer.utils")
    utils.random = types.SimpleNamespace(shuffle=lambda windows: None)
    return trainers, utils
