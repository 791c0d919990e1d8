"""Trains tiny tokenizers of every family on text written here and records what the `tokenizers` library makes of hard texts.

    python reference/tokenizer_offsets.py test/golden/tokenizers.json.gz

Offsets are code point positions as the library gives them, with `trim_offsets` off.
"""

import gzip
import json
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "The lamp in the kitchen burned all night, and nobody knew who had lit it.",
    "Don't ask me why; I'll tell you when we're home. It's late, they've gone, I'd say.",
    "In 1999 there were 12 ships; in 2024 there were 3.5 times as many: 42!",
    "Grüße aus Köln, Straße und Fußgänger; naïve café, crème brûlée, mañana.",
    "Der Zug fährt um 7:45 Uhr. Wo ist der Bahnhof?",
    "今日は雨が降っています。明日は晴れるでしょう。",
    "我们明天去山上看雪。你来吗？我们一起去。",
    "Привет, как дела? Всё хорошо, спасибо.",
    "def add(a, b):\n    return a + b\n\n\nfor i in range(10):\n\tprint(add(i, i))\n",
    "{\"name\": \"lamp\", \"lit\": true, \"hours\": [1, 2, 3]}",
    "Stars 🌟 and moons 🌙 and a family 👨‍👩‍👧, all of them waving 👋🏽.",
    "One fish, two fish, red fish, blue fish; fishing is the fisher's business.",
    "lamp lamps lamplight kitchen kitchens burned burning burns night nights nightly",
]

TEXTS = [
    "",
    " ",
    "a",
    "The lamp burned.",
    " The lamp",
    "the lamp  burned   twice\n\nand\t\tthen   ",
    "Don't you'll WE'RE I'D it's 's 'S x'ſy",
    "12345 1 22 333 4444 ٣٤ ½ ²",
    "Köln: naïve café; e\u0301 versus é, n\u0303o, A\u030a",
    "雨が降る。我们去山上吗？未知漢字龘",
    "Привет ёж",
    "🌟🌙👨‍👩‍👧 x👋🏽y 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "<|im_start|>user\nHello <|im_end|>\n<|im_start|>assistant\n",
    "a<|im_end|>b <|im_end|> c<|im_end|>",
    "<s>x</s> y <s>",
    "word [MASK] word[MASK]word  [MASK]  x",
    "solo soloist solo, (solo) solo",
    "Zebra zebra ZEBRA",
    "ends with newline\n",
    "\n\n leading",
    "a\u0085b\u00a0c\u2003d\u3000e\ufefff\u200bg",
    "tabs\tand\x00null\x1fcontrol",
    "▁already ▁▁ marked▁",
    "ﬁne ﬂow ½ ① Ａ",
    "한국어 \u1112\u1161\u11ab글",
    "İstanbul ΟΔΟΣ ẞ",
    "!?!?... --- ___ ***",
    "one\r\ntwo\rthree",
    "http://example.com/a_b?c=d&e=%20f#g",
    "fishfishfishfishfishfishfishfishfishfishfishfishfishfishfishfishfishfishfishfishfishfishfish",
]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")

CHAT = [AddedToken("<|im_start|>", special=True, normalized=False), AddedToken("<|im_end|>", special=True, normalized=False)]


