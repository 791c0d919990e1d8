/** Llama, Mistral, Qwen2, Qwen3 and Gemma in GGUF. */
import * as E from 'fp-ts/lib/Either.js';
import { warning } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import { float32, string, uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { LlamaConfig } from '../llama.js';
import { inverseFrequencies } from '../rope.js';
import type { RopeConfig } from '../rope.js';
import { asIs, renamed, unsupported } from './layout.js';
import type { Arrangement, GgufLayout, LayoutOf } from './layout.js';

const inLayer = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
} as const;

const outside = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  lm_head: 'output',
} as const;

/** Mistral is Llama there. */
const names: Readonly<Record<string, string>> = {
  llama: 'llama',
  mistral: 'llama',
  qwen2: 'qwen2',
  qwen3: 'qwen3',
  gemma: 'gemma',
};

const ropeMetadata = (name: string, { scaling, theta, rotaryDim }: RopeConfig): GgufMetadata => {
  const common = {
    [`${name}.rope.freq_base`]: float32(theta),
    [`${name}.rope.dimension_count`]: uint32(rotaryDim),
  };
  switch (scaling.kind) {
    case 'linear':
      return {
        ...common,
        [`${name}.rope.scaling.type`]: string('linear'),
        [`${name}.rope.scaling.factor`]: float32(scaling.factor),
      };
    case 'yarn': {
      const { factor, originalMaxPositions, attentionFactor, betaFast, betaSlow } = scaling;
      // llama.cpp multiplies by what the paper recommends; the rest is told.
      const usual = factor <= 1 ? 1 : 0.1 * Math.log(factor) + 1;
      const other = Math.abs(attentionFactor / usual - 1) > 1e-6;
      return {
        ...common,
        [`${name}.rope.scaling.type`]: string('yarn'),
        [`${name}.rope.scaling.factor`]: float32(factor),
        [`${name}.rope.scaling.original_context_length`]: uint32(originalMaxPositions),
        ...(other ? { [`${name}.rope.scaling.attn_factor`]: float32(attentionFactor / usual) } : {}),
        ...(betaFast === 32 ? {} : { [`${name}.rope.scaling.yarn_beta_fast`]: float32(betaFast) }),
        ...(betaSlow === 1 ? {} : { [`${name}.rope.scaling.yarn_beta_slow`]: float32(betaSlow) }),
      };
    }
    default:
      return common;
  }
};

/** Llama 3's scaling goes as a factor for each frequency. */
const ropeFactors = (rope: RopeConfig): GgufLayout['extra'] => {
  if (rope.scaling.kind !== 'llama3') return [];
  const plain = inverseFrequencies({ ...rope, scaling: { kind: 'default' } }, 1).frequencies;
  const scaled = inverseFrequencies(rope, 1).frequencies;
  return [{ name: 'rope_freqs.weight', values: Float32Array.from(plain, (f, i) => f / (scaled[i] ?? f)) }];
};

const warningsOf = ({ windows, maxPositions, rope }: LlamaConfig): ReadonlyArray<Warning> => {
  const window = Math.max(...windows);
  return [
    ...(window > 0 && window < maxPositions
      ? [
          warning('W_GGUF_WINDOW', 'llama.cpp lets this model see the whole text, not a window of it', {
            field: 'sliding_window',
            hint: `texts of more than ${window} tokens are continued otherwise than here`,
          }),
        ]
      : []),
    ...(rope.scaling.kind === 'dynamic'
      ? [
          warning('W_GGUF_ROPE', 'llama.cpp has no dynamic rotary scaling', {
            field: 'rope_scaling',
            hint: `texts of more than ${maxPositions} tokens are continued otherwise than here`,
          }),
        ]
      : []),
  ];
};

/** Settings that llama.cpp's form of the model type has no place for. */
const refusal = (config: LlamaConfig): FatalError | undefined => {
  const { modelType, qkvBias, outputBias, mlpBias, activation, rope } = config;
  const gemma = modelType === 'gemma';
  if (!gemma && activation !== 'silu') return unsupported('hidden_act', 'silu', activation);
  if (rope.scaling.kind === 'yarn' && !rope.scaling.truncate)
    return unsupported('rope_scaling.truncate', 'true', false);
  if (modelType === 'llama' || modelType === 'mistral') return undefined;
  if (mlpBias) return unsupported('mlp_bias', 'false', true);
  return outputBias || (qkvBias && modelType !== 'qwen2') ? unsupported('attention_bias', 'false', true) : undefined;
};

export const llamaLayout: LayoutOf<LlamaConfig> = (config, specs) => {
  const { modelType, numHeads, numKvHeads, headDim, hiddenSize } = config;
  const refused = refusal(config);
  const name = names[modelType];
  if (refused !== undefined) return E.left(refused);
  if (name === undefined)
    return E.left(unsupported('model_type', `one of ${Object.keys(names).join(', ')}`, modelType));
  const heads: Readonly<Record<string, number>> =
    name === 'llama' ? { 'self_attn.q_proj': numHeads, 'self_attn.k_proj': numKvHeads } : {};
  const arrangement = (module: string, kind: string): Arrangement => {
    const turning = heads[module];
    if (turning !== undefined) return { kind: 'interleaved', heads: turning };
    return kind === 'norm' && config.normOffset !== 0 ? { kind: 'offset', by: config.normOffset } : asIs;
  };
  return E.right({
    architecture: name,
    metadata: {
      [`${name}.vocab_size`]: uint32(config.vocabSize),
      [`${name}.context_length`]: uint32(config.maxPositions),
      [`${name}.embedding_length`]: uint32(hiddenSize),
      [`${name}.block_count`]: uint32(config.numLayers),
      [`${name}.feed_forward_length`]: uint32(config.intermediateSize),
      [`${name}.attention.head_count`]: uint32(numHeads),
      [`${name}.attention.head_count_kv`]: uint32(numKvHeads),
      [`${name}.attention.layer_norm_rms_epsilon`]: float32(config.rmsNormEps),
      [`${name}.attention.key_length`]: uint32(headDim),
      [`${name}.attention.value_length`]: uint32(headDim),
      ...ropeMetadata(name, config.rope),
    },
    tensors: renamed(specs, /^model\.layers\.(\d+)\.(.*)$/, inLayer, outside).map(({ spec, module, name: called }) => ({
      source: spec.name,
      name: called,
      arrangement: arrangement(module, spec.kind),
    })),
    extra: ropeFactors(config.rope),
    warnings: warningsOf(config),
  });
};
