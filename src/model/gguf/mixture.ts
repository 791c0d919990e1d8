/** Mixtures of experts in GGUF: Mixtral, Qwen2-MoE, Qwen3-MoE, OLMoE. One tensor holds a map of all experts of a layer. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type { FatalError } from '../../errors.js';
import { uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { MixtureConfig } from '../architectures/mixture.js';
import type { OlmoeConfig } from '../architectures/olmoe.js';
import type { TensorSpec } from '../weights.js';
import { asIs, unsupported } from './layout.js';
import type { GgufTensor, LayoutOf } from './layout.js';
import { layoutOf, likeLlama, noBias, rmsEps, usualScalings } from './llamaLike.js';
import type { Form } from './llamaLike.js';

const inLayer = {
  'block_sparse_moe.gate': 'ffn_gate_inp',
  'mlp.gate': 'ffn_gate_inp',
  'mlp.shared_expert_gate': 'ffn_gate_inp_shexp',
  'mlp.shared_expert.gate_proj': 'ffn_gate_shexp',
  'mlp.shared_expert.up_proj': 'ffn_up_shexp',
  'mlp.shared_expert.down_proj': 'ffn_down_shexp',
} as const;

/** Maps of experts, under Mixtral's names too. */
const ofExperts: Readonly<Record<string, string>> = {
  gate_proj: 'ffn_gate_exps',
  up_proj: 'ffn_up_exps',
  down_proj: 'ffn_down_exps',
  w1: 'ffn_gate_exps',
  w3: 'ffn_up_exps',
  w2: 'ffn_down_exps',
};

const expertWeight = /^model\.layers\.(\d+)\.\w+\.experts\.\d+\.(\w+)\.weight$/;

/** The experts' tensors, each with the weights of all experts in their order. */
const merged = (specs: ReadonlyArray<TensorSpec>): ReadonlyArray<GgufTensor> => {
  const sources = new Map<string, Array<string>>();
  for (const { name } of specs) {
    const [, layer = '', map = ''] = expertWeight.exec(name) ?? [];
    const there = `blk.${layer}.${ofExperts[map] ?? map}.weight`;
    const known = sources.get(there);
    if (known === undefined) sources.set(there, [name]);
    else known.push(name);
  }
  return Array.from(sources, ([name, own]) => ({ name, sources: own, arrangement: asIs }));
};

interface MixtureForm<C extends MixtureConfig> extends Form<C> {
  /** Whether llama.cpp lets the weights of a token's experts add up to 1. */
  readonly normalized: boolean;
  /** Experts have a width of their own there. */
  readonly ownSize?: boolean;
  readonly hasShared?: boolean;
}

const mixtureRefusal = <C extends MixtureConfig>(
  { normalized, refusal }: MixtureForm<C>,
  config: C,
): FatalError | undefined => {
  const { experts, routed } = config;
  if (experts.normalized !== normalized) return unsupported('norm_topk_prob', String(normalized), experts.normalized);
  if (!routed.every(Boolean))
    return unsupported(
      'mlp_only_layers',
      'experts in every layer',
      routed.flatMap((has, i) => (has ? [] : [i])),
    );
  return refusal?.(config);
};

const expertsMetadata = <C extends MixtureConfig>(
  { name, ownSize = false, hasShared = false }: MixtureForm<C>,
  { experts, expertSize, sharedSize }: C,
): GgufMetadata => ({
  [`${name}.expert_count`]: uint32(experts.numExperts),
  [`${name}.expert_used_count`]: uint32(experts.perToken),
  ...(ownSize ? { [`${name}.expert_feed_forward_length`]: uint32(expertSize) } : {}),
  ...(hasShared ? { [`${name}.expert_shared_feed_forward_length`]: uint32(sharedSize) } : {}),
});

const mixtureLayout =
  <C extends MixtureConfig>(form: MixtureForm<C>): LayoutOf<C> =>
  (config, specs) =>
    pipe(
      layoutOf<C>({
        ...form,
        names: inLayer,
        metadata: (own) => ({ ...rmsEps(form.name)(own), ...expertsMetadata(form, own) }),
        refusal: (own) => mixtureRefusal(form, own),
      })(
        config,
        specs.filter(({ name }) => !expertWeight.test(name)),
      ),
      E.map((layout) => ({
        ...layout,
        tensors: [...layout.tensors, ...merged(specs.filter(({ name }) => expertWeight.test(name)))],
      })),
    );

/** Mixtral is Llama there. */
export const mixtralLayout: LayoutOf<MixtureConfig> = mixtureLayout({ ...likeLlama, biases: 'none', normalized: true });

export const qwen2MoeLayout: LayoutOf<MixtureConfig> = mixtureLayout({
  name: 'qwen2moe',
  scalings: usualScalings,
  biases: 'qkv',
  ownHead: true,
  normalized: false,
  ownSize: true,
  hasShared: true,
});

export const qwen3MoeLayout: LayoutOf<MixtureConfig> = mixtureLayout({
  ...noBias,
  name: 'qwen3moe',
  scalings: usualScalings,
  normalized: true,
  ownSize: true,
});

export const olmoeLayout: LayoutOf<OlmoeConfig> = mixtureLayout<OlmoeConfig>({
  name: 'olmoe',
  scalings: usualScalings,
  biases: 'none',
  ownHead: true,
  normalized: false,
  refusal: ({ clip, numHeads, numKvHeads }) => {
    if (clip !== undefined) return unsupported('clip_qkv', 'null', clip);
    return numKvHeads === numHeads ? undefined : unsupported('num_key_value_heads', String(numHeads), numKvHeads);
  },
});
