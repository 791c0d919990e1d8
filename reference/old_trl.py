"""Random rows as the SFTTrainer of TRL 0.7.10 itself batches them: text fields, formatting functions, prompts and completions,
conversations; cut or packed; all labels, or those that DataCollatorForCompletionOnlyLM leaves.

    python reference/old_trl.py DIR --trl FOLDER --tokenizers DIR [--count 200] [--seed 1]
    node reference/old_trl.mjs DIR

`--trl` is a checkout of TRL at v0.7.10 (trl_0_7_10.py), `--tokenizers` a folder of tokenizer directories. A buffer of text that the last
row fills is no error here as it was there. The second command says where rxtune under `parity: 'trl-0.7.10'` differs. DIR/cases.json of
`--tokenizers examples/quickstart --count 60` is test/golden/trl/old.json.
"""

import argparse
import importlib
import json
import random
import shutil
import warnings
from pathlib import Path

import datasets
import torch
import transformers
from datasets import Dataset
from torch.utils.data import SequentialSampler
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, TrainingArguments
from trl_0_7_10 import trl_0_7_10

parser = argparse.ArgumentParser()
parser.add_argument("out", type=Path)
parser.add_argument("--trl", required=True)
parser.add_argument("--tokenizers", required=True)
parser.add_argument("--count", type=int, default=200)
parser.add_argument("--seed", type=int, default=1)
args = parser.parse_args()
directory = args.out

datasets.disable_caching()
datasets.disable_progress_bars()
transformers.logging.set_verbosity_error()
warnings.filterwarnings("ignore")


sft, old = trl_0_7_10(args.trl)


class InOrder(sft.SFTTrainer):
    """Rows in the order they are given."""

    def _get_train_sampler(self, train_dataset=None):
        return SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)


WORDS = ["hi", " world", "naïve 🌟", "one\ntwo", "  lead", "trail ", "x = 1", "日本語", "don't", "...", "1234", "\n", "</s>", "<|endoftext|>", "a" * 20, "e\u0301", "\u2028", "\t", "<|im_end|>"]
TEMPLATES = [
    ("### Question: ", "\n ### Answer: "), ("### Human:", "### Assistant:"), ("\n### Instruction:\n", "\n### Response:\n"), ("<|user|>\n", "<|assistant|>\n"),
    ("Q:", "A:"), ("USER: ", " ASSISTANT: "),
]  # fmt: skip
FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
CHAT = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)

FORMATS = {
    "question": lambda row: f"### Question: {row['question']}\n ### Answer: {row['answer']}",
    "answer": lambda row: row["answer"],
    "doubled": lambda row: row["text"] + " " + row["text"],
}


def words(rng, most=6):
    return "".join(rng.choice(WORDS) for _ in range(rng.randint(1, most)))


def turns(rng, template):
    """Turns of a conversation in one text, most often in order."""
    human, assistant = template
    said, parts = human, [words(rng, 2)] if rng.random() < 0.2 else []
    for _ in range(rng.randint(0, 6)):
        parts.append(said + words(rng))
        said = rng.choice([human, assistant]) if rng.random() < 0.15 else assistant if said == human else human
    return "".join(parts) or "nothing"


def messages(rng):
    roles = (["system"] if rng.random() < 0.3 else []) + ["user", "assistant"] * rng.randint(1, 3)
    return [{"role": role, "content": words(rng)} for role in roles]


def drawn(rng, names):
    template = rng.choice(TEMPLATES)
    kind = rng.choice(["text", "text", "turns", "turns", "turns", "format", "both", "prompt", "messages", "conversations"])
    row = {
        "text": lambda: {"text": words(rng, 12)},
        "turns": lambda: {"text": turns(rng, template)},
        "format": lambda: {"question": words(rng), "answer": words(rng)},
        "both": lambda: {"text": words(rng), "question": words(rng), "answer": words(rng)},
        "prompt": lambda: {"prompt": words(rng), "completion": words(rng)},
        "messages": lambda: {"messages": messages(rng)},
        "conversations": lambda: {"conversations": messages(rng)},
    }[kind]
    case = {
        "kind": kind, "tokenizer": rng.choice(names), "rows": [row() for _ in range(rng.randint(1, 12))], "chatFormat": rng.random() < 0.15, "surround": rng.choice(["own", "own", "ending", "named"]), "side": rng.choice(["right", "right", "right", "left"]),
        "field": "text" if kind in ("text", "turns", "both") else None, "format": {"format": "question", "both": rng.choice(list(FORMATS))}.get(kind),
        "maxLength": rng.choice([3, 7, 16, 24, 48, 200, None]), "packing": rng.random() < 0.35, "padIsEos": rng.random() < 0.3, "kwargs": {},
    }  # fmt: skip
    if rng.random() < 0.4:
        case["kwargs"]["add_special_tokens"] = rng.random() < 0.5
    if case["packing"]:
        case |= {"numOfSequences": rng.choice([1, 1, 2, 3, 1024]), "charsPerToken": rng.choice([0.5, 1.0, 3.6])}
        case["maxLength"] = rng.choice([2, 5, 8, 16, 33])
        if rng.random() < 0.3:
            case["kwargs"]["append_concat_token"] = rng.random() < 0.5
    elif kind == "turns" or rng.random() < 0.2:
        human, assistant = ("<|user|>\n", "<|assistant|>\n") if kind in ("prompt", "messages", "conversations") else template
        case["response"] = {"text": assistant, "ids": rng.random() < 0.4}
        if rng.random() < 0.6:
            case["instruction"] = {"text": human, "ids": rng.random() < 0.4}
    return case


