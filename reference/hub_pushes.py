"""A run of TRL's SFTTrainer that pushes to the Hub that HF_ENDPOINT names; hub_pushes.mjs calls it.

    python reference/hub_pushes.py STRATEGY REPOSITORY OUTPUT_DIR
"""

import json
import sys
from pathlib import Path

import huggingface_hub
import transformers
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

strategy, repository, output_dir = sys.argv[1:4]
base = Path(__file__).parents[1] / "examples" / "quickstart" / "base"
args = SFTConfig(
    output_dir=output_dir,
    push_to_hub=True,
    hub_model_id=repository,
    hub_strategy=strategy,
    hub_always_push=True,
    max_steps=6,
    save_steps=3,
    save_total_limit=1,
    per_device_train_batch_size=2,
    report_to=[],
    use_cpu=True,
)
trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(base),
    args=args,
    train_dataset=Dataset.from_dict({"text": [f"row {i} of text" for i in range(24)]}),
    processing_class=AutoTokenizer.from_pretrained(base),
)
trainer.train()
trainer.save_model()
trainer.push_to_hub()
print(json.dumps({"huggingface_hub": huggingface_hub.__version__, "transformers": transformers.__version__, "trl": trl.__version__}))
