/**
 * Qwen2-MoE, Qwen3-MoE and the text model of Qwen3-VL with experts: Qwen whose MLPs are experts, in all layers or some; Qwen2's has one
 * more that all tokens go to.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import { boolean, decodeFields, optional } from '../config.js';
import type { RawConfig } from '../config.js';
import { inputsFirstFiles } from './inputsFirstFiles.js';
import { everywhere, qwenWindow, qwenWindows, textPositions } from './llama.js';
import type { Family } from './llama.js';
import { mixtureArchitecture, mixtureConfig } from './mixture.js';
import type { MixtureConfig, MixtureFamily } from './mixture.js';

const qwen2: MixtureFamily = {
  numExperts: 60,
  perToken: 4,
  auxLossCoef: 0.001,
  expertSize: (f) => f.moe_intermediate_size ?? 1408,
  sharedSize: (f) => f.shared_expert_intermediate_size ?? 5632,
  mixed: true,
  // Every other one of the first layers slides.
  llama: { numKvHeads: 16, maxPositions: 32_768, windows: qwenWindows((i, most) => i % 2 === 0 && i < most) },
  only: { mlp_bias: false },
};

const qwen3Windows: Family['windows'] = (fields, raw) => E.right(everywhere(fields, qwenWindow(fields, raw)));

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

const biasField = t.type({ qkv_bias: optional(boolean) });

/** Biases of queries, keys and values: there where config.json says nothing of them, and not where it says null. */
const withBias = (raw: RawConfig): E.Either<FatalError, MixtureFamily> =>
  pipe(
    raw,
    decodeFields(biasField),
    E.map(({ qkv_bias: qkvBias = true }) => ({ ...qwen2, llama: { ...qwen2.llama, qkvBias: qkvBias ?? false } })),
  );

const configOf =
  (architecture: string, familyOf: (raw: RawConfig) => E.Either<FatalError, MixtureFamily>) =>
  (raw: RawConfig, modelType: string): E.Either<FatalError, MixtureConfig> =>
    pipe(
      familyOf(raw),
      E.flatMap((family) => mixtureConfig(readable(raw), modelType, family)),
      E.map((config) => ({ ...config, architecture, raw })),
    );

export const qwen2Moe = mixtureArchitecture<MixtureConfig>({
  name: 'qwen2_moe',
  modelTypes: ['qwen2_moe'],
  config: configOf('qwen2_moe', withBias),
});

export const qwen3Moe = mixtureArchitecture<MixtureConfig>({
  name: 'qwen3_moe',
  modelTypes: ['qwen3_moe'],
  config: configOf('qwen3_moe', () => E.right(qwen3)),
});

const qwen3Vl: MixtureFamily = {
  numExperts: 60,
  perToken: 4,
  normalized: true,
  auxLossCoef: 0.001,
  expertSize: (f) => f.moe_intermediate_size ?? 1408,
  mixed: true,
  llama: {
    numKvHeads: 16,
    maxPositions: 128_000,
    headNorm: true,
    rope: { theta: 500_000, scalingNames: textPositions },
  },
  only: { mlp_bias: false },
};

export const qwen3VlMoe = mixtureArchitecture<MixtureConfig>({
  name: 'qwen3_vl_moe',
  modelTypes: [],
  textTypes: ['qwen3_vl_moe_text'],
  config: configOf('qwen3_vl_moe', () => E.right(qwen3Vl)),
  packed: () => [],
  fileLayout: ({ numLayers, hiddenSize, expertSize, experts }) =>
    inputsFirstFiles({
      modules: Array.from({ length: numLayers }, (_, i) => `model.layers.${i}.mlp.experts`),
      byTurns: false,
      eitherWay: true,
      hiddenSize,
      expertSize,
      numExperts: experts.numExperts,
    }),
});