def patched(case):
    """What differs in the tokenizer's files: a template for conversations, perhaps eos for padding, or other tokens around a text."""
    source = Path(args.tokenizers, case["tokenizer"])
    own = PreTrainedTokenizerFast.from_pretrained(source)
    settings = {"chat_template": CHAT, "eos_token": own.eos_token, "truncation_side": case["side"]}
    around = {}
    if case["padIsEos"] or own.pad_token is None:
        settings["pad_token"] = own.eos_token
    if case["surround"] != "own":
        first = [own.eos_token] if case["surround"] == "named" else []
        special = {"id": own.eos_token, "ids": [own.eos_token_id], "tokens": [own.eos_token]}
        single = [*({"SpecialToken": {"id": token, "type_id": 0}} for token in first), {"Sequence": {"id": "A", "type_id": 0}}]
        single.append({"SpecialToken": {"id": own.eos_token, "type_id": 0}})
        pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}]
        around = {"post_processor": {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": {own.eos_token: special}}}
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        if first:
            settings |= {"tokenizer_class": "LlamaTokenizerFast", "bos_token": own.eos_token, "add_bos_token": True, "add_eos_token": True}
    names = {name: token for name, token in settings.items() if name in ("bos_token", "eos_token", "pad_token")}
    return {"tokenizer.json": around, "tokenizer_config.json": settings, "special_tokens_map.json": names}


def written_tokenizer(case):
    """A copy of the tokenizer's directory with those changes."""
    own = directory / "-".join([case["tokenizer"], case["surround"], case["side"], "eos" if case["padIsEos"] else "pad"])
    if not own.exists():
        shutil.copytree(Path(args.tokenizers, case["tokenizer"]), own, ignore=lambda _, files: [file for file in files if file not in FILES])
        for name, patch in case["patches"].items():
            if (own / name).exists():
                (own / name).write_text(json.dumps(json.loads((own / name).read_text()) | patch))
    return own


def tokenizer_of(case):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(written_tokenizer(case))
    fast = type(tokenizer)

    class OfNothing(fast):
        """Packing ends with a call on no texts where the last row fills a buffer, which a fast tokenizer does not survive."""

        def __call__(self, text=None, *args, **kwargs):
            return {"input_ids": []} if text == [] else fast.__call__(self, text, *args, **kwargs)

    tokenizer.__class__ = OfNothing
    tokenizer.padding_side = "right"
    return tokenizer


def model_of(tokenizer):
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_layer=1, n_head=1, n_embd=4, n_positions=4096))


def template_of(tokenizer, asked):
    """A template as it is handed over: its text, or its ids behind a line break, without that break's."""
    if asked is None or not asked["ids"]:
        return None if asked is None else asked["text"]
    before = len(tokenizer.encode("\n", add_special_tokens=False))
    return tokenizer.encode("\n" + asked["text"], add_special_tokens=False)[before:]


def theirs(case):
    case["patches"] = patched(case)
    tokenizer = tokenizer_of(case)
    model = model_of(tokenizer)
    if case["chatFormat"]:
        model, tokenizer = importlib.import_module("trl.models.utils").setup_chat_format(model, tokenizer)
    case["directory"] = written_tokenizer(case).name
    case["vocabulary"] = {name: getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    response, instruction = (template_of(tokenizer, case.get(name)) for name in ("response", "instruction"))
    case |= {"responseTemplate": response, "instructionTemplate": instruction}
    collator = None if response is None else old.DataCollatorForCompletionOnlyLM(response, instruction, tokenizer=tokenizer)
    written = FORMATS.get(case["format"])

    def formatting(examples):
        # Of one row when it packs, of a batch when it does not.
        if case["packing"]:
            return written(examples)
        count = len(next(iter(examples.values())))
        return [written({name: column[i] for name, column in examples.items()}) for i in range(count)]

    trainer = InOrder(
        model=model,
        args=TrainingArguments(output_dir=str(directory / "run"), report_to="none", use_cpu=True, per_device_train_batch_size=2, dataloader_pin_memory=False),
        train_dataset=Dataset.from_list(case["rows"]),
        tokenizer=tokenizer,
        data_collator=collator,
        dataset_text_field=case["field"],
        formatting_func=None if written is None else formatting,
        max_seq_length=case["maxLength"],
        packing=case["packing"],
        dataset_kwargs=case["kwargs"],
        **({"num_of_sequences": case["numOfSequences"], "chars_per_token": case["charsPerToken"]} if case["packing"] else {}),
    )
    made = []
    for batch in trainer.get_train_dataloader():
        masks = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
        for ids, labels, mask in zip(batch["input_ids"], batch["labels"], masks):
            assert (labels[mask == 0] == -100).all()
            made.append({"ids": ids[mask == 1].tolist(), "labels": labels[mask == 1].tolist()})
    return made


names = sorted(path.name for path in Path(args.tokenizers).iterdir() if (path / "tokenizer.json").exists() and (path / "tokenizer_config.json").exists())
cases = []
for index in range(args.count):
    case = drawn(random.Random(f"{args.seed} {index}"), names)
    try:
        case["made"] = theirs(case)
    except Exception as error:
        case["error"] = f"{type(error).__name__}: {error}"[:300]
    cases.append(case)

versions = {"torch": torch.__version__, "transformers": transformers.__version__, "trl": "0.7.10"}
(directory / "cases.json").write_text(json.dumps({"versions": versions, "cases": cases}, ensure_ascii=False, separators=(",", ":")), encoding="utf8")
print(f"{len(cases)} cases, {sum('error' in case for case in cases)} refused there")
