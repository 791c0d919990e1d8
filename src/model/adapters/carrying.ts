/** The model that carries an adapter: what trains in it, and what becomes of the model before. */
import * as E from 'fp-ts/lib/Either.js';
import { usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { architectureOf, bufferNames } from '../architectures.js';
import type { Weights } from '../layers/layer.js';
import type { CausalLM } from '../model.js';
import { copied } from './copied.js';
import { adaptersIn, isAdapterName } from './adapterNames.js';
import { isSavedModule, moduleOf } from './moduleNames.js';
import type { LoraConfig } from './lora.js';
import type { Target } from './targets.js';

/**
 * Weights that `modulesToSave` needs and a tied model lacks. PEFT trains a copy of the named module, which unties it: the head
 * and the embedding part ways.
 */
export const untied = (model: CausalLM, config: LoraConfig): Weights => {
  const embedding = architectureOf(model.config).embedding;
  const table = model.weights[`${embedding}.weight`];
  if (table === undefined || 'lm_head.weight' in model.weights) return {};
  return isSavedModule(config, 'lm_head') || isSavedModule(config, embedding)
    ? { 'lm_head.weight': copied(table) }
    : {};
};

/** As PEFT has it: what a module calls its bias, not the `dt_bias` of recurrent layers. */
const isBias = (name: string): boolean => name.endsWith('.bias');

/** What trains beside the adapter itself. */
const trainedBeside = (
  { config: model }: CausalLM,
  names: ReadonlyArray<string>,
  config: LoraConfig,
  modules: ReadonlySet<string>,
): ReadonlyArray<string> => {
  const buffers = bufferNames(model);
  return names.filter(
    (name) =>
      !buffers.has(name) &&
      (isSavedModule(config, moduleOf(name)) ||
        (config.bias === 'all' && isBias(name)) ||
        (config.bias === 'lora_only' && isBias(name) && modules.has(moduleOf(name)))),
  );
};

/** Names of the weights of the base that train with an adapter. */
export const trainedWith = (model: CausalLM, config: LoraConfig): ReadonlyArray<string> =>
  trainedBeside(
    model,
    Object.keys(model.weights).filter((name) => !isAdapterName(name)),
    config,
    new Set(adaptersIn(model.weights).map(({ module }) => module)),
  );

export const withAdapter = (
  model: CausalLM,
  config: LoraConfig,
  targets: ReadonlyArray<Target>,
  adapter: Weights,
  base: Weights,
): CausalLM => {
  const trainable = trainedBeside(model, Object.keys(base), config, new Set(targets.map(({ module }) => module)));
  return {
    ...model,
    weights: { ...base, ...adapter },
    trainable: [...Object.keys(adapter), ...trainable],
    lora: config,
  };
};

export const alreadyThere = (model: CausalLM): E.Either<FatalError, CausalLM> =>
  model.lora === undefined && model.adapters === undefined
    ? E.right(model)
    : E.left(
        usage('E_LORA_PRESENT', 'the model carries an adapter already', {
          hint: 'go on training it, merge it first, or put another one beside it: addAdapter',
        }),
      );

/** The same model; weights of `before` that it has replaced are freed. */
export const replacing =
  (before: CausalLM) =>
  (after: CausalLM): CausalLM => {
    if (after.taken !== undefined)
      for (const [name, weight] of Object.entries(before.weights)) if (after.weights[name] !== weight) weight.dispose();
    return after;
  };
