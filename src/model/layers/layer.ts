/**
 * Layers carry their pullbacks: a layer returns its value and the way back. There is no tape, so an activation lives exactly
 * until the way back has consumed it.
 *
 * Ownership, everywhere in this folder:
 * - A layer borrows its input and its weights. What it needs again on the way back it keeps as a clone (same data, counted),
 *   so the maker of the input disposes it as soon as the call returns.
 * - The caller owns the value.
 * - A pullback owns `dOutput` and `onto`, and gives away what it returns.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { add } from '../kernels/add.js';
import { axpy } from '../kernels/axpy.js';
import { clone } from '../kernels/clone.js';

/** Named weights; names are the checkpoint's own. */
export type Weights = Readonly<Record<string, Tensor>>;

/** Gradients of the trainable weights only, under the weights' names. */
export type Gradients = Readonly<Record<string, Tensor>>;

/** What flows between layers. */
export type Value = Tensor | ReadonlyArray<Tensor>;

/** Which gradients the way back is asked for. */
export interface Wanted {
  /** Whether the weight of this name is to get a gradient. */
  readonly weight: (name: string) => boolean;
  /** False below the first trainable layer: there nothing runs backwards. */
  readonly input: boolean;
  /**
   * Gradients that there were before the way back began, by weight. A layer that has one more for the same weight may take it out,
   * add to it in place and return it: a table that is embedding and head then needs one gradient of its size, not two.
   */
  readonly begun?: Map<string, Tensor>;
}

/** Forward only: nothing is kept. */
export const nothing: Wanted = { weight: () => false, input: false };

/**
 * Forward value, and a pullback from the value's gradient to the gradients of weights and input. A pullback is called at most
 * once; it owns `dOutput` and everything the forward pass kept, and disposes what it does not hand on. When no pullback will be
 * called, call `drop` instead.
 */
export interface Passed<A, B> {
  /** What comes out. */
  readonly value: B;
  /** False when no wanted gradient lies behind: nothing was kept, and the pullback only frees what it is given. */
  readonly active: boolean;
  /** `onto`, if given, is added to the input's gradient, which is undefined where it was not wanted. */
  readonly pullback: (dOutput: B, onto?: A) => readonly [Gradients, A | undefined];
  /** Frees what was kept for the way back. */
  readonly drop: () => void;
}

/** A function of weights and input that gives its value and the way back. */
export type Layer<A, B> = (weights: Weights, input: A, wanted: Wanted) => Passed<A, B>;

/** Whether a value is one tensor, not several. */
export const isTensor = (value: Value): value is Tensor => !Array.isArray(value);

/** The tensors of a value. */
export const tensorsOf = (value: Value): ReadonlyArray<Tensor> => (isTensor(value) ? [value] : value);

const disposeValue = (value: Value): void => {
  if (isTensor(value)) value.dispose();
  else for (const tensor of value) tensor.dispose();
};

const cloneValue = <B extends Value>(value: B): B =>
  (isTensor(value) ? clone(value) : value.map((tensor) => clone(tensor))) as B;

/** Number i of what a layer was given. */
export const at = (values: ReadonlyArray<Tensor>, i: number): Tensor => {
  const value = values[i];
  if (value === undefined) throw new RangeError(`a layer was given ${values.length} tensors and wanted number ${i}`);
  return value;
};

const addValues = <B extends Value>(a: B, b: B): B => {
  const sum: Value =
    isTensor(a) || isTensor(b) ? add(a as Tensor, b as Tensor) : a.map((tensor, i) => add(tensor, at(b, i)));
  disposeValue(a);
  disposeValue(b);
  return sum as B;
};

/** `value` with `onto`, where there is one, added; consumes both. */
export const landedOn = <B extends Value>(value: B, onto: B | undefined): B =>
  onto === undefined ? value : addValues(value, onto);

const isEmpty = (gradients: Gradients): boolean => {
  for (const _ in gradients) return false;
  return true;
};

