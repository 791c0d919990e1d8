/** Adapters that call the head as files do: those of GPT-NeoX that were made with transformers 4, where it was `embed_out`. */
import type { AdapterLora } from '../../formats/checkpoints/adapterConfig.js';
import type { StoredTensor } from '../../formats/tensors/storedTensor.js';
import { architectureOf } from '../../model/architectures.js';
import type { ModelConfig } from '../../model/config.js';

type Tensors = ReadonlyMap<string, StoredTensor>;
type Names = AdapterLora['targetModules'];

/** The adapter with its head named as the model has it; names may stand within regular expressions. */
export const withOwnHead = (
  config: ModelConfig,
  lora: AdapterLora,
  tensors: Tensors,
): { readonly lora: AdapterLora; readonly tensors: Tensors } => {
  const { storedHead } = architectureOf(config);
  if (storedHead === 'lm_head') return { lora, tensors };
  const word = new RegExp(`(?<!\\w)${storedHead}(?!\\w)`, 'g');
  const own = (name: string): string => name.replace(word, 'lm_head');
  const names = (given: NonNullable<Names>): NonNullable<Names> =>
    typeof given === 'string' ? own(given) : given.map(own);
  const keys = <A>(given: Readonly<Record<string, A>>): Readonly<Record<string, A>> =>
    Object.fromEntries(Object.entries(given).map(([key, value]) => [own(key), value]));
  const { targetModules, excludeModules, modulesToSave, trainableTokenIndices } = lora;
  return {
    lora: {
      ...lora,
      rankPattern: keys(lora.rankPattern),
      alphaPattern: keys(lora.alphaPattern),
      ...(targetModules === undefined ? {} : { targetModules: names(targetModules) }),
      ...(excludeModules === undefined ? {} : { excludeModules: names(excludeModules) }),
      ...(modulesToSave === undefined ? {} : { modulesToSave: modulesToSave.map(own) }),
      ...(trainableTokenIndices === undefined || Array.isArray(trainableTokenIndices)
        ? {}
        : { trainableTokenIndices: keys(trainableTokenIndices as Readonly<Record<string, ReadonlyArray<number>>>) }),
    },
    tensors: new Map(Array.from(tensors, ([name, tensor]) => [own(name), tensor])),
  };
};
