"""Makes examples/quickstart/base: tokenizer, then a small Llama trained on the shop's papers.

Usage: python make_base.py [steps]      (needs torch, transformers, tokenizers; about 15 minutes on 2 cores)
"""

import json
import pathlib
import sys
import time

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

import shop

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
WINDOW, ROWS, RATE, SEED = 128, 48, 3e-3, 7
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

ids = []
for encoding in tokenizer.encode_batch(texts):
    ids.extend(encoding.ids)
    ids.append(end)
data = torch.tensor(ids)
print(f"{len(texts)} papers, {len(ids)} tokens, vocabulary {tokenizer.get_vocab_size()}")

torch.manual_seed(SEED)
config = LlamaConfig(
    vocab_size=tokenizer.get_vocab_size(),
    hidden_size=96,
    intermediate_size=256,
    num_hidden_layers=4,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=256,
    rms_norm_eps=1e-5,
    tie_word_embeddings=True,
    bos_token_id=None,
    eos_token_id=eos,
    pad_token_id=pad,
    initializer_range=0.05,
)
model = LlamaForCausalLM(config)
print(sum(p.numel() for p in model.parameters()), "parameters")
matrices = [p for p in model.parameters() if p.dim() == 2]
others = [p for p in model.parameters() if p.dim() != 2]
optimizer = torch.optim.AdamW(
    [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=RATE, betas=(0.9, 0.98)
)
schedule = torch.optim.lr_scheduler.LambdaLR(
    optimizer, lambda step: min((step + 1) / 100, max(0.02, 1 - step / STEPS))
)
generator = torch.Generator().manual_seed(SEED)
begun = time.time()
for step in range(STEPS):
    starts = torch.randint(0, len(data) - WINDOW, (ROWS,), generator=generator)
    rows = torch.stack([data[s : s + WINDOW] for s in starts])
    loss = model(input_ids=rows, labels=rows).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    if step % 100 == 0 or step == STEPS - 1:
        print(f"step {step} loss {loss.item():.4f} {time.time() - begun:.0f} s", flush=True)
    if step % 500 == 499 or step == STEPS - 1:
        model.save_pretrained(base)