/** Gradients of all; those of one weight are summed. Consumes them. Nothing is copied where only one has any. */
const gathered = (all: ReadonlyArray<Gradients>): Gradients => {
  const some = all.filter((gradients) => !isEmpty(gradients));
  const [first = {}] = some;
  if (some.length < 2) return first;
  const sum: Record<string, Tensor> = {};
  for (const gradients of some) {
    for (const name of Object.keys(gradients)) {
      const gradient = gradients[name];
      if (gradient === undefined) continue;
      const other = sum[name];
      sum[name] = other === undefined ? gradient : axpy(other, gradient, 1);
      if (other !== undefined) gradient.dispose();
    }
  }
  return sum;
};

/** Gradients of both; those of one weight used twice are summed. Consumes both. */
export const mergeGradients = (a: Gradients, b: Gradients): Gradients => gathered([a, b]);

/** The gradients that are wanted, of those there are; frees the others. */
export const onlyWanted = (
  gradients: ReadonlyArray<readonly [name: string, gradient: Tensor | undefined]>,
  wanted: (name: string) => boolean,
): Gradients => {
  const kept: Record<string, Tensor> = {};
  for (const [name, gradient] of gradients) {
    if (gradient === undefined) continue;
    if (wanted(name)) kept[name] = gradient;
    else gradient.dispose();
  }
  return kept;
};

/** What a layer returns when no wanted gradient lies behind its value. */
export const inactive = <A, B extends Value>(value: B): Passed<A, B> => ({
  value,
  active: false,
  pullback: (dOutput) => {
    disposeValue(dOutput);
    return [{}, undefined];
  },
  drop: () => undefined,
});

/**
 * A layer's answer when its way back is wanted. `kept` is disposed after the pullback or by `drop`, whichever comes; so is
 * `dOutput`, unless the pullback hands it on.
 */
export const passed = <A, B extends Value>(
  value: B,
  kept: ReadonlyArray<Tensor>,
  pullback: (dOutput: B, onto: A | undefined) => readonly [Gradients, A | undefined],
): Passed<A, B> => {
  const drop = (): void => {
    for (const tensor of kept) tensor.dispose();
  };
  return {
    value,
    active: true,
    pullback: (dOutput, onto) => {
      const result = pullback(dOutput, onto);
      drop();
      return result;
    },
    drop,
  };
};

/** n layers after one another, each made when its turn comes. */
export const mapLayers =
  <B extends Value>(n: number, layerAt: (index: number) => Layer<B, B>): Layer<B, B> =>
  (weights, input, wanted) => {
    if (n === 0) return identity(weights, input, wanted);
    const stack: Passed<B, B>[] = [];
    let value = input;
    let active = wanted.input;
    for (let i = 0; i < n; i++) {
      const layer = layerAt(i)(weights, value, active === wanted.input ? wanted : { ...wanted, input: active });
      if (i > 0) disposeValue(value);
      value = layer.value;
      active = layer.active;
      stack.push(layer);
    }
    if (!active) return inactive(value);
    return {
      value,
      active,
      pullback: (dOutput, onto) => {
        const gradients: Gradients[] = [];
        let gradient: B | undefined = dOutput;
        for (let i = n - 1; i >= 0 && gradient !== undefined; i--) {
          const [more, dInput]: readonly [Gradients, B | undefined] = stack[i]?.pullback(
            gradient,
            i === 0 ? onto : undefined,
          ) ?? [{}, undefined];
          gradients.push(more);
          gradient = dInput;
        }
        return [gathered(gradients), gradient];
      },
      drop: () => {
        for (const layer of stack) layer.drop();
      },
    };
  };

/** One layer after the other. */
export function compose<A, B extends Value, C extends Value>(f: Layer<A, B>, g: Layer<B, C>): Layer<A, C>;
export function compose<A, B extends Value, C extends Value, D extends Value>(
  f: Layer<A, B>,
  g: Layer<B, C>,
  h: Layer<C, D>,
): Layer<A, D>;
export function compose<A, B extends Value, C extends Value, D extends Value, E extends Value>(
  f: Layer<A, B>,
  g: Layer<B, C>,
  h: Layer<C, D>,
  i: Layer<D, E>,
): Layer<A, E>;
export function compose<B extends Value>(...layers: ReadonlyArray<Layer<B, B>>): Layer<B, B>;
export function compose(...layers: ReadonlyArray<Layer<Value, Value>>): Layer<Value, Value> {
  return mapLayers(layers.length, (i) => layers[i] ?? identity);
}