def byte_level(pre, normalizer=None, ignore_merges=False, vocab=420, post=None):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False),
    )
    tokenizer.add_tokens(CHAT)
    tokenizer.post_processor = post if post is not None else processors.ByteLevel(trim_offsets=False)
    return tokenizer


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def sentencepiece(metaspace=None, byte_fallback=True, fuse=True, vocab=700):
    """Like Llama-2: merges never reach over a word's begin, bytes stand for what is unknown."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=byte_fallback, fuse_unk=fuse))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>"] + ([f"<0x{b:02X}>" for b in range(256)] if byte_fallback else [])
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=vocab, special_tokens=special, show_progress=False, limit_alphabet=120)
    )
    spec = json.loads(tokenizer.to_str())
    # Byte tokens are entries of the vocabulary, not added tokens.
    spec["added_tokens"] = spec["added_tokens"][:3]
    if metaspace is None:
        spec["normalizer"] = {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        }
        spec["pre_tokenizer"] = None
    else:
        spec["pre_tokenizer"] = metaspace
    spec["decoder"] = {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    }
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.add_tokens(CHAT)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer


def unigram(normalizer, metaspace, byte_fallback=False):
    tokenizer = Tokenizer(models.Unigram())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = metaspace
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.UnigramTrainer(vocab_size=300, unk_token="<unk>", special_tokens=["<unk>", "<s>", "</s>"], show_progress=False),
    )
    if byte_fallback:
        spec = json.loads(tokenizer.to_str())
        spec["model"]["vocab"] += [[f"<0x{b:02X}>", -30.0] for b in range(256)]
        spec["model"]["byte_fallback"] = True
        tokenizer = Tokenizer.from_str(json.dumps(spec))
    return tokenizer


def word_piece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False)
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return tokenizer


def with_odd_added_tokens():
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True))
    tokenizer.add_tokens(
        [
            AddedToken("[MASK]", lstrip=True, special=True, normalized=False),
            AddedToken("</s>", rstrip=True, special=True, normalized=False),
            AddedToken("solo", single_word=True, normalized=True),
            AddedToken("zebra", normalized=True),
        ]
    )
    return tokenizer


def with_normalized_added_tokens():
    tokenizer = byte_level(BYTES, normalizer=normalizers.Lowercase())
    tokenizer.add_tokens([AddedToken("Zebra", normalized=True), AddedToken("[MASK]", normalized=False, lstrip=True, rstrip=True)])
    return tokenizer


digits_and_punctuation = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.Punctuation(behavior="contiguous"),
        split(r"\s+", "merged_with_previous"),
        BYTES,
    ]
)
removed = pre_tokenizers.Sequence([split(r"\s+", "removed"), split(r"[a-z]+|[0-9]+", "isolated", True), BYTES])
whitespace = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("merged_with_next"), BYTES])

TOKENIZERS = {
    "gpt2": byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "llama3": byte_level(
        pre_tokenizers.Sequence([split(LLAMA3), BYTES]),
        ignore_merges=True,
        post=processors.TemplateProcessing(single="<|im_start|> $A", pair="$A $B", special_tokens=[("<|im_start|>", 420)]),
    ),
    "qwen2": byte_level(pre_tokenizers.Sequence([split(QWEN2), BYTES]), normalizer=normalizers.NFC()),
    "digits-punctuation": byte_level(digits_and_punctuation),
    "removed": byte_level(removed),
    "whitespace": byte_level(whitespace),
    "added-tokens": with_odd_added_tokens(),
    "normalized-added-tokens": with_normalized_added_tokens(),
    "llama2": sentencepiece(),
    "llama2-first": sentencepiece({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}),
    "sentencepiece-unk": sentencepiece(byte_fallback=False, vocab=400),
    "sentencepiece-unk-each": sentencepiece(byte_fallback=False, fuse=False, vocab=400),
    "unigram": unigram(None, pre_tokenizers.Metaspace()),
    "unigram-nfkc": unigram(normalizers.NFKC(), pre_tokenizers.Metaspace(prepend_scheme="first")),
    "unigram-bytes": unigram(None, pre_tokenizers.Metaspace(split=False), byte_fallback=True),
    "wordpiece": word_piece(),
}


def record(tokenizer):
    rows = []
    for text in TEXTS:
        plain = tokenizer.encode(text, add_special_tokens=False)
        full = tokenizer.encode(text, add_special_tokens=True)
        rows.append(
            {
                "ids": plain.ids,
                "offsets": [position for pair in plain.offsets for position in pair],
                "with_special": None if full.ids == plain.ids else full.ids,
                "decoded": tokenizer.decode(full.ids, skip_special_tokens=False),
                "skipped": tokenizer.decode(full.ids, skip_special_tokens=True),
            }
        )
    return rows


if __name__ == "__main__":
    golden = {
        "texts": TEXTS,
        "tokenizers": {
            name: {"tokenizer": json.loads(tokenizer.to_str()), "rows": record(tokenizer)}
            for name, tokenizer in TOKENIZERS.items()
        },
    }
    text = json.dumps(golden, ensure_ascii=False, separators=(",", ":"))
    with open(sys.argv[1], "wb") as file:
        file.write(gzip.compress(text.encode("utf-8"), 9, mtime=0))
