/** A LoRA adapter in llama.cpp's terms: two tensors beside the name of each weight that it changes. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { fatal, usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { adaptersIn, namesOf, tablesIn } from '../adapters/adapterNames.js';
import { moduleOf } from '../adapters/moduleNames.js';
import { scalingOf } from '../adapters/lora.js';
import type { LoraConfig } from '../adapters/lora.js';
import type { Site } from '../adapters/adapterNames.js';
import type { CausalLM } from '../model.js';
import { arrangedShape, asIs, inTurn } from './layout.js';
import type { Arrangement, GgufLayout, GgufTensor } from './layout.js';

/** A half of an adapter. */
export interface GgufHalf {
  readonly name: string;
  /** Halves of the adapters here, of one shape; of an expert without one, which is undefined, zeros. */
  readonly sources: ReadonlyArray<string | undefined>;
  /** Shape of one of them there. */
  readonly shape: ReadonlyArray<number>;
  readonly arrangement: Arrangement;
  /** What its numbers are multiplied with. */
  readonly factor: number;
  /** A weight of as many numbers as there are sources: each multiplies its source too. */
  readonly factorsOf?: string | undefined;
}

export interface GgufAdapter {
  /** An adapter of rank r counts alpha / r times. */
  readonly alpha: number;
  readonly halves: ReadonlyArray<GgufHalf>;
}

const unsupported = (message: string, field: string): E.Either<FatalError, never> =>
  E.left(
    fatal('E_GGUF_UNSUPPORTED', `llama.cpp's adapters ${message}`, {
      field,
      hint: 'export the model with the adapter added in',
    }),
  );

/** How the halves of W = B·A, A [r, inputs] and B [outputs, r], are to be rearranged so that W [outputs, inputs] is; undefined: in no way. */
const ofHalves = (whole: Arrangement): { readonly a: Arrangement; readonly b: Arrangement } | undefined => {
  switch (whole.kind) {
    // The weight of a Conv1D lies as [inputs, outputs], its adapter as any other.
    case 'transposed':
    case 'asIs':
      return { a: asIs, b: asIs };
    case 'interleaved':
    case 'ungrouped':
    case 'rows':
    case 'scaled':
      return { a: asIs, b: whole };
    case 'columns':
      return { a: whole, b: asIs };
    case 'inTurn': {
      const [first, then] = [ofHalves(whole.first), ofHalves(whole.then)];
      return first && then && { a: inTurn(first.a, then.a), b: inTurn(first.b, then.b) };
    }
    case 'offset':
    case 'squeezed':
    case 'shaped':
    case 'padded':
    case 'eachTurned':
    case 'decaying':
      return undefined;
  }
};

/** What of an adapter is more than two halves a weight. */
const more = (lora: LoraConfig, { weights, taken }: CausalLM, sites: ReadonlyArray<Site>): string | undefined => {
  const { bias, modulesToSave = [] } = lora;
  if (bias !== 'none') return 'bias';
  if (modulesToSave.length > 0) return 'modulesToSave';
  if (tablesIn(weights).length > 0) return 'trainableTokenIndices';
  if (sites.some((site) => namesOf(site).magnitude in weights)) return 'useDora';
  return taken === undefined ? undefined : 'initLoraWeights';
};

type Halves = E.Either<FatalError, ReadonlyArray<GgufHalf>>;

const halvesOf =
  ({ weights }: CausalLM, lora: LoraConfig, sites: ReadonlyMap<string, Site>, ownHead: boolean) =>
  ({ name, sources, arrangement, fixed = false, factorsOf }: GgufTensor): Halves => {
    const adapters = sources.map((source) => sites.get(source));
    const [site] = adapters.filter((adapter) => adapter !== undefined);
    if (site === undefined) return E.right([]);
    const shapesOf = (one: Site): ReadonlyArray<ReadonlyArray<number>> =>
      [namesOf(one).a, namesOf(one).b].map((half) => weights[half]?.shape ?? []);
    const [a = [], b = []] = shapesOf(site);
    const ways = ofHalves(arrangement);
    if (fixed || ways === undefined) return unsupported(`cannot change "${site.module}"`, site.module);
    const other = adapters.find((one) => one !== undefined && shapesOf(one).join(';') !== [a, b].join(';'));
    if (other !== undefined) return unsupported('have one rank for all experts of a layer', other.module);
    // A tied head would be changed with it there.
    if (site.isEmbedding && !ownHead)
      return unsupported('cannot change an embedding that is the head too', site.module);
    const [rank = 1] = a;
    const counts = scalingOf(lora, site.module, rank) / (lora.loraAlpha / rank);
    const factors = new Set(adapters.flatMap((one) => (one ? [scalingOf(lora, one.module, rank)] : [])));
    if (factors.size > 1) return unsupported('count alike for all experts of a layer', site.module);
    const half = (own: 'a' | 'b', shape: ReadonlyArray<number>, way: Arrangement, factor: number): GgufHalf => ({
      name: `${name}.lora_${own}`,
      sources: adapters.map((one) => one && namesOf(one)[own]),
      shape: arrangedShape(shape, way),
      arrangement: way,
      factor,
    });
    return E.right([
      half('a', a, site.isEmbedding ? { kind: 'transposed' } : ways.a, 1),
      { ...half('b', b, ways.b, counts), factorsOf },
    ]);
  };

/**
 * The adapter of a model, as `llama-cli --lora` takes it. Alphas and ranks of single modules, and rank-stabilised ones, become
 * factors of B. `E_LORA_ABSENT` for a model without one, `E_GGUF_UNSUPPORTED` where more than two halves of weights was trained, or where
 * llama.cpp has no weight of that kind.
 */
export const ggufAdapter = (model: CausalLM, layout: GgufLayout): E.Either<FatalError, GgufAdapter> => {
  const { lora, weights } = model;
  const sites = adaptersIn(weights);
  if (lora === undefined || sites.length === 0) return E.left(usage('E_LORA_ABSENT', 'the model carries no adapter'));
  const [further] = sites.filter((site) => site.further !== undefined);
  if (further !== undefined) return unsupported('are written one by one', further.module);
  const trained = more(lora, model, sites);
  if (trained !== undefined) return unsupported(`have no place for what ${trained} trains`, trained);
  const bySource = new Map(sites.map((site) => [`${site.module}.weight`, site]));
  const known = new Set(layout.tensors.flatMap(({ sources }) => sources.map(moduleOf)));
  const lost = sites.find(({ module }) => !known.has(module));
  if (lost !== undefined) return unsupported(`cannot change "${lost.module}"`, lost.module);
  const ownHead = layout.tensors.some(({ name }) => name === 'output.weight');
  return pipe(
    layout.tensors,
    E.traverseArray(halvesOf(model, lora, bySource, ownHead)),
    E.map((halves) => ({ alpha: lora.loraAlpha, halves: halves.flat() })),
  );
};