/** The input. */
export const identity = <B extends Value>(_weights: Weights, input: B, wanted: Wanted): Passed<B, B> =>
  wanted.input
    ? passed(cloneValue(input), [], (dOutput, onto) => [{}, landedOn(dOutput, onto)])
    : inactive(cloneValue(input));

/** straight(input) + layer(input), where `straight` has no weights: the identity, or a choice of rows that `layer` makes too. */
export const residual =
  (layer: Layer<Tensor, Tensor>, straight: Layer<Tensor, Tensor> = identity): Layer<Tensor, Tensor> =>
  (weights, input, wanted) => {
    const inner = layer(weights, input, wanted);
    const passing = straight(weights, input, wanted);
    const value = add(passing.value, inner.value);
    inner.value.dispose();
    passing.value.dispose();
    if (!inner.active) return inactive(value);
    return {
      value,
      active: true,
      pullback: (dOutput, onto) => {
        if (!wanted.input) return inner.pullback(dOutput);
        // The straight path's gradient lands in the branch's last kernel, which adds it at no further pass over memory.
        const [, dStraight] = passing.pullback(clone(dOutput), onto);
        return inner.pullback(dOutput, dStraight);
      },
      drop: () => {
        inner.drop();
        passing.drop();
      },
    };
  };

/** Each layer on the same input, side by side; on the way back their gradients of the input add up. */
export const fanOut =
  <A>(...layers: ReadonlyArray<Layer<A, Tensor>>): Layer<A, ReadonlyArray<Tensor>> =>
  (weights, input, wanted) => {
    const branches = layers.map((layer) => layer(weights, input, wanted));
    const value: ReadonlyArray<Tensor> = branches.map((branch) => branch.value);
    if (!branches.some(({ active }) => active)) return inactive(value);
    return {
      value,
      active: true,
      pullback: (dOutput, onto) => {
        const gradients: Gradients[] = [];
        let dInput = onto;
        branches.forEach((branch, i) => {
          const [more, dBranch] = branch.pullback(at(dOutput, i), dInput);
          gradients.push(more);
          dInput = dBranch;
        });
        return [gathered(gradients), dInput];
      },
      drop: () => {
        for (const branch of branches) branch.drop();
      },
    };
  };

/** What the i-th layer makes of the i-th input, all of it in one list. */
export const spread =
  (
    ...layers: ReadonlyArray<Layer<Tensor, ReadonlyArray<Tensor>>>
  ): Layer<ReadonlyArray<Tensor>, ReadonlyArray<Tensor>> =>
  (weights, input, wanted) => {
    const lanes = layers.map((layer, i) => layer(weights, at(input, i), wanted));
    const value = lanes.flatMap((lane) => lane.value);
    if (!lanes.some(({ active }) => active)) return inactive<ReadonlyArray<Tensor>, ReadonlyArray<Tensor>>(value);
    return {
      value,
      active: true,
      pullback: (dOutput, onto) => {
        const gradients: Gradients[] = [];
        const dInputs: Tensor[] = [];
        let from = 0;
        lanes.forEach((lane, i) => {
          const [more, dInput] = lane.pullback(dOutput.slice(from, from + lane.value.length), onto && at(onto, i));
          from += lane.value.length;
          gradients.push(more);
          if (dInput !== undefined) dInputs.push(dInput);
        });
        return [gathered(gradients), wanted.input ? dInputs : undefined];
      },
      drop: () => {
        for (const lane of lanes) lane.drop();
      },
    };
  };

