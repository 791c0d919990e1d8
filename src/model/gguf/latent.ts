/**
 * Models of latent attention in GGUF: DeepSeek-V2 and V3, GLM-4.7-Flash and Youtu-LLM, which are DeepSeek-V2 there, Mistral 4, and MiniCPM3.
 * But for MiniCPM3 all heads read one key there, the latent: what makes keys and values of it stands apart, and what makes keys, which queries pass there, turned.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type { FatalError } from '../../errors.js';
import { float32, uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { LatentMixtureConfig } from '../architectures/deepseek.js';
import type { LatentConfig } from '../architectures/latent.js';
import type { MiniCpmConfig } from '../architectures/minicpm3.js';
import { latentEps } from '../attention/latentAttention.js';
import { scoreFactor } from '../attention/ropeConfig.js';
import type { RopeConfig } from '../attention/ropeConfig.js';
import { asIs, counted, inTurn, rowsAt, scaled, shaped, unsupported } from './layout.js';
import type { Arrangement, GgufTensor, LayoutOf } from './layout.js';
import { layoutOf, rmsEps, usualScalings } from './llamaLike.js';
import { corrected, mixtureLayout } from './mixture.js';

const names = {
  'self_attn.q_a_proj': 'attn_q_a',
  'self_attn.q_a_layernorm': 'attn_q_a_norm',
  'self_attn.q_b_proj': 'attn_q_b',
  'self_attn.kv_a_proj_with_mqa': 'attn_kv_a_mqa',
  'self_attn.kv_a_layernorm': 'attn_kv_a_norm',
} as const;

/** Entries that turn together lie beside each other there. */
const turning = ({ latent: { ropeDim, interleaved } }: LatentConfig): ReadonlyArray<number> =>
  counted(ropeDim).map((i) => (interleaved ? i : Math.floor(i / 2) + ((i % 2) * ropeDim) / 2));

const queries = (config: LatentConfig): Arrangement => {
  const { numHeads, headDim, latent } = config;
  if (latent.interleaved) return asIs;
  const order = [...counted(latent.nopeDim), ...turning(config).map((i) => latent.nopeDim + i)];
  return rowsAt(counted(numHeads).flatMap((head) => order.map((row) => head * headDim + row)));
};

/**
 * Norms of latents have the model's epsilon there, and another one here. Of so much larger numbers an epsilon that is as much larger
 * makes the same.
 */
const growth = ({ rmsNormEps }: LatentConfig): number => Math.sqrt(rmsNormEps / latentEps);

const grown = (config: LatentConfig, rows: number): Arrangement =>
  growth(config) === 1 ? asIs : scaled([{ rows, by: growth(config) }]);

const arrangementOf = (config: LatentConfig, called: string): Arrangement | undefined => {
  const { kvRank } = config.latent;
  switch (called.replace(/^blk\.\d+\./, '')) {
    case 'attn_q.weight':
    case 'attn_q_b.weight':
      return queries(config);
    case 'attn_q_a.weight':
      return grown(config, Infinity);
    case 'attn_kv_a_mqa.weight':
      return config.latent.interleaved
        ? grown(config, kvRank)
        : inTurn(rowsAt([...counted(kvRank), ...turning(config).map((i) => kvRank + i)]), grown(config, kvRank));
    default:
      return undefined;
  }
};

const stretched = ({ scaling }: RopeConfig): boolean => scaling.kind === 'yarn' && scaling.factor > 1;

/**
 * YaRN as DeepSeek has it: what scores are multiplied by is told, of the logarithm of the factor; what turns stays as large as it was.
 * Where scores stay too, `ropeMetadata` says all.
 */
const scoresMetadata = (name: string, rope: RopeConfig): GgufMetadata => {
  const { scaling } = rope;
  if (scaling.kind !== 'yarn' || scoreFactor(rope) === 1) return {};
  return {
    [`${name}.rope.scaling.attn_factor`]: float32(1),
    [`${name}.rope.scaling.yarn_log_multiplier`]: float32(
      (Math.sqrt(scoreFactor(rope)) - 1) / Math.log(scaling.factor),
    ),
  };
};

/** Models of so many layers, and one of 48 with so many tokens, are taken for such without latents of queries. */
const withoutQueries = ({ numLayers, vocabSize }: LatentConfig): boolean =>
  numLayers === 26 || numLayers === 27 || (numLayers === 48 && vocabSize === 128_256);

const refusal = (config: LatentConfig): FatalError | undefined => {
  const { rope, latent } = config;
  if (rope.scaling.kind === 'yarn' && Math.abs(rope.scaling.attentionFactor - 1) > 1e-6)
    return unsupported('rope_scaling.mscale', 'the same as mscale_all_dim', rope.scaling.attentionFactor);
  if (scoreFactor(rope) !== 1 && !stretched(rope)) return unsupported('rope_scaling.factor', 'more than 1', 1);
  return latent.queryRank !== undefined && withoutQueries(config)
    ? unsupported('q_lora_rank', `null in a model of ${config.numLayers} layers`, latent.queryRank)
    : undefined;
};

const sizes = (name: string, config: LatentConfig): GgufMetadata => {
  const { queryRank = 0, kvRank, ropeDim, valueDim } = config.latent;
  const { growth: grows } = config.rope;
  return {
    ...(grows === undefined
      ? {}
      : {
          [`${name}.attention.temperature_scale`]: float32(grows.beta),
          [`${name}.attention.temperature_length`]: uint32(grows.every),
        }),
    [`${name}.attention.head_count_kv`]: uint32(1),
    [`${name}.attention.q_lora_rank`]: uint32(queryRank),
    [`${name}.attention.kv_lora_rank`]: uint32(kvRank),
    [`${name}.attention.key_length`]: uint32(kvRank + ropeDim),
    [`${name}.attention.value_length`]: uint32(kvRank),
    [`${name}.attention.key_length_mla`]: uint32(config.headDim),
    [`${name}.attention.value_length_mla`]: uint32(valueDim),
  };
};

