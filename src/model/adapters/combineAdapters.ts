/** A weighted sum of adapters as one adapter. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { checked } from '../../checked.js';
import type { FatalError } from '../../errors.js';
import { usage } from '../../errors.js';
import { add, mul, tidy } from '../../tfjs.js';
import { concatColumns } from '../kernels/columns.js';
import { joinRows } from '../layers/putRows.js';
import type { CausalLM } from '../model.js';
import { added, adaptersNow, isFree, known } from './adapters.js';
import { adapterOptions } from './lora.js';
import { adaptersIn, namesOf, tablesIn } from './adapterNames.js';
import type { LoraConfig } from './lora.js';

/** How adapters are added up. */
export interface CombineOptions {
  /**
   * `cat` (default): exact, at a rank that is the sum of all ranks. `linear`: halves added up, for adapters of one rank; products of
   * different adapters' halves come in, so it is an approximation. As in PEFT's `add_weighted_adapter`.
   */
  readonly combinationType?: 'cat' | 'linear' | undefined;
}

interface Halves {
  readonly a: Tensor;
  readonly b: Tensor;
}

type Weighted = Halves & { readonly factor: number };

const sumOf = (tensors: ReadonlyArray<Tensor>): Tensor => tensors.reduce((sum, one) => add(sum, one));

/** A = Σ ±√|f|·A and B = Σ √|f|·B: the sign goes to one side. */
const addedHalves = (halves: ReadonlyArray<Weighted>): Halves => ({
  a: tidy(() => sumOf(halves.map(({ a, factor }) => mul(a, Math.sign(factor) * Math.sqrt(Math.abs(factor)))))),
  b: tidy(() => sumOf(halves.map(({ b, factor }) => mul(b, Math.sqrt(Math.abs(factor)))))),
});

/** [f·A; f'·A'; …] and [B, B', …]. */
const joinedHalves = (halves: ReadonlyArray<Weighted>): Halves => ({
  a: tidy(() => joinRows(halves.map(({ a, factor }) => mul(a, factor)))),
  b: concatColumns(halves.map(({ b }) => b)),
});

/**
 * The model with an adapter that is a weighted sum of others, which stay; it is in use when it is made active. Weights may be negative.
 * A module that only some of them adapt takes part with those. `E_LORA_NAME`; `E_LORA_COMBINE` for adapters with DoRA, token rows or
 * modules of their own, and for ranks that differ under `linear`.
 */
export const combineAdapters = checked(
  'combineAdapters',
  E.left,
  { 3: { combinationType: 'optional' } },
  (
    model: CausalLM,
    name: string,
    parts: Readonly<Record<string, number>>,
    { combinationType = 'cat' }: CombineOptions = {},
  ): E.Either<FatalError, CausalLM> =>
    pipe(
      adaptersNow(model),
      E.bindTo('adapters'),
      E.tap(({ adapters }) => isFree(name, adapters)),
      E.bind('chosen', ({ adapters }) =>
        E.sequenceArray(
          Object.entries(parts).map(([one, weight]) =>
            E.Functor.map(known(one, adapters), (own) => ({ ...own, weight })),
          ),
        ),
      ),
      E.flatMap(({ adapters, chosen }) => {
        const refuse = (message: string): E.Either<FatalError, never> => E.left(usage('E_LORA_COMBINE', message));
        const [first] = chosen;
        if (first === undefined) return refuse('there is nothing to combine');
        if (chosen.some(({ lora }) => lora.useDora)) return refuse('adapters with DoRA do not add up');
        if (chosen.some(({ weights, beside }) => tablesIn(weights).length > 0 || Object.keys(beside).length > 0))
          return refuse('token rows and whole modules of an adapter do not add up');
        const sites = new Map(
          chosen.flatMap(({ weights }) => adaptersIn(weights).map((site) => [namesOf(site).a, site] as const)),
        );
        const made: Record<string, Tensor> = {};
        const ranks: Record<string, number> = {};
        for (const site of sites.values()) {
          const { a, b } = namesOf(site);
          const halves = chosen.flatMap(({ weights, lora, weight }) => {
            const [ofA, ofB] = [weights[a], weights[b]];
            if (ofA === undefined || ofB === undefined) return [];
            return [{ a: ofA, b: ofB, factor: weight * adapterOptions(lora, site.module, ofA).scaling }];
          });
          const [rank = 0, ...others] = halves.map((half) => half.a.shape[0]);
          if (combinationType === 'linear' && others.some((other) => other !== rank)) {
            for (const one of Object.values(made)) one.dispose();
            return refuse(`the adapters of "${site.module}" differ in rank, which "linear" cannot add`);
          }
          const result = combinationType === 'linear' ? addedHalves(halves) : joinedHalves(halves);
          made[a] = result.a;
          made[b] = result.b;
          ranks[site.module] = result.a.shape[0];
        }
        const r = Math.max(...Object.values(ranks));
        const rankPattern = Object.fromEntries(Object.entries(ranks).filter(([, rank]) => rank !== r));
        // Which modules there are is said by their names: choices of one of the parts would leave out those of another.
        const { layersToTransform: _to, layersPattern: _pattern, excludeModules: _excluded, ...common } = first.lora;
        const lora: LoraConfig = {
          ...common,
          r,
          // The halves carry all factors: what they make together counts once.
          loraAlpha: r,
          useRslora: false,
          rankPattern,
          alphaPattern: rankPattern,
          initLoraWeights: true,
          targetModules: [...new Set([...sites.values()].map(({ module }) => module))],
        };
        return E.right(added(model, adapters, name, { lora, weights: made, beside: {} }));
      }),
    ),
);
