/** Single rows of tables that train beside an adapter. */
import * as E from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../errors.js';
import { usage } from '../../errors.js';
import type { TensorSpec } from '../weights.js';
import type { LoraConfig } from './lora.js';
import { isNamed, isSavedModule, moduleOf } from './moduleNames.js';
import type { Target } from './targets.js';

/** Ids of the rows of the module's table that train apart, in the order in which they lie. */
export const tokenIndicesOf = (config: LoraConfig | undefined, module: string): ReadonlyArray<number> | undefined => {
  const given = config?.trainableTokenIndices;
  if (given === undefined || isList(given)) return given;
  return Object.entries(given).find(([name]) => isNamed(module, [name]))?.[1];
};

export const isList = (value: NonNullable<LoraConfig['trainableTokenIndices']>): value is ReadonlyArray<number> =>
  Array.isArray(value);

/** A table of which single rows train. */
export interface TokenRows {
  readonly module: string;
  readonly ids: ReadonlyArray<number>;
}

/**
 * The tables of which rows train: the token embedding for a list of ids, those named for an object. Of a tied model, the same ids
 * for the head as for the embedding are those of the embedding, whose rows the head multiplies by. `E_LORA_TARGET`.
 */
export const tokenRows = (
  config: LoraConfig,
  specs: ReadonlyArray<TensorSpec>,
  { embedding, tied }: { readonly embedding: string; readonly tied: boolean },
  targets: ReadonlyArray<Target>,
): E.Either<FatalError, ReadonlyArray<TokenRows>> => {
  const given = config.trainableTokenIndices;
  const refuse = (message: string, hint?: string): E.Either<FatalError, never> =>
    E.left(
      usage('E_LORA_TARGET', `trainableTokenIndices: ${message}`, {
        field: 'trainableTokenIndices',
        ...(hint === undefined ? {} : { hint }),
      }),
    );
  if (given === undefined) return E.right([]);
  const tables = specs.filter(
    ({ kind, head, name }) => kind === 'embedding' || (head === true && name.endsWith('.weight')),
  );
  const found: Array<TokenRows> = [];
  for (const [name, ids] of isList(given) ? [[embedding, given] as const] : Object.entries(given)) {
    const table = tables.find((spec) => isNamed(moduleOf(spec.name), [name]));
    if (table === undefined)
      return refuse(`the model has no table "${name}"`, `tables are ${tables.map((t) => moduleOf(t.name)).join(', ')}`);
    const module = moduleOf(table.name);
    const [rows = 0] = table.shape;
    const wrong = ids.find((id) => id >= rows);
    if (wrong !== undefined) return refuse(`"${module}" has ${rows} rows, and ${wrong} is none of them`);
    if (new Set(ids).size !== ids.length) return refuse(`an id of "${module}" is given twice`);
    if (isSavedModule(config, module))
      return refuse(`"${module}" trains whole already`, 'take it out of modulesToSave');
    const meant = tied && module === embedding ? [module, 'lm_head'] : [module];
    if (targets.some((target) => meant.includes(target.module)))
      return refuse(`"${module}" has an adapter already`, 'take it out of targetModules');
    if (ids.length > 0) found.push({ module, ids });
  }
  const own = found.find(({ module }) => module === embedding);
  return E.right(found.filter(({ module, ids }) => !(tied && module === 'lm_head' && ids.join() === own?.ids.join())));
};
