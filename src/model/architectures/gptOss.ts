/**
 * gpt-oss: a mixture of experts with biases whose gates are clamped; every head has a sink that takes part in its softmax, and every
 * second layer sees a window.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import { unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import { gatedClamped, gatedNames } from '../layers/mlp.js';
import { perLayer } from '../weights.js';
import { inputsFirstFiles } from './inputsFirstFiles.js';
import { windowsByType } from './llama.js';
import { mixtureArchitecture, mixtureConfig, mixtureTensors } from './mixture.js';
import type { MixtureConfig, MixtureNames } from './mixture.js';

const names: MixtureNames = { block: 'mlp', router: 'router', ...gatedNames };

/** transformers knows no other. */
const limit = 7;

const sinks = (layer: number): string => `model.layers.${layer}.self_attn.sinks`;

/** How queries and keys turn where the file does not say. */
const usualRope = {
  rope_type: 'yarn',
  factor: 32,
  beta_fast: 32,
  beta_slow: 1,
  truncate: false,
  original_max_position_embeddings: 4096,
};

/** The file with what it leaves out. transformers cannot run a window of null either. */
const filled = (raw: RawConfig): E.Either<FatalError, RawConfig> =>
  raw['sliding_window'] === null
    ? E.left(unfit('sliding_window', 'a whole number > 0', null))
    : E.right({
        ...raw,
        attention_bias: raw['attention_bias'] ?? true,
        ...((raw['rope_scaling'] ?? raw['rope_parameters'] ?? null) === null ? { rope_parameters: usualRope } : {}),
      });

const gptOssConfig = (raw: RawConfig, modelType: string): E.Either<FatalError, MixtureConfig> =>
  pipe(
    filled(raw),
    E.flatMap((whole) =>
      mixtureConfig(whole, modelType, {
        numExperts: 128,
        perToken: 4,
        normalized: true,
        auxLossCoef: 0.001,
        llama: {
          headDim: 64,
          numKvHeads: 8,
          maxPositions: 131_072,
          rmsNormEps: 1e-5,
          rope: { theta: 150_000 },
          windows: (f) => windowsByType(f, f.sliding_window ?? 128, (i) => i % 2 === 0),
        },
        only: { hidden_act: 'silu', swiglu_limit: limit },
      }),
    ),
    E.map((config) => ({ ...config, architecture: 'gpt_oss', expertBias: true, raw })),
  );

export const gptOss: Architecture<MixtureConfig> = mixtureArchitecture<MixtureConfig>({
  name: 'gpt_oss',
  modelTypes: ['gpt_oss'],
  config: gptOssConfig,
  names,
  tensors: (config) => [
    ...mixtureTensors(config, names),
    ...perLayer(config.numLayers, (i) => [{ name: sinks(i), shape: [config.numHeads], kind: 'bias' }]),
  ],
  packed: () => [],
  fileLayout: ({ numLayers, hiddenSize, expertSize, experts }) =>
    inputsFirstFiles({
      modules: Array.from({ length: numLayers }, (_, i) => `model.layers.${i}.mlp.experts`),
      byTurns: true,
      hiddenSize,
      expertSize,
      numExperts: experts.numExperts,
    }),
  parts: (_config, _pass, i) => ({ sinks: sinks(i) }),
  gate: () => gatedClamped(limit),
});
