/** A new adapter of a model. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { checked } from '../../checked.js';
import type { FatalError } from '../../errors.js';
import { tensor2d } from '../../tfjs.js';
import { gatherRows } from '../kernels/gatherRows.js';
import type { Weights } from '../layers/layer.js';
import type { CausalLM } from '../model.js';
import { weightOf } from '../weights.js';
import { alreadyThere, replacing, untied, withAdapter } from './carrying.js';
import { copied } from './copied.js';
import { adaptedNorms } from './dora.js';
import { adapterOptions, LoraConfig } from './lora.js';
import { initialAdapter } from './initialAdapter.js';
import { namesOf, tokenRowsName } from './adapterNames.js';
import type { LoraOptions } from './lora.js';
import type { Target } from './targets.js';
import type { TokenRows } from './tokenRows.js';
import { adaptedWeight, liesTransposed, namedInside, placesOf } from './places.js';
import { takeFromBase } from './takeFromBase.js';

/** DoRA begins with the lengths that the rows have. */
const firstMagnitude = (model: CausalLM, config: LoraConfig, target: Target, adapter: Weights): Tensor => {
  const names = namesOf(target);
  const [a, b] = [weightOf(adapter, names.a), weightOf(adapter, names.b)];
  const { scaling } = adapterOptions(config, target.module, a);
  const transposed = liesTransposed(model, target);
  return adaptedNorms({ w: adaptedWeight(model, target.module), a, b }, { transposed, scaling });
};

/** Where a table's rows that train apart begin: with what they are. */
const firstRows = (model: CausalLM, { module, ids }: TokenRows): Tensor =>
  gatherRows(adaptedWeight(model, module), Int32Array.from(ids));

/** The model with a new adapter, as `attachLora`; the weights given stay, those that lack a part are new. */
export const withNewAdapter = (model: CausalLM, asked: LoraConfig, seed: number): E.Either<FatalError, CausalLM> => {
  const config = namedInside(model, asked);
  return pipe(
    alreadyThere(model),
    E.flatMap(() => placesOf(model, config)),
    E.bind('taking', ({ targets }) => takeFromBase(model, config, targets, seed)),
    E.map(({ targets, rows, taking: { taken, left } }) => {
      const adapter: Record<string, Tensor> = {};
      const base = { ...model, weights: { ...model.weights, ...left } };
      for (const target of targets) {
        const names = namesOf(target);
        const [ofA, ofB] = [taken[names.a], taken[names.b]];
        if (ofA !== undefined && ofB !== undefined) {
          adapter[names.a] = copied(ofA);
          adapter[names.b] = copied(ofB);
        } else {
          const { a, b } = initialAdapter(config, target, seed);
          adapter[names.a] = tensor2d(a, [target.rank, target.inputs]);
          adapter[names.b] = tensor2d(b, [target.outputs, target.rank]);
        }
        if (config.useDora) adapter[names.magnitude] = firstMagnitude(base, config, target, adapter);
      }
      for (const table of rows) adapter[tokenRowsName(table.module)] = firstRows(model, table);
      const attached = withAdapter(model, config, targets, adapter, { ...base.weights, ...untied(model, config) });
      return Object.keys(taken).length === 0 ? attached : { ...attached, taken };
    }),
  );
};

/** How a new adapter begins. */
export interface NewAdapterOptions {
  /** Seed of what is drawn at random. Default 42. */
  readonly seed?: number | undefined;
}

/**
 * The model with a new adapter, which alone trains (with what `bias`, `modulesToSave` and `trainableTokenIndices` name). Takes the
 * base weights over: use the result, not the model given. With `initLoraWeights` pissa or olora the adapter begins with a part of
 * each weight, which the weight then lacks. `E_OPTIONS`, `E_LORA_TARGET`, `E_LORA_PRESENT`, `E_LORA_INIT` for a way to begin that is not offered or
 * that rank or quantisation rule out.
 */
export const attachLora = checked(
  'attachLora',
  E.left,
  { 2: { seed: 'optional' } },
  (model: CausalLM, options: LoraOptions, { seed = 42 }: NewAdapterOptions = {}): E.Either<FatalError, CausalLM> =>
    pipe(
      LoraConfig.decode(options),
      E.flatMap((config) => withNewAdapter(model, config, seed)),
      E.map(replacing(model)),
    ),
);
