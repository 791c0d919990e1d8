/** Qwen3-Next, and Qwen3.5 with experts: the layers of Qwen3.5 with mixtures of experts, of which all tokens go to one more. */
import type * as E from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../errors.js';
import type { RawConfig } from '../config.js';
import { gatedNames } from '../layers/mlp.js';
import { hybridConfig, hybridFamily, hybridMixer, hybridTensors } from './deltaNet.js';
import type { Hybrid } from './deltaNet.js';
import { textPositions } from './llama.js';
import { mixtureArchitecture, mixtureConfig, mixtureTensors } from './mixture.js';
import type { MixtureConfig, MixtureFamily } from './mixture.js';
import { mtpTensors, takenOut } from './qwen35.js';

type HybridMixture = MixtureConfig & Hybrid;

const family: Omit<MixtureFamily, 'llama' | 'numExperts' | 'perToken'> = {
  auxLossCoef: 0.001,
  expertSize: (f) => f.moe_intermediate_size ?? 512,
  sharedSize: (f) => f.shared_expert_intermediate_size ?? 512,
  only: { mlp_bias: false },
};

const hybridMixture = (
  name: string,
  modelTypes: ReadonlyArray<string>,
  { joined, qkv }: { readonly joined: boolean; readonly qkv: string },
  base: (raw: RawConfig, modelType: string) => E.Either<FatalError, MixtureConfig>,
) =>
  mixtureArchitecture<HybridMixture>({
    name,
    modelTypes,
    config: (raw, modelType) => hybridConfig(raw, { architecture: name, joined }, (plain) => base(plain, modelType)),
    tensors: (config) => hybridTensors(config, mixtureTensors(config, { block: 'mlp', ...gatedNames })),
    buffers: mtpTensors,
    fileLayout: () => takenOut,
    attention: hybridMixer,
    loraTargets: () => ['q_proj', 'v_proj', qkv],
  });

export const qwen3Next = hybridMixture(
  'qwen3_next',
  ['qwen3_next'],
  { joined: true, qkv: 'in_proj_qkvz' },
  (raw, modelType) =>
    mixtureConfig({ norm_topk_prob: true, ...raw }, modelType, {
      ...family,
      numExperts: 512,
      perToken: 10,
      mixed: true,
      llama: hybridFamily(2),
    }),
);

export const qwen35Moe = hybridMixture(
  'qwen3_5_moe',
  ['qwen3_5_moe_text'],
  { joined: false, qkv: 'in_proj_qkv' },
  (raw, modelType) =>
    // No layer has a plain MLP, of which files then say no width.
    mixtureConfig({ ...raw, intermediate_size: 1 }, modelType, {
      ...family,
      numExperts: 256,
      perToken: 8,
      normalized: true,
      llama: hybridFamily(2, { scalingNames: textPositions }),
    }),
);
