/** A file of options as TRL's own script takes it. */
import { expect, test } from '@jest/globals';
import { Command } from 'commander';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { addSftFlags, decodeSftFlags } from '../../src/cli/sftFlags.js';
import { render } from '../../src/errors.js';
import { closed, optional } from '../../src/formats/closed.js';
import { list, nonEmptyString } from '../../src/formats/optionCodecs.js';
import { inTemporary } from './rxtune.js';

const Own = closed('sft', {
  model: optional(nonEmptyString, 'The model.'),
  trainDataset: optional(list(nonEmptyString), 'Rows.'),
});

const decoded = (yaml: string, ...flags: ReadonlyArray<string>) =>
  inTemporary(async (directory) => {
    const file = join(directory, 'run.yaml');
    await writeFile(file, yaml);
    const command = new Command('sft');
    addSftFlags(command, Own.fields);
    command.parse(['--config', file, ...flags], { from: 'user' });
    const result = await decodeSftFlags(command, Own)();
    return result._tag === 'Right' ? result.right : render(result.left).replace(file, 'run.yaml');
  });

test('SFTConfig, ModelConfig, ScriptArguments and LoraConfig side by side', async () => {
  const yaml = [
    'model_name_or_path: some/model',
    'dataset_name: some/data',
    'dataset_config: null',
    'dataset_train_split: train',
    'torch_dtype: bfloat16',
    'bf16: true',
    'attn_implementation: flash_attention_2',
    'use_peft: true',
    'lora_r: 16',
    'lora_target_modules: [q_proj, v_proj]',
    'task_type: CAUSAL_LM',
    'lora_task_type: CAUSAL_LM',
    'inference_mode: false',
    'load_in_4bit: true',
    'use_bnb_nested_quant: true',
    'learning_rate: 2.0e-4',
    'max_length: 128',
  ].join('\n');
  expect(await decoded(yaml)).toMatchObject({
    own: { model: 'some/model', trainDataset: ['some/data'] },
    config: {
      precision: 'bfloat16',
      attnImplementation: 'fused',
      usePeft: true,
      r: 16,
      targetModules: ['q_proj', 'v_proj'],
      bnb4bitUseDoubleQuant: true,
      learningRate: 2e-4,
      maxLength: 128,
    },
  });
  // A flag goes before the file, by whichever name that has it.
  expect(await decoded(yaml, '--model', 'mine')).toMatchObject({ own: { model: 'mine' } });
});

test('float32 says nothing beside bf16; what cannot be had is refused with its line and the way instead', async () => {
  expect(await decoded('dtype: float32\nbf16: true')).toMatchObject({ config: { precision: 'bfloat16' } });
  expect(await decoded('dtype: float32\nlora_bias: false')).not.toHaveProperty('config.precision', 'float32');
  expect(await decoded('\ndtype: float16')).toMatch(/^run\.yaml:2, field "dtype": .*float32 or bfloat16/s);
  expect(await decoded('dataset_config: main')).toMatch(/^run\.yaml:1, field "dataset_config": .*owner\/name/s);
  expect(await decoded('task_type: SEQ_CLS')).toContain('causal');
  expect(await decoded('model: a\nmodel_name_or_path: b')).toMatch(
    /^run\.yaml:2, field "model_name_or_path": option "model" is given twice.*"model_name_or_path" is another name for it/s,
  );
  expect(await decoded('bf16: false\ndtype: bfloat16')).toContain('given twice');
});

test('a file that was written for sft serves a command that reads less of it; what no command knows is refused all the same', async () => {
  const shared = [
    'model_name_or_path: a',
    'train_dataset: [b]',
    'eval_dataset: c',
    'adapter: d',
    'report: run.html',
    'dashboard: true',
  ];
  expect(await decoded([...shared, 'seed: 3'].join('\n'))).toMatchObject({
    own: { model: 'a', trainDataset: ['b'] },
    config: { seed: 3 },
  });
  expect(await decoded('eval_datase: c')).toMatch(/^run\.yaml:1, field "eval_datase": unknown option "eval_datase"/);
});

test('what is refused of a file is told at once, each with its line', async () => {
  const yaml = [
    'learning_rate: -3',
    'fp16: true',
    'torch_compile: true',
    'logging_step: 3',
    'optim: galore',
    'model: m',
  ].join('\n');
  const told = await decoded(yaml);
  if (typeof told !== 'string') throw new Error('nothing was refused');
  expect(told.split('\n').slice(0, -1)).toEqual([
    'run.yaml:4, field "logging_step": unknown option "logging_step"',
    expect.stringMatching(/^ {2}also line 2: option "fp16" is not offered at true \(.*precision: bfloat16\)$/),
    expect.stringMatching(/^ {2}also line 3: option "torch_compile" is not offered at true \(kernels are /),
    expect.stringMatching(/^ {2}also line 5: optim: optimizer "galore" is not offered \(offered are /),
    expect.stringMatching(
      /^ {2}also line 1: wrong value for learning_rate: expected .*, got -3 \(a number\) \[E_OPTIONS\]$/,
    ),
  ]);
  expect(told).toContain('did you mean "logging_steps"?');
});
