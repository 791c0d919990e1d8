"""PyTorch, transformers and PEFT on a card, for bench/gpu.mjs.

python torch_gpu.py about                     {"torch", "transformers", "peft", "bitsandbytes", "card"}: versions, null where absent
python torch_gpu.py make SHAPE DIR            writes a random checkpoint in bfloat16: gpt2-124m, llama-1.1b, gpt2-tiny, llama-tiny
python torch_gpu.py rate --device cuda        the bfloat16 product that the card reaches (cublasLt, through addmm, random numbers) and
                                              its copies, bytes read and written: {"operations_per_second", "bytes_per_second"}
python torch_gpu.py step --model DIR --mode full|lora|qlora --batch 8 --seq 2048 --steps 4 --device cuda
    Prints {"ready": true}, or {"ready": true, "unavailable": why}. Then, for each line of token ids on standard input (steps x batch x
    seq of them), trains so many steps and prints {"seconds", "losses", "peak_bytes"}. A step: forward and loss on every position,
    backward, clip at 1.0, fused AdamW, under bfloat16 autocast with SDPA attention. full: float32 weights; lora: PEFT's on all linear
    layers (r 16, alpha 32) over a bfloat16 base; qlora: the same over bitsandbytes' nf4 with double quantisation. It is the bare loop,
    without what a Trainer adds. Nothing is downloaded.
"""
import argparse
import importlib.metadata
import json
import os
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch


def say(record: dict) -> None:
    print(json.dumps(record), flush=True)


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def about() -> None:
    card = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    say({name: version(name) for name in ("torch", "transformers", "peft", "bitsandbytes")} | {"card": card})


def config_of(shape: str):
    from transformers import GPT2Config, LlamaConfig

    quiet = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "n_positions": 2048}
    tiny = {"vocab_size": 320, "bos_token_id": 0, "eos_token_id": 0}
    return {
        "gpt2-124m": lambda: GPT2Config(**quiet),
        "llama-1.1b": lambda: LlamaConfig(
            hidden_size=2048,
            intermediate_size=5632,
            num_hidden_layers=22,
            num_attention_heads=32,
            num_key_value_heads=4,
            vocab_size=32000,
            max_position_embeddings=2048,
        ),
        "gpt2-tiny": lambda: GPT2Config(n_embd=64, n_layer=2, n_head=4, **quiet, **tiny),
        "llama-tiny": lambda: LlamaConfig(
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            **tiny,
        ),
    }[shape]()


def make(shape: str, folder: str) -> None:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of(shape), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    say({"parameters": sum(p.numel() for p in model.parameters())})


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_of(device: str, times: int, run) -> float:
    """Of one run: the median of five batches, after a warm-up."""
    run()
    found = []
    for _ in range(5):
        synchronize(device)
        start = time.perf_counter()
        for _ in range(times):
            run()
        synchronize(device)
        found.append((time.perf_counter() - start) / times)
    return sorted(found)[2]


def rate(device: str) -> None:
    n = 8192 if device == "cuda" else 256
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    bias = torch.randn(n, device=device, dtype=torch.bfloat16)
    product = seconds_of(device, 20, lambda: torch.addmm(bias, a, b))
    source = torch.randn(2**30 if device == "cuda" else 2**16, device=device)
    target = torch.empty_like(source)
    copy = seconds_of(device, 5, lambda: target.copy_(source))
    say({"operations_per_second": 2 * n**3 / product, "bytes_per_second": 8 * source.numel() / copy})


def load(args):
    from transformers import AutoModelForCausalLM

    how = {"attn_implementation": "sdpa", "dtype": torch.float32 if args.mode == "full" else torch.bfloat16}
    if args.mode == "qlora":
        from transformers import BitsAndBytesConfig

        how["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        how["device_map"] = {"": 0} if args.device == "cuda" else {"": "cpu"}
    model = AutoModelForCausalLM.from_pretrained(args.model, **how)
    if args.mode != "qlora":
        model.to(args.device)
    if args.mode != "full":
        from peft import LoraConfig, get_peft_model

        lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, lora)
    model.train()
    model.config.use_cache = False
    return model


def step(args) -> None:
    if args.mode == "qlora" and version("bitsandbytes") is None:
        say({"ready": True, "unavailable": "bitsandbytes is not installed"})
        return
    try:
        model = load(args)
    except Exception as error:  # a library that does not start on this machine: the line is marked, the others go on
        if args.mode != "qlora":
            raise
        say({"ready": True, "unavailable": f"{type(error).__name__}: {str(error)[:200]}"})
        return
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, weight_decay=0.0, fused=True)

    def one(ids: torch.Tensor) -> torch.Tensor:
        with torch.autocast(args.device, dtype=torch.bfloat16):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    say({"ready": True})
    for line in sys.stdin:
        ids = torch.tensor(json.loads(line), device=args.device).view(args.steps, args.batch, args.seq)
        synchronize(args.device)
        start = time.perf_counter()
        losses = [one(batch) for batch in ids]
        synchronize(args.device)
        seconds = time.perf_counter() - start
        peak = torch.cuda.max_memory_allocated() if args.device == "cuda" else 0
        say({"seconds": seconds, "losses": [loss.item() for loss in losses], "peak_bytes": peak})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["about", "make", "rate", "step"])
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--model")
    parser.add_argument("--mode", choices=["full", "lora", "qlora"])
    parser.add_argument("--batch", type=int)
    parser.add_argument("--seq", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    args = parser.parse_args()
    if args.action == "about":
        about()
    elif args.action == "make":
        make(*args.rest)
    elif args.action == "rate":
        rate(args.device)
    else:
        step(args)


main()
