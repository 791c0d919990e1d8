/** Names of the tensors of adapters, and what they tell: which module, which adapter, which half. */
import { remembered } from '../remembered.js';
import type { Target } from './targets.js';

/** Names of an adapter's tensors; the magnitude is DoRA's alone. */
export interface AdapterNames {
  readonly a: string;
  readonly b: string;
  readonly magnitude: string;
}

const namesEnding =
  (own: string) =>
  (module: string): AdapterNames => ({
    a: `${module}.lora_A${own}.weight`,
    b: `${module}.lora_B${own}.weight`,
    magnitude: `${module}.lora_magnitude_vector${own}`,
  });
const namesInUse = remembered(namesEnding(''));

/** Names of an adapter of a module: of the one in use, or of a further one beside it, which has a name of its own. */
export const adapterNames = (module: string, further?: string): AdapterNames =>
  further === undefined ? namesInUse(module) : namesEnding(`.${further}`)(module);

/** The same of an embedding: A [r, rows], B [width, r]. */
export const embeddingAdapterNames = (module: string, further?: string): AdapterNames => {
  const own = further === undefined ? '' : `.${further}`;
  return {
    a: `${module}.lora_embedding_A${own}`,
    b: `${module}.lora_embedding_B${own}`,
    magnitude: `${module}.lora_magnitude_vector${own}`,
  };
};

/** Name of the rows of a table that train apart from it, [k, width]. */
export const tokenRowsName = (module: string): string => `${module}.token_adapter.trainable_tokens_delta`;

const adapterEnding =
  /\.(?:lora_[AB](?:\.([^.]+))?\.weight|lora_(?:embedding_[AB]|magnitude_vector)(?:\.([^.]+))?|token_adapter\.trainable_tokens_delta)$/;

/** Whether the weight is part of an adapter. */
export const isAdapterName = (name: string): boolean => adapterEnding.test(name);

/** The module that an adapter's weight belongs to. */
export const adaptedModule = (name: string): string => name.replace(adapterEnding, '');

/** An adapter of a module: the one in use, or one beside it by its name. */
export interface Site extends Pick<Target, 'module' | 'isEmbedding'> {
  readonly further?: string | undefined;
}

/** Names of the tensors of an adapter. */
export const namesOf = ({ module, isEmbedding, further }: Site): AdapterNames =>
  isEmbedding ? embeddingAdapterNames(module, further) : adapterNames(module, further);

/** The name that an adapter's tensor carries while the adapter is in use beside the first. */
export const furtherName = (name: string, further: string): string =>
  name
    .replace(/\.(lora_[AB])\.weight$/, `.$1.${further}.weight`)
    .replace(/\.lora_(?:embedding_[AB]|magnitude_vector)$/, `$&.${further}`);

/** Where adapters of two halves sit. */
export const adaptersIn = (weights: object): ReadonlyArray<Site> =>
  Object.keys(weights).flatMap((name) => {
    const found = adapterEnding.exec(name);
    if (found === null) return [];
    const further = found[1] ?? found[2];
    const module = name.slice(0, found.index);
    return [true, false].flatMap((isEmbedding) => {
      const site = { module, isEmbedding, further };
      return name === namesOf(site).a ? [site] : [];
    });
  });

/** Tables of which rows train apart. */
export const tablesIn = (weights: object): ReadonlyArray<string> =>
  Object.keys(weights)
    .filter((name) => isAdapterName(name) && name === tokenRowsName(adaptedModule(name)))
    .map(adaptedModule);
