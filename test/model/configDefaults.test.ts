/**
 * Fields that a config.json leaves out mean what transformers takes for them, and modules that nobody names are those that PEFT takes
 * (reference/config_defaults.py).
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from '@jest/globals';
import { architectureOf, knownModelTypes, modelConfig } from '../../src/model/architectures.js';
import type { ModelConfig } from '../../src/model/config.js';
import { orThrow } from './loadModel.js';

interface Defaults {
  readonly texts: ReadonlyArray<{ readonly given: object; readonly whole: object }>;
  readonly models: Readonly<
    Record<string, { readonly given: object; readonly whole: object; readonly targets: ReadonlyArray<string> | null }>
  >;
}

const { models, texts } = JSON.parse(
  readFileSync(resolve(import.meta.dirname, '..', 'golden', 'config_defaults.json'), 'utf8'),
) as Defaults;

/** A file without token ids means none here. */
const meaning = (raw: object): Partial<ModelConfig> => {
  const { raw: _raw, bosTokenId: _bos, eosTokenIds: _eos, padTokenId: _pad, ...rest } = orThrow(modelConfig(raw));
  return rest;
};

test('are known of every model type', () => {
  expect(Object.keys(models).sort()).toEqual([...knownModelTypes()].sort());
});

/** What the likes of a model have where PEFT knows nothing. */
const latent = ['q_b_proj', 'kv_b_proj'];
const otherwise: Readonly<Record<string, ReadonlyArray<string>>> = {
  phi3: ['qkv_proj'],
  deepseek_v2: latent,
  deepseek_v3: latent,
  mistral4: latent,
  axk1: latent,
  glm4_moe_lite: latent,
  minicpm3: latent,
  youtu: latent,
  mamba: ['in_proj', 'x_proj'],
  falcon_mamba: ['in_proj', 'x_proj'],
  mamba2: ['in_proj'],
  persimmon: ['query_key_value'],
  qwen3_5_text: ['q_proj', 'v_proj', 'in_proj_qkv'],
  qwen3_5: ['q_proj', 'v_proj', 'in_proj_qkv'],
  minicpmv4_6: ['q_proj', 'v_proj', 'in_proj_qkv'],
  qwen3_5_moe_text: ['q_proj', 'v_proj', 'in_proj_qkv'],
  qwen3_5_moe: ['q_proj', 'v_proj', 'in_proj_qkv'],
  qwen3_next: ['q_proj', 'v_proj', 'in_proj_qkvz'],
};

test.each(Object.entries(models))('%s', (name, { given, whole, targets }) => {
  expect(architectureOf(orThrow(modelConfig(whole))).loraTargets).toEqual(
    targets ?? otherwise[name] ?? ['q_proj', 'v_proj'],
  );
  expect(meaning({ model_type: name, ...given })).toEqual(meaning(whole));
});

test('of text models within others are those of their own type', () => {
  for (const { given, whole } of texts) expect(meaning(given)).toEqual(meaning(whole));
  expect(texts).toHaveLength(11);
});
