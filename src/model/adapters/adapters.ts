/** Several adapters over one base model, by name: put on, taken into use, left out, taken off, combined. All share the base's tensors. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { checked } from '../../checked.js';
import type { FatalError } from '../../errors.js';
import { fatal, usage } from '../../errors.js';
import { architectureOf } from '../architectures.js';
import type { Weights } from '../layers/layer.js';
import type { CausalLM, NamedAdapter, NamedAdapters } from '../model.js';
import { weightOf } from '../weights.js';
import { withNewAdapter } from './adapter.js';
import type { NewAdapterOptions } from './adapter.js';
import { trainedWith } from './carrying.js';
import { withSavedAdapter } from './savedAdapter.js';
import { copied } from './copied.js';
import { adaptersIn, furtherName, isAdapterName, tablesIn } from './adapterNames.js';
import { LoraConfig } from './lora.js';
import type { LoraOptions } from './lora.js';
import { moduleOf } from './moduleNames.js';

/** The name that an adapter has when it was given none. */
const defaultName = 'default';

/** The adapters of a model as they are now: what is in use has been trained where it lies among the weights. */
export const adaptersNow = (model: CausalLM): E.Either<FatalError, NamedAdapters> => {
  const { adapters, lora, weights } = model;
  if (adapters !== undefined) {
    const all = Object.entries(adapters.all).map(([name, adapter]): [string, NamedAdapter] => {
      const place = adapters.active.indexOf(name);
      if (place === -1) return [name, adapter];
      const lying = (own: Weights, called: (key: string) => string): Weights =>
        Object.fromEntries(Object.keys(own).map((key) => [key, weightOf(weights, called(key))]));
      return [
        name,
        {
          ...adapter,
          weights: lying(adapter.weights, (key) => (place === 0 ? key : furtherName(key, name))),
          beside: lying(adapter.beside, (key) => key),
        },
      ];
    });
    return E.right({ ...adapters, all: Object.fromEntries(all) });
  }
  const base = Object.fromEntries(Object.entries(weights).filter(([name]) => !isAdapterName(name)));
  if (lora === undefined) return E.right({ all: {}, active: [], base });
  const whole = trainedWith(model, lora)[0] ?? Object.keys(model.taken ?? {})[0];
  if (whole !== undefined)
    return E.left(
      usage(
        'E_LORA_BASE',
        `the adapter has changed weights of the base ("${whole}"), so that the model without it is gone`,
        { hint: 'add the adapter with addAdapter, which keeps what it replaces' },
      ),
    );
  const own = Object.fromEntries(Object.entries(weights).filter(([name]) => isAdapterName(name)));
  return E.right({ all: { [defaultName]: { lora, weights: own, beside: {} } }, active: [defaultName], base });
};

/** The model with these adapters, of which the active ones are in use. All of theirs trains. */
const withAdapters = (model: CausalLM, adapters: NamedAdapters): CausalLM => {
  const { lora: _l, taken: _t, ...others } = model;
  const inUse = adapters.active.flatMap((name) => {
    const adapter = adapters.all[name];
    return adapter === undefined ? [] : [{ name, ...adapter }];
  });
  const tensors = inUse.map(({ name, weights, beside }, i) => ({
    ...beside,
    ...(i === 0
      ? weights
      : Object.fromEntries(Object.entries(weights).map(([key, value]) => [furtherName(key, name), value]))),
  }));
  const own: Weights = Object.assign({}, ...tensors) as Weights;
  const plain: CausalLM = { ...others, adapters, weights: { ...adapters.base, ...own }, trainable: [] };
  const [first] = inUse;
  if (first === undefined) return plain;
  const trained = new Set(inUse.flatMap(({ lora }) => trainedWith(plain, lora)));
  return {
    ...plain,
    lora: first.lora,
    ...(first.taken === undefined ? {} : { taken: first.taken }),
    trainable: Object.keys(own).filter((name) => isAdapterName(name) || trained.has(name)),
  };
};

/** The base alone. */
const baseOf = ({ lora: _l, adapters: _a, taken: _t, ...model }: CausalLM, { base }: NamedAdapters): CausalLM => ({
  ...model,
  weights: base,
  trainable: [],
});

export const isFree = (name: string, { all }: NamedAdapters): E.Either<FatalError, void> => {
  if (!/^[\w-]+$/.test(name))
    return E.left(usage('E_LORA_NAME', `"${name}" cannot name an adapter`, { hint: 'use letters, digits, _ and -' }));
  return name in all
    ? E.left(
        usage('E_LORA_NAME', `there is an adapter "${name}" already`, {
          hint: 'choose another name, or deleteAdapter first',
        }),
      )
    : E.right(undefined);
};

export const known = (name: string, { all }: NamedAdapters): E.Either<FatalError, NamedAdapter> => {
  const adapter = all[name];
  return adapter === undefined
    ? E.left(
        usage('E_LORA_NAME', `there is no adapter "${name}"`, {
          hint: `there are ${Object.keys(all).join(', ') || 'none'}`,
        }),
      )
    : E.right(adapter);
};

