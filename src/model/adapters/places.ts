/** Where an adapter sits: the modules and tables that its options name, and the weights there. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { architectureOf } from '../architectures.js';
import { endInside, nameOutside } from '../imageText.js';
import type { CausalLM } from '../model.js';
import { headSpec, weightOf } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { isList, tokenRows } from './tokenRows.js';
import { isSavedModule, moduleOf } from './moduleNames.js';
import { loraTargets } from './targets.js';
import type { LoraConfig } from './lora.js';
import type { Target } from './targets.js';
import type { TokenRows } from './tokenRows.js';

/** The model's tensors, its head among them where that is the embedding. */
const specsOf = ({ config }: CausalLM): ReadonlyArray<TensorSpec> => {
  const { tensors, embedding } = architectureOf(config);
  const table = tensors.find(({ name }) => name === `${embedding}.weight`);
  const [rows = 0, width = 0] = table?.shape ?? [];
  return tensors.some(({ name }) => name === 'lm_head.weight')
    ? tensors
    : [...tensors, ...headSpec(false, rows, width)];
};

/** What an adapter sits on. */
interface Places {
  readonly targets: ReadonlyArray<Target>;
  readonly rows: ReadonlyArray<TokenRows>;
}

export const placesOf = (model: CausalLM, config: LoraConfig): E.Either<FatalError, Places> => {
  const { loraTargets: defaults, embedding } = architectureOf(model.config);
  const specs = specsOf(model);
  const modules = specs.map(({ name }) => moduleOf(name));
  const nowhere = config.modulesToSave?.find((name) => !modules.some((module) => module.endsWith(name)));
  if (nowhere !== undefined)
    return E.left(usage('E_LORA_TARGET', `modulesToSave names "${nowhere}", and no module of the model ends so`));
  const whole = Object.keys(model.quantized?.scales ?? {}).find((name) => isSavedModule(config, moduleOf(name)));
  if (whole !== undefined)
    return E.left(
      usage('E_LORA_TARGET', `modulesToSave names "${moduleOf(whole)}", whose weight is quantised and cannot train`, {
        hint: 'name it in llmInt8SkipModules too, or give it an adapter',
      }),
    );
  const tied = !('lm_head.weight' in model.weights);
  return pipe(
    loraTargets(config, specs, defaults, model.config.modelType, (module) => nameOutside(model.config, module)),
    E.bindTo('targets'),
    E.bind('rows', ({ targets }) => tokenRows(config, specs, { embedding, tied }, targets)),
  );
};

/** The options with names of modules, other than targets, as they end here. */
export const namedInside = (model: CausalLM, config: LoraConfig): LoraConfig => {
  if (model.config.within === undefined) return config;
  const { modulesToSave, trainableTokenIndices: rows } = config;
  const inside = (name: string): string => endInside(model.config, name);
  const keyed = <V>(by: Readonly<Record<string, V>>): Readonly<Record<string, V>> =>
    Object.fromEntries(Object.entries(by).map(([name, value]) => [inside(name), value]));
  return {
    ...config,
    rankPattern: keyed(config.rankPattern),
    alphaPattern: keyed(config.alphaPattern),
    ...(modulesToSave === undefined ? {} : { modulesToSave: modulesToSave.map(inside) }),
    ...(rows === undefined || isList(rows) ? {} : { trainableTokenIndices: keyed(rows) }),
  };
};

const headName = ({ weights, config }: CausalLM): string =>
  'lm_head.weight' in weights ? 'lm_head.weight' : `${architectureOf(config).embedding}.weight`;

/** The weight that a target's adapter adapts; of a tied head the embedding's table. */
export const adaptedWeight = (model: CausalLM, module: string): Tensor =>
  weightOf(model.weights, module === 'lm_head' ? headName(model) : `${module}.weight`);

/** Whether the weight a target adapts lies [inputs, outputs]. */
export const liesTransposed = (
  { config, quantized }: CausalLM,
  { module, isEmbedding }: Pick<Target, 'module' | 'isEmbedding'>,
): boolean => {
  const name = `${module}.weight`;
  if (isEmbedding) return true;
  // Quantised weights lie outputs first, those of Conv1D too.
  if (quantized !== undefined && name in quantized.scales) return false;
  return architectureOf(config).tensors.some((spec) => spec.name === name && spec.kind === 'conv1d');
};
