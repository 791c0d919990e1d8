"""A small SentencePiece-like tokenizer.json of the Llama family, what the tokenizers library makes of texts with it, and what
transformers 5 does, whose LlamaTokenizer takes vocabulary and merges of the file and not its normalizer.

    python reference/llama_tokenizer.py        # writes test/golden/llama_tokenizer.json; needs tokenizers, transformers
"""

import json
import tempfile
from pathlib import Path

import tokenizers
import transformers
from tokenizers import Tokenizer
from transformers import AutoTokenizer

OUT = Path(__file__).resolve().parent.parent / "test" / "golden" / "llama_tokenizer.json"
SPECIAL = ["<unk>", "<s>", "</s>"]
PIECES = [*SPECIAL, "<0x0A>", "<0xC3>", "<0xA9>", "▁", "h", "i", "u", "s", "e", "r", "w", "▁h", "▁u", "se", "▁hi", "hi", "▁use", "use", "▁user", "user", "▁w"]
MERGES = [("▁", "h"), ("▁", "u"), ("s", "e"), ("▁h", "i"), ("h", "i"), ("▁u", "se"), ("u", "se"), ("▁use", "r"), ("use", "r"), ("▁", "w")]


def added(index, content):
    return dict(id=index, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)


FILE = {
    "version": "1.0",
    "added_tokens": [added(i, content) for i, content in enumerate(SPECIAL)],
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    },
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    },
    "model": {
        "type": "BPE",
        "unk_token": "<unk>",
        "fuse_unk": True,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": {piece: i for i, piece in enumerate(PIECES)},
        "merges": [f"{a} {b}" for a, b in MERGES],
    },
}
TEXTS = ["hi", "user hi", "</s>hi", "hi</s> hi", "hi</s>user", "<s>user\nhi</s>\n<s>user\n", " hi", "  hi", "hi user", "é", "hi ", "<s></s>", ""]


def main():
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "tokenizer.json").write_text(json.dumps(FILE))
        rust = Tokenizer.from_file(f"{directory}/tokenizer.json")

        def loaded(**fields):
            special = dict(unk_token="<unk>", bos_token="<s>", eos_token="</s>")
            (Path(directory) / "tokenizer_config.json").write_text(json.dumps({**special, **fields}))
            return AutoTokenizer.from_pretrained(directory)

        def ids(tokenizer, text):
            return tokenizer(text, add_special_tokens=False)["input_ids"]

        plain = loaded(tokenizer_class="PreTrainedTokenizerFast")
        rebuilt = {legacy: loaded(tokenizer_class="LlamaTokenizer", legacy=legacy) for legacy in (False, True)}
        cases = []
        for text in TEXTS:
            expected = rust.encode(text, add_special_tokens=False).ids
            assert ids(plain, text) == expected, text
            cases.append(
                {
                    "text": text,
                    "ids": expected,
                    "rebuilt": ids(rebuilt[False], text),
                    "rebuiltLegacy": ids(rebuilt[True], text),
                }
            )
    versions = {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__}
    OUT.write_text(json.dumps({"versions": versions, "tokenizer": FILE, "cases": cases}, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
