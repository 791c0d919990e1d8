"""Makes examples/quickstart/base: tokenizer, then a small Llama trained on the shop's papers.

Usage: python make_base.py [steps]      (needs torch, transformers, tokenizers; about 15 minutes on 2 cores)
"""

import json
import pathlib
import random
import re
import sys
import time

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

import shop

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
WINDOW, ROWS, RATE, SEED = 80, 16, 3e-3, 7
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.role == 'assistant' %}"
    "{% generation %}{{- message.content + '<|im_end|>' }}{% endgeneration %}"
    "{%- else %}{{- message.content + '<|im_end|>' }}{%- endif %}"
    "{{- '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

base = pathlib.Path(__file__).resolve().parents[2] / "examples" / "quickstart" / "base"
base.mkdir(parents=True, exist_ok=True)
texts = shop.papers(seed=1, characters=4_000_000)

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.train_from_iterator(
    texts[:4000],
    trainers.BpeTrainer(
        vocab_size=512, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    ),
)
tokenizer.save(str(base / "tokenizer.json"))
(base / "tokenizer_config.json").write_text(
    json.dumps(
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|pad|>",
            "model_max_length": 256,
            "padding_side": "right",
            "clean_up_tokenization_spaces": False,
            "chat_template": TEMPLATE,
        },
        indent=2,
    )
    + "\n"
)
end, eos, pad = (tokenizer.token_to_id(token) for token in ("<|endoftext|>", "<|im_end|>", "<|pad|>"))

# What repeats or follows from something above it is worth learning; what was drawn by lot cannot be known, so it weighs little.
KNOWN = ("ledger", "label", "again", "count")
ids, weights, papers = [], [], []
for text in texts:
    papers.append(len(ids))
    for part in re.findall(r"<\|im_start\|>.*?<\|im_end\|>\n", text, re.S):
        own = tokenizer.encode(part).ids
        ids.extend(own)
        weights.extend([1.0 if part[12:].startswith(KNOWN) else 0.1] * len(own))
    ids.append(end)
    weights.append(0.1)
data, weight, papers = torch.tensor(ids), torch.tensor(weights), torch.tensor(papers)
papers = papers[papers < len(data) - WINDOW]
print(f"{len(texts)} papers, {len(data)} tokens, vocabulary {tokenizer.get_vocab_size()}")

torch.manual_seed(SEED)
torch.set_num_threads(1)
config = LlamaConfig(
    vocab_size=tokenizer.get_vocab_size(),
    hidden_size=64,
    intermediate_size=192,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    rms_norm_eps=1e-5,
    tie_word_embeddings=True,
    bos_token_id=None,
    eos_token_id=eos,
    pad_token_id=pad,
    initializer_range=0.12,
)
model = LlamaForCausalLM(config)
print(sum(p.numel() for p in model.parameters()), "parameters")
# Decay would empty the embeddings of tokens that no paper has, and a chat may have them.
decays = lambda name, p: p.dim() == 2 and "embed" not in name
matrices = [p for name, p in model.named_parameters() if decays(name, p)]
others = [p for name, p in model.named_parameters() if not decays(name, p)]
optimizer = torch.optim.AdamW(
    [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=RATE, betas=(0.9, 0.99)
)
schedule = torch.optim.lr_scheduler.LambdaLR(
    optimizer, lambda step: min((step + 1) / 100, max(0.02, 1 - step / STEPS))
)
generator = torch.Generator().manual_seed(SEED)
begun = time.time()


@torch.no_grad()
def copied(n=20):
    """Share of letters for which the model writes the right ledger line."""
    rng, right = random.Random(99), 0
    for _ in range(n):
        what, name = shop.order(rng), rng.choice(shop.NAMES)
        prompt = shop.part("letter", shop.say(rng.choice(shop.LETTERS), what, name)) + "<|im_start|>ledger\n"
        wanted = f"{name}: {what['count']} x {what['item']}, {what['colour']}, {what['day']}"
        row = torch.tensor([tokenizer.encode(prompt).ids])
        out = model.generate(row, attention_mask=torch.ones_like(row), max_new_tokens=40, do_sample=False)
        right += tokenizer.decode(out[0, row.shape[1] :].tolist()) == wanted
    return right / n


for step in range(STEPS):
    starts = papers[torch.randint(0, len(papers), (ROWS,), generator=generator)]
    window = starts[:, None] + torch.arange(WINDOW)
    rows, w = data[window], weight[window][:, 1:]
    losses = torch.nn.functional.cross_entropy(model(rows).logits[:, :-1].transpose(1, 2), rows[:, 1:], reduction="none")
    loss = (losses * w).sum() / w.sum()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    if step % 250 == 0 or step == STEPS - 1:
        print(f"step {step} loss {loss.item():.4f} ledger {copied():.2f} {time.time() - begun:.0f} s", flush=True)
    if step % 500 == 499 or step == STEPS - 1:
        model.save_pretrained(base)
