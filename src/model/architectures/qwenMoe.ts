/** Qwen2-MoE and Qwen3-MoE: Qwen whose MLPs are experts, in all layers or some; Qwen2's has one more that all tokens go to. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type { FatalError } from '../../errors.js';
import { windowsByType } from './llama.js';
import type { Family, LlamaFields } from './llama.js';
import { mixtureArchitecture, mixtureConfig } from './mixture.js';
import type { MixtureConfig, MixtureFamily } from './mixture.js';
import type { RawConfig } from '../config.js';

const windowOf = (fields: LlamaFields, raw: RawConfig): number =>
  fields.use_sliding_window === true ? ('sliding_window' in raw ? (fields.sliding_window ?? 0) : 4096) : 0;

/** Every other layer of the first max_window_layers slides, if sliding is switched on at all. */
const qwen2Windows: Family['windows'] = (fields, raw) =>
  windowsByType(fields, windowOf(fields, raw), (i) => i % 2 === 0 && i < (fields.max_window_layers ?? 28));

const qwen3Windows: Family['windows'] = (fields, raw) =>
  E.right(Array.from({ length: fields.num_hidden_layers }, () => windowOf(fields, raw)));

const qwen2: MixtureFamily = {
  numExperts: 60,
  perToken: 4,
  auxLossCoef: 0.001,
  expertSize: (f) => f.moe_intermediate_size ?? 1408,
  sharedSize: (f) => f.shared_expert_intermediate_size ?? 5632,
  mixed: true,
  llama: { numKvHeads: 16, maxPositions: 32_768, windows: qwen2Windows },
  only: { mlp_bias: false },
};

const qwen3: MixtureFamily = {
  numExperts: 128,
  perToken: 8,
  auxLossCoef: 0.001,
  expertSize: (f) => f.moe_intermediate_size ?? 768,
  mixed: true,
  llama: { numKvHeads: 4, maxPositions: 32_768, headNorm: true, windows: qwen3Windows },
  only: { mlp_bias: false },
};

/** transformers 5 writes a window of 0 where sliding is switched off. */
const readable = (raw: RawConfig): RawConfig => (raw['sliding_window'] === 0 ? { ...raw, sliding_window: null } : raw);

const configOf =
  (architecture: string, family: (raw: RawConfig) => MixtureFamily) =>
  (raw: RawConfig, modelType: string): E.Either<FatalError, MixtureConfig> =>
    pipe(
      mixtureConfig(readable(raw), modelType, family(raw)),
      E.map((config) => ({ ...config, architecture, raw })),
    );

export const qwen2Moe = mixtureArchitecture<MixtureConfig>({
  name: 'qwen2_moe',
  modelTypes: ['qwen2_moe'],
  config: configOf('qwen2_moe', (raw) => ({
    ...qwen2,
    llama: { ...qwen2.llama, qkvBias: raw['qkv_bias'] !== false },
  })),
});

export const qwen3Moe = mixtureArchitecture<MixtureConfig>({
  name: 'qwen3_moe',
  modelTypes: ['qwen3_moe'],
  config: configOf('qwen3_moe', () => qwen3),
});
