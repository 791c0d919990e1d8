/** What the metadata of most architectures says: sizes, and how positions turn. */
import { warning } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import { float32, string, uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import { inverseFrequencies } from '../attention/inverseFrequencies.js';
import type { RopeConfig } from '../attention/ropeConfig.js';
import type { ModelConfig } from '../config.js';
import { unsupported } from './layout.js';
import type { GgufLayout } from './layout.js';

interface Sizes extends ModelConfig {
  readonly intermediateSize: number;
}

/** Sizes of a model under the name of its architecture. */
export const sizesMetadata = (name: string, config: Sizes): GgufMetadata => ({
  [`${name}.vocab_size`]: uint32(config.vocabSize),
  [`${name}.context_length`]: uint32(config.maxPositions),
  [`${name}.embedding_length`]: uint32(config.hiddenSize),
  [`${name}.block_count`]: uint32(config.numLayers),
  [`${name}.feed_forward_length`]: uint32(config.intermediateSize),
  [`${name}.attention.head_count`]: uint32(config.numHeads),
  [`${name}.attention.head_count_kv`]: uint32(config.numKvHeads),
  [`${name}.attention.key_length`]: uint32(config.headDim),
  [`${name}.attention.value_length`]: uint32(config.headDim),
});

/** Base, part and scaling of rotary positions. */
export const ropeMetadata = (name: string, { scaling, theta, rotaryDim }: RopeConfig): GgufMetadata => {
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
    case 'longrope':
      return {
        ...common,
        [`${name}.rope.scaling.original_context_length`]: uint32(scaling.originalMaxPositions),
        [`${name}.rope.scaling.attn_factor`]: float32(scaling.attentionFactor),
      };
    default:
      return common;
  }
};

/** Scalings that are told by tensors: a factor for each frequency. */
export const ropeFactors = (rope: RopeConfig): GgufLayout['extra'] => {
  const { scaling } = rope;
  if (scaling.kind === 'longrope')
    return [
      { name: 'rope_factors_long.weight', values: Float32Array.from(scaling.longFactors) },
      { name: 'rope_factors_short.weight', values: Float32Array.from(scaling.shortFactors) },
    ];
  if (scaling.kind === 'proportional') {
    const pairs = Array.from({ length: rope.rotaryDim / 2 }, (_, i) => i);
    // Numbers are divided by their factors there: what is divided by so much does not turn.
    const factors = pairs.map((i) => (i < scaling.turning ? scaling.factor : 1e30));
    return [{ name: 'rope_freqs.weight', values: Float32Array.from(factors) }];
  }
  if (scaling.kind !== 'llama3') return [];
  const plain = inverseFrequencies({ ...rope, scaling: { kind: 'default' } }, 1).frequencies;
  const scaled = inverseFrequencies(rope, 1).frequencies;
  return [{ name: 'rope_freqs.weight', values: Float32Array.from(plain, (f, i) => f / (scaled[i] ?? f)) }];
};

type Scaling = RopeConfig['scaling']['kind'];

/** The refusal of a scaling that is none of `known`, or that llama.cpp has in another form. */
export const ropeRefusal = ({ scaling }: RopeConfig, known: ReadonlyArray<Scaling>): FatalError | undefined => {
  if (!known.includes(scaling.kind)) return unsupported('rope_scaling', known.join(' or '), scaling.kind);
  if (scaling.kind === 'yarn' && !scaling.truncate) return unsupported('rope_scaling.truncate', 'true', false);
  return undefined;
};

interface Positions {
  readonly windows?: ReadonlyArray<number>;
  readonly maxPositions: number;
  readonly rope: RopeConfig;
}

/** What llama.cpp does otherwise with positions. */
export const positionWarnings = ({ windows = [], maxPositions, rope }: Positions): ReadonlyArray<Warning> => {
  const window = Math.max(0, ...windows);
  const { scaling } = rope;
  return [
    ...(window > 0 && window < maxPositions
      ? [
          warning('W_GGUF_WINDOW', 'llama.cpp lets this model see the whole text, not a window of it', {
            field: 'sliding_window',
            hint: `texts of more than ${window} tokens are continued otherwise than here`,
          }),
        ]
      : []),
    ...(scaling.kind === 'dynamic'
      ? [
          warning('W_GGUF_ROPE', 'llama.cpp has no dynamic rotary scaling', {
            field: 'rope_scaling',
            hint: `texts of more than ${maxPositions} tokens are continued otherwise than here`,
          }),
        ]
      : []),
    ...(scaling.kind === 'yarn' && !scaling.truncate
      ? [
          warning('W_GGUF_ROPE', 'llama.cpp begins and ends what YaRN stretches at whole frequencies', {
            field: 'rope_scaling.truncate',
            hint: 'texts are continued a little otherwise than here',
          }),
        ]
      : []),
    ...(scaling.kind === 'longrope'
      ? [
          warning('W_GGUF_ROPE', 'llama.cpp turns a text by the size of its context, not by its length', {
            field: 'rope_scaling',
            hint: `give it a context (-c) of at most ${scaling.originalMaxPositions} tokens where texts are that short`,
          }),
        ]
      : []),
  ];
};