export const added = (model: CausalLM, adapters: NamedAdapters, name: string, adapter: NamedAdapter): CausalLM =>
  withAdapters(model, {
    ...adapters,
    all: { ...adapters.all, [name]: adapter },
    active: adapters.active.length === 0 ? [name] : adapters.active,
  });

/** What a model with one adapter has that the base has not. */
const taken = (attached: CausalLM, base: Weights, lora: LoraConfig, copy: (weight: Tensor) => Tensor): NamedAdapter => {
  const own = Object.entries(attached.weights).filter(([name]) => isAdapterName(name));
  const trained = new Set(trainedWith(attached, lora));
  const beside = Object.entries(attached.weights).flatMap(([name, weight]): Array<[string, Tensor]> => {
    if (isAdapterName(name)) return [];
    if (base[name] !== weight) return [[name, weight]];
    return trained.has(name) ? [[name, copy(weight)]] : [];
  });
  return {
    lora,
    weights: Object.fromEntries(own),
    beside: Object.fromEntries(beside),
    ...(attached.taken === undefined ? {} : { taken: attached.taken }),
  };
};

/**
 * The model with a new adapter beside those it has; the first one is in use at once, later ones when `setActiveAdapters` says so. What
 * `modulesToSave` and `bias` train is copied, so that the base stays what it was. `name`: letters, digits, _ and -. The adapter that
 * `attachLora` or a loader put on counts as `default`. `E_LORA_NAME`, `E_LORA_TARGET`, `E_OPTIONS`; `E_LORA_BASE` where such an
 * adapter trained weights of the base.
 */
export const addAdapter = checked(
  'addAdapter',
  E.left,
  { 3: { seed: 'optional' } },
  (
    model: CausalLM,
    name: string,
    options: LoraOptions,
    { seed = 42 }: NewAdapterOptions = {},
  ): E.Either<FatalError, CausalLM> =>
    pipe(
      adaptersNow(model),
      E.bindTo('adapters'),
      E.tap(({ adapters }) => isFree(name, adapters)),
      E.bind('lora', () => LoraConfig.decode(options)),
      E.bind('attached', ({ adapters, lora }) => withNewAdapter(baseOf(model, adapters), lora, seed)),
      E.map(({ adapters, lora, attached }) =>
        added(model, adapters, name, taken(attached, adapters.base, lora, copied)),
      ),
    ),
);

/** Whether two tensors hold the same numbers. */
const alike = (a: Tensor | undefined, b: Tensor): boolean => {
  if (a?.shape.join() !== b.shape.join()) return false;
  const [left, right] = [a.dataSync<'float32'>(), b.dataSync<'float32'>()];
  return left.every((x, i) => x === right[i]);
};

/**
 * The model with a saved adapter beside those it has; `saved` as `attachSavedLora` wants it, which it takes over. Errors as of
 * `addAdapter` and `attachSavedLora`; `E_LORA_WEIGHTS` too for an adapter that brings other token rows than the base has.
 */
export const addSavedAdapter = (
  model: CausalLM,
  name: string,
  options: LoraOptions,
  saved: Weights,
): E.Either<FatalError, CausalLM> =>
  pipe(
    adaptersNow(model),
    E.bindTo('adapters'),
    E.tap(({ adapters }) => isFree(name, adapters)),
    E.tap(({ adapters: { base } }) => {
      const table = `${architectureOf(model.config).embedding}.weight`;
      const rows = saved[table]?.shape[0];
      return rows === undefined || rows === base[table]?.shape[0]
        ? E.right(undefined)
        : E.left(
            fatal('E_LORA_WEIGHTS', 'adapters over one base have as many token rows as it has', {
              expected: `${base[table]?.shape[0] ?? 0} rows`,
              actual: `${rows} rows`,
              hint: 'resize the base first: resizeTokenEmbeddings',
            }),
          );
    }),
    E.bind('lora', () => LoraConfig.decode(options)),
    E.bind('attached', ({ adapters, lora }) => withSavedAdapter(baseOf(model, adapters), lora, saved)),
    E.map(({ adapters, attached, lora }) => {
      const adapter = taken(attached, adapters.base, lora, copied);
      const trained = new Set(trainedWith(attached, lora));
      // Tables that PEFT saves with an adapter of them are the base's own.
      const [same, beside] = [true, false].map((wanted) =>
        Object.entries(adapter.beside).filter(
          ([key, weight]) => (!trained.has(key) && alike(adapters.base[key], weight)) === wanted,
        ),
      ) as [Array<[string, Tensor]>, Array<[string, Tensor]>];
      for (const [, weight] of same) weight.dispose();
      return added(model, adapters, name, { ...adapter, beside: Object.fromEntries(beside) });
    }),
  );