const listing =
  (layer: Layer<Tensor, Tensor>): Layer<Tensor, ReadonlyArray<Tensor>> =>
  (weights, x, wanted) => {
    const inner = layer(weights, x, wanted);
    return { ...inner, value: [inner.value], pullback: (dOutput, onto) => inner.pullback(at(dOutput, 0), onto) };
  };

/** The i-th layer on the i-th input. */
export const each = (
  ...layers: ReadonlyArray<Layer<Tensor, Tensor>>
): Layer<ReadonlyArray<Tensor>, ReadonlyArray<Tensor>> => spread(...layers.map(listing));

/** [first, ...others] ↦ [first, layer(others)]: the first goes past it. */
export const beside =
  (layer: Layer<ReadonlyArray<Tensor>, Tensor>): Layer<ReadonlyArray<Tensor>, ReadonlyArray<Tensor>> =>
  (weights, input, wanted) => {
    const inner = layer(weights, input.slice(1), wanted);
    const value: ReadonlyArray<Tensor> = [clone(at(input, 0)), inner.value];
    if (!inner.active) return inactive(value);
    return {
      value,
      active: true,
      pullback: (dOutput, onto) => {
        const [gradients, dOthers] = inner.pullback(at(dOutput, 1), onto?.slice(1));
        const dFirst = at(dOutput, 0);
        if (dOthers !== undefined) return [gradients, [landedOn(dFirst, onto && at(onto, 0)), ...dOthers]];
        dFirst.dispose();
        return [gradients, undefined];
      },
      drop: inner.drop,
    };
  };

/** Sum of all. */
export const total: Layer<ReadonlyArray<Tensor>, Tensor> = (_weights, input, wanted) => {
  const [first, ...others] = input as readonly [Tensor, ...Tensor[]];
  const value = others.reduce((sum, other) => {
    const next = add(sum, other);
    sum.dispose();
    return next;
  }, clone(first));
  if (!wanted.input) return inactive(value);
  return passed(value, [], (dOutput, onto) => {
    const spread = input.map(() => clone(dOutput));
    dOutput.dispose();
    return [{}, landedOn<ReadonlyArray<Tensor>>(spread, onto)];
  });
};

/**
 * The same layer, of which only the input is kept: the way back runs it forward again (Chen et al. 2016). One block's
 * activations at a time are alive, for one more forward pass.
 */
export const checkpoint =
  <A extends Value, B extends Value>(layer: Layer<A, B>): Layer<A, B> =>
  (weights, input, wanted) => {
    const first = layer(weights, input, wanted);
    if (!first.active) return first;
    first.drop();
    const kept = cloneValue(input);
    return {
      value: first.value,
      active: true,
      pullback: (dOutput, onto) => {
        const again = layer(weights, kept, wanted);
        disposeValue(kept);
        disposeValue(again.value);
        return again.pullback(dOutput, onto);
      },
      drop: () => disposeValue(kept),
    };
  };

/** The same layer, none of whose weights gets a gradient. */
export const frozen =
  <A, B>(layer: Layer<A, B>): Layer<A, B> =>
  (weights, input, wanted) =>
    layer(weights, input, { ...wanted, weight: () => false });

/** A layer that reads tensors made for it: they live until its way back is over, or the layer throws, as for an id that is none. */
export const holding =
  <R extends Readonly<Record<string, Tensor>>, A, B extends Value>(
    make: (input: A) => R,
    layer: (tensors: R) => Layer<A, B>,
  ): Layer<A, B> =>
  (weights, input, wanted) => {
    const tensors = make(input);
    const release = (): void => {
      for (const tensor of Object.values(tensors)) tensor.dispose();
    };
    const run = (): Passed<A, B> => {
      try {
        return layer(tensors)(weights, input, wanted);
      } catch (cause) {
        release();
        throw cause;
      }
    };
    const inner = run();
    if (!inner.active) {
      release();
      return inner;
    }
    return {
      value: inner.value,
      active: true,
      pullback: (dOutput, onto) => {
        const result = inner.pullback(dOutput, onto);
        release();
        return result;
      },
      drop: () => {
        inner.drop();
        release();
      },
    };
  };
