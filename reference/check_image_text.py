"""What train_image_text.mjs saved, opened by transformers' AutoModelForImageTextToText: logits on text are rxtune's, weights of all other
parts are those of the checkpoint it began with, bit for bit; adapters are opened by PEFT, and sit on no other part.

    python reference/check_image_text.py OUT_DIR            # needs torch, transformers, peft
"""

import json
import sys
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText

MODELS = Path(__file__).resolve().parent.parent / "test" / "golden" / "models"


def opened(folder):
    model, info = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    return model.eval()


def others(model):
    text = ("language_model.", "text_model.", "lm_head")
    return {name: value for name, value in model.state_dict().items() if not any(part in name for part in text)}


worst = 0.0
for folder in sorted(Path(sys.argv[1]).iterdir()):
    name, _, kind = folder.name.rpartition("-")
    source = opened(MODELS / name)
    if kind == "whole":
        model = opened(folder)
        kept, now = others(source), others(model)
        assert kept.keys() == now.keys() and len(kept) > 3
        assert all(torch.equal(value, now[key]) for key, value in kept.items()), folder
        assert type(model) is type(source)
    else:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            model = PeftModel.from_pretrained(source, folder).eval()
        assert not [w for w in said if "adapter keys" in str(w.message)], [str(w.message) for w in said]
        adapted = [key for key, _ in model.named_parameters() if "lora_" in key]
        assert adapted and all("language_model" in key or "text_model" in key for key in adapted)
    ours = json.loads((folder / "logits.json").read_text())
    with torch.no_grad():
        theirs = model(input_ids=torch.tensor([ours["input_ids"]])).logits[0]
    apart = (theirs - torch.tensor(ours["logits"])).abs().max().item()
    worst = max(worst, apart)
    print(f"{folder.name}: {apart:.2e}")
sys.exit(0 if worst < 1e-4 else 1)