/** What two adapters cannot both have while they are in use together. */
const clash = (model: CausalLM, names: ReadonlyArray<string>, { all }: NamedAdapters): FatalError | undefined => {
  const refuse = (what: string): FatalError =>
    usage('E_LORA_ACTIVE', `${what}, so these adapters cannot be in use together: ${names.join(', ')}`);
  const several = names.flatMap((name) => all[name] ?? []);
  if (several.length < 2) return undefined;
  if (several.some(({ lora }) => lora.useDora)) return refuse('DoRA scales the whole weight');
  const whole = several.flatMap(({ beside }) => Object.keys(beside));
  const twice = whole.find((name, i) => whole.indexOf(name) !== i);
  if (twice !== undefined) return refuse(`each has a "${twice}" of its own`);
  const rows = several.filter(({ weights }) => tablesIn(weights).length > 0);
  if (rows.length > 1) return refuse('each has token rows of its own');
  const { embedding } = architectureOf(model.config);
  const tables = rows.flatMap(({ weights }) => tablesIn(weights));
  const shared = tables.includes(embedding) && !('lm_head.weight' in model.weights) ? ['lm_head', ...tables] : tables;
  const both = several.flatMap(({ weights }) => adaptersIn(weights)).find(({ module }) => shared.includes(module));
  const saved = whole.map(moduleOf).find((module) => shared.includes(module) || both?.module === module);
  return both === undefined && saved === undefined
    ? undefined
    : refuse(`one has rows of "${both?.module ?? saved ?? ''}" and another changes all of it`);
};

/**
 * The model with these adapters in use, whose changes add up, and no other; none: the base alone. All of theirs trains, as in PEFT
 * (`training` narrows that). `E_LORA_NAME` for an unknown one, `E_LORA_ACTIVE` for adapters that cannot add up: DoRA, and those that
 * both have a copy of the same module or rows of a table that the other changes.
 */
export const setActiveAdapters = (
  model: CausalLM,
  names: string | ReadonlyArray<string>,
): E.Either<FatalError, CausalLM> =>
  pipe(
    adaptersNow(model),
    E.flatMap((adapters) => {
      const wanted = [...new Set(typeof names === 'string' ? [names] : names)];
      for (const name of wanted) {
        const found = known(name, adapters);
        if (E.isLeft(found)) return found;
      }
      const fault = clash(baseOf(model, adapters), wanted, adapters);
      if (fault !== undefined) return E.left(fault);
      // Rows of tokens lie under plain names only: whoever has some goes first.
      const hasRows = (name: string): number => (tablesIn(adapters.all[name]?.weights ?? {}).length > 0 ? 0 : 1);
      const active = wanted.toSorted((a, b) => hasRows(a) - hasRows(b));
      return E.right(withAdapters(model, { ...adapters, active }));
    }),
  );

/** An adapter that a model has. */
export interface ListedAdapter {
  readonly name: string;
  /** Whether it is in use. */
  readonly active: boolean;
  /** What it is. */
  readonly lora: LoraConfig;
}

/** The adapters of a model, in the order in which they came. */
export const listAdapters = (model: CausalLM): ReadonlyArray<ListedAdapter> => {
  const { adapters, lora } = model;
  if (adapters === undefined) return lora === undefined ? [] : [{ name: defaultName, active: true, lora }];
  return Object.entries(adapters.all).map(([name, own]) => ({
    name,
    active: adapters.active.includes(name),
    lora: own.lora,
  }));
};

/**
 * The same model as if it had no adapter, a view of the same tensors: what a reference model computes, at no memory and no copy. The
 * model itself stays as it is and may go on training. `E_LORA_BASE` where weights of the base trained with an adapter that was not
 * added with `addAdapter`, so that the base is gone.
 */
export const withoutAdapter = (model: CausalLM): E.Either<FatalError, CausalLM> =>
  E.Functor.map(adaptersNow(model), (adapters) => baseOf(model, adapters));

/** The model without an adapter, which is disposed; if it was in use, the others in use stay so. `E_LORA_NAME`, `E_LORA_BASE`. */
export const deleteAdapter = (model: CausalLM, name: string): E.Either<FatalError, CausalLM> =>
  pipe(
    adaptersNow(model),
    E.bindTo('adapters'),
    E.bind('gone', ({ adapters }) => known(name, adapters)),
    E.map(({ adapters, gone }) => {
      for (const own of [gone.weights, gone.beside, gone.taken ?? {}])
        for (const weight of Object.values(own)) weight.dispose();
      const { [name]: _, ...all } = adapters.all;
      return withAdapters(model, { ...adapters, all, active: adapters.active.filter((one) => one !== name) });
    }),
  );

/** The model with one of its adapters, as if it had no other: what is saved in a directory of its own. */
export const onlyAdapter = (model: CausalLM, name: string): E.Either<FatalError, CausalLM> =>
  pipe(
    adaptersNow(model),
    E.bindTo('adapters'),
    E.bind('one', ({ adapters }) => known(name, adapters)),
    E.map(({ adapters, one }) => withAdapters(model, { ...adapters, all: { [name]: one }, active: [name] })),
  );
