"""Does other software open what rxtune wrote? Loads it in transformers (and PEFT) and compares logits.

python check_outputs.py --logits FILE.json --model DIR [--adapter DIR]

FILE holds {"input_ids": [...], "logits": [[...], ...]} as rxtune computed them (reference/write_logits.mjs writes it). Prints the
largest absolute difference and exits 1 above 1e-4.
"""
import argparse
import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser()
parser.add_argument("--logits", required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--adapter")
args = parser.parse_args()

with open(args.logits) as file:
    ours = json.load(file)
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained(args.adapter or args.model)
if args.adapter:
    # As PEFT's AutoPeftModel does for an adapter that was trained with more tokens.
    if len(tokenizer) > model.config.vocab_size:
        model.resize_token_embeddings(len(tokenizer))
    from peft import PeftModel

    model = PeftModel.from_pretrained(model, args.adapter)
model.eval()
with torch.no_grad():
    theirs = model(input_ids=torch.tensor([ours["input_ids"]])).logits[0]
difference = (theirs - torch.tensor(ours["logits"])).abs().max().item()
print(json.dumps({"model": args.model, "adapter": args.adapter, "max_abs_difference": difference}))
sys.exit(0 if difference <= 1e-4 else 1)
