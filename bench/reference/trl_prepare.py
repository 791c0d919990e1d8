"""The data path of TRL's SFTTrainer: rows on disk to the last collated batch, without a training step.

python trl_prepare.py --data FILE.jsonl --tokenizer DIR --num-proc N --out FILE
Rows hold prompt and completion. Prints {"seconds", "rows", "tokens", "peak_bytes"}; with --out also writes every row's
input_ids and labels (after collation, padding removed) as JSONL so that the two sides can be compared.
"""
import argparse
import json
import os
import resource
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp()
os.environ["TOKENIZERS_PARALLELISM"] = "true"

import datasets  # noqa: E402
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.add_argument("--tokenizer", required=True)
parser.add_argument("--num-proc", type=int, default=0)
parser.add_argument("--max-length", type=int, default=1024)
parser.add_argument("--out")
args = parser.parse_args()

datasets.disable_progress_bars()
# The file as it is: AutoTokenizer of transformers 5 rebuilds Llama's, and gives other ids to a text that begins with a space.
has_file = os.path.exists(os.path.join(args.tokenizer, "tokenizer.json"))
tokenizer = (PreTrainedTokenizerFast if has_file else AutoTokenizer).from_pretrained(args.tokenizer)
model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=max(len(tokenizer), 8)))
work = tempfile.mkdtemp()

start = time.perf_counter()
dataset = datasets.load_dataset("json", data_files=args.data, split="train", cache_dir=work)
trainer = SFTTrainer(
    model,
    args=SFTConfig(
        output_dir=work,
        max_length=args.max_length,
        dataset_num_proc=args.num_proc or None,
        report_to=[],
        use_cpu=True,
        bf16=False,
        train_sampling_strategy="sequential",
    ),
    train_dataset=dataset,
    processing_class=tokenizer,
)
rows = tokens = 0
collected = []
for batch in trainer.get_train_dataloader():
    ids, labels, mask = batch["input_ids"], batch["labels"], batch["attention_mask"]
    rows += ids.shape[0]
    tokens += int(mask.sum())
    if args.out:
        collected.append((ids, labels, mask))
seconds = time.perf_counter() - start

if args.out:
    with open(args.out, "w") as out:
        for ids, labels, mask in collected:
            for i in range(ids.shape[0]):
                keep = mask[i].bool()
                out.write(json.dumps({"input_ids": ids[i][keep].tolist(), "labels": labels[i][keep].tolist()}) + "\n")
own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"seconds": seconds, "rows": rows, "tokens": tokens, "peak_bytes": 1024 * (own + args.num_proc * children)}))
