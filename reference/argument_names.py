"""Names of everything that configures a run in the libraries followed: test/golden/argumentNames.json.

Those of the installed versions are read from their dataclasses. Those of transformers 4.36.2 and TRL 0.7.10, which do not install beside
them, stand below as their documentation lists them; where the path of an old training_args.py is given, its class is read instead.

    python reference/argument_names.py test/golden/argumentNames.json [path of training_args.py of 4.36.2]
"""

import ast
import dataclasses
import json
import sys

import peft
import transformers
import trl

OLD_ARGUMENTS = """
output_dir overwrite_output_dir do_train do_eval do_predict evaluation_strategy prediction_loss_only per_device_train_batch_size
per_device_eval_batch_size per_gpu_train_batch_size per_gpu_eval_batch_size gradient_accumulation_steps eval_accumulation_steps eval_delay
learning_rate weight_decay adam_beta1 adam_beta2 adam_epsilon max_grad_norm num_train_epochs max_steps lr_scheduler_type
lr_scheduler_kwargs warmup_ratio warmup_steps log_level log_level_replica log_on_each_node logging_dir logging_strategy
logging_first_step logging_steps logging_nan_inf_filter save_strategy save_steps save_total_limit save_safetensors save_on_each_node
no_cuda use_cpu use_mps_device seed data_seed jit_mode_eval use_ipex bf16 fp16 fp16_opt_level half_precision_backend bf16_full_eval
fp16_full_eval tf32 local_rank ddp_backend tpu_num_cores tpu_metrics_debug debug dataloader_drop_last eval_steps
dataloader_num_workers past_index run_name disable_tqdm remove_unused_columns label_names load_best_model_at_end
metric_for_best_model greater_is_better ignore_data_skip fsdp fsdp_min_num_params fsdp_config fsdp_transformer_layer_cls_to_wrap
deepspeed label_smoothing_factor optim optim_args adafactor group_by_length length_column_name report_to
ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers dataloader_pin_memory dataloader_persistent_workers
skip_memory_metrics use_legacy_prediction_loop push_to_hub resume_from_checkpoint hub_model_id hub_strategy hub_token
hub_private_repo hub_always_push gradient_checkpointing gradient_checkpointing_kwargs include_inputs_for_metrics fp16_backend
push_to_hub_model_id push_to_hub_organization push_to_hub_token mp_parameters auto_find_batch_size full_determinism torchdynamo
ray_scope ddp_timeout torch_compile torch_compile_backend torch_compile_mode dispatch_batches split_batches
include_tokens_per_second include_num_input_tokens_seen neftune_noise_alpha
""".split()

OLD_TRAINER = """
model args data_collator train_dataset eval_dataset tokenizer model_init compute_metrics callbacks optimizers
preprocess_logits_for_metrics peft_config dataset_text_field packing formatting_func max_seq_length infinite num_of_sequences
chars_per_token dataset_num_proc dataset_batch_size neftune_noise_alpha model_init_kwargs dataset_kwargs
""".split()


def fields_of_class(path, name):
    for node in ast.parse(open(path).read()).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return [item.target.id for item in node.body if isinstance(item, ast.AnnAssign)]


json.dump(
    {
        "transformers 4.36.2 TrainingArguments": fields_of_class(sys.argv[2], "TrainingArguments") if sys.argv[2:] else OLD_ARGUMENTS,
        f"transformers {transformers.__version__} TrainingArguments": [f.name for f in dataclasses.fields(transformers.TrainingArguments)],
        f"TRL {trl.__version__} SFTConfig": [f.name for f in dataclasses.fields(trl.SFTConfig)],
        "TRL 0.7.10 SFTTrainer": OLD_TRAINER,
        f"TRL {trl.__version__} ModelConfig": [f.name for f in dataclasses.fields(trl.ModelConfig)],
        f"TRL {trl.__version__} ScriptArguments": [f.name for f in dataclasses.fields(trl.ScriptArguments)],
        f"PEFT {peft.__version__} LoraConfig": [f.name for f in dataclasses.fields(peft.LoraConfig)],
    },
    open(sys.argv[1], "w"),
    indent=1,
)