const up = /^model\.layers\.(\d+)\.self_attn\.kv_b_proj\.weight$/;

/** Of the rows of each head, what makes keys, turned, and what makes values. */
const keysAndValues = (config: LatentConfig, source: string): ReadonlyArray<GgufTensor> => {
  const { numHeads, latent } = config;
  const { nopeDim, valueDim, kvRank } = latent;
  const rows = (first: number, size: number): Arrangement =>
    rowsAt(counted(numHeads).flatMap((head) => counted(size, head * (nopeDim + valueDim) + first)));
  const layer = up.exec(source)?.[1] ?? '';
  return [
    {
      sources: [source],
      name: `blk.${layer}.attn_k_b.weight`,
      arrangement: inTurn(rows(0, nopeDim), { kind: 'eachTurned', count: numHeads }),
    },
    {
      sources: [source],
      name: `blk.${layer}.attn_v_b.weight`,
      arrangement: inTurn(rows(nopeDim, valueDim), shaped([numHeads, valueDim, kvRank])),
    },
  ];
};

/** Maps that no adapter is added to there: those that make queries, keys and values, and the head. */
const bare = /^(?:output|blk\.\d+\.attn_(?:q|q_a|q_b|kv_a_mqa|k_b|v_b))\.weight$/;

/** A layout of models whose keys and values are as others', of such whose are not. */
const withLatents =
  <C extends LatentConfig>(layout: LayoutOf<C>): LayoutOf<C> =>
  (config, specs) =>
    pipe(
      layout(
        config,
        specs.filter((spec) => !up.test(spec.name)),
      ),
      E.map((whole) => ({
        ...whole,
        metadata: { ...whole.metadata, ...scoresMetadata(whole.architecture, config.rope) },
        tensors: [
          ...whole.tensors,
          ...specs.filter((spec) => up.test(spec.name)).flatMap((spec) => keysAndValues(config, spec.name)),
        ].map((tensor) => ({ ...tensor, fixed: bare.test(tensor.name) })),
      })),
    );

const form = { scalings: usualScalings, biases: 'none', names, arrange: arrangementOf, refusal } as const;

const latentMixture = (name: string): LayoutOf<LatentMixtureConfig> =>
  withLatents(
    mixtureLayout<LatentMixtureConfig>({
      ...corrected,
      ...form,
      name,
      metadata: (config) => sizes(name, config),
    }),
  );

export const deepseekLayout: LayoutOf<LatentMixtureConfig> = latentMixture('deepseek2');

export const mistral4Layout: LayoutOf<LatentMixtureConfig> = latentMixture('mistral4');

/** DeepSeek-V2 with experts in no layer. */
export const youtuLayout: LayoutOf<LatentConfig> = withLatents(
  layoutOf<LatentConfig>({
    ...form,
    name: 'deepseek2',
    metadata: (config) => ({
      ...rmsEps('deepseek2')(config),
      ...sizes('deepseek2', config),
      'deepseek2.leading_dense_block_count': uint32(config.numLayers),
      'deepseek2.expert_feed_forward_length': uint32(config.intermediateSize),
      'deepseek2.expert_shared_count': uint32(0),
    }),
  }),
);

/** Numbers that MiniCPM3 multiplies by there, whatever a file says. */
const taken = { embedding: 12, depth: 1.4, base: 256 } as const;

const other = (here: number, there: number): boolean => Math.abs(here / there - 1) > 1e-6;

const minicpmRefusal = (config: MiniCpmConfig): FatalError | undefined => {
  const { embeddingScale, residualMultiplier, logitsScaling, numLayers, hiddenSize, latent } = config;
  if (latent.queryRank === undefined) return unsupported('q_lora_rank', 'a whole number > 0', null);
  if (other(embeddingScale, taken.embedding)) return unsupported('scale_emb', String(taken.embedding), embeddingScale);
  if (other(residualMultiplier * Math.sqrt(numLayers), taken.depth))
    return unsupported('scale_depth', String(taken.depth), residualMultiplier * Math.sqrt(numLayers));
  return other(logitsScaling, hiddenSize / taken.base)
    ? unsupported('dim_model_base', String(taken.base), hiddenSize / logitsScaling)
    : undefined;
};

/** There keys and values are made of the latent by one map, and pairs that turn lie half of what turns apart, as here. */
export const minicpm3Layout: LayoutOf<MiniCpmConfig> = (config, specs) =>
  pipe(
    layoutOf<MiniCpmConfig>({
      name: 'minicpm3',
      names: { ...names, 'self_attn.kv_b_proj': 'attn_kv_b' },
      scalings: ['default', 'longrope'],
      biases: 'none',
      arrange: (own, called) => arrangementOf({ ...own, latent: { ...own.latent, interleaved: true } }, called),
      metadata: (own) => ({
        ...rmsEps('minicpm3')(own),
        'minicpm3.attention.q_lora_rank': uint32(own.latent.queryRank ?? 0),
        'minicpm3.attention.kv_lora_rank': uint32(own.latent.kvRank),
        'minicpm3.attention.value_length': uint32(own.latent.valueDim),
      }),
      refusal: minicpmRefusal,
    })(config, specs),
    E.map((layout) => ({
      ...layout,
      tensors: layout.tensors.map((tensor) => ({
        ...tensor,
        fixed: /\.attn_(?:q_a|q_b|kv_a_mqa|kv_b)\.weight$/.test(tensor.name),
      })),
    })),
  );
