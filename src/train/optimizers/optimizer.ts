/**
 * Optimizers as gradient transforms joined by `chain`:
 *
 *     chain(clipByGlobalNorm(1), adamw({ weightDecay: 0.01 }), scaleBy(linearDecay({ learningRate: 2e-4, totalSteps: 500 })))
 *
 * A transform does not touch the gradients' tensors if it can help it: it multiplies numbers (`scale`, `learningRate`) that the
 * rule at the end applies in one fused pass over every parameter.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { squaredNorm } from '../../model/kernels/squaredNorm.js';
import type { Gradients, Weights } from '../../model/layers/layer.js';
import { remembered } from '../../model/remembered.js';
import { fill, keep, tidy } from '../../tfjs.js';
import type { Schedule } from './schedule.js';

/** What an optimizer keeps between updates: slot name → parameter name → tensor. All begin at 0. */
export type Moments = Readonly<Record<string, Weights>>;

/** One update in the making. */
export interface Update {
  /** Number of the update, from 1. */
  readonly step: number;
  /** The trainable parameters. */
  readonly parameters: Weights;
  /** By parameter; still to be multiplied with `scale`. */
  readonly gradients: Gradients;
  /** What every gradient is still to be multiplied with. */
  readonly scale: number;
  /** Product of the rates so far; begins at 1. */
  readonly learningRate: number;
  /** L2 norm of all gradients together as they came, before any clipping. NaN where it has not been read. */
  readonly gradNorm: number;
  /**
   * The clipping that is left to the rule, where the norm has not been read: to `maxNorm`, or none where that is 0. `squaredNorm` is the
   * sum of the squares of all gradients; where it is no finite number the rule moves nothing.
   */
  readonly clip?: { readonly squaredNorm: Tensor; readonly maxNorm: number };
}

/** Parameters and moments after an update; tensors that were replaced are disposed. */
export interface Moved {
  readonly parameters: Weights;
  readonly moments: Moments;
}

/** What a slot holds: numbers of a shape, or bytes, four in each int32. */
export type Slot = ReadonlyArray<number> | { readonly shape: ReadonlyArray<number>; readonly dtype: 'int32' };

/** How parameters move. */
export interface Rule {
  /** The slots that a parameter of this shape (and name) needs. */
  readonly slots: (shape: ReadonlyArray<number>, name: string) => Readonly<Record<string, Slot>>;
  /** Moves the parameters by an update whose gradients are theirs; leaves the gradients to the caller. */
  readonly apply: (update: Update, moments: Moments) => Moved;
  /** It does what `clip` says. Default: false; then there never is one. */
  readonly clips?: boolean;
}

/** One member of a chain: changes the update, or moves the parameters by it, or both. */
export interface GradientTransform {
  /** The update as the members behind it see it. */
  readonly change?: (update: Update) => Update;
  /**
   * What `change` wants of the norm: `nothing`, or all it does is to clip gradients to one of this length. Absent: it is given the norm.
   */
  readonly ofNorm?: 'nothing' | { readonly maxNorm: number };
  /** How parameters move; one member of a chain has it. */
  readonly rule?: Rule;
  /**
   * `wanted`: the rule moves by the rate that other members give. `kept`: the rate stays as it is. Absent: this member may give one.
   * A chain with a rule that wants a rate, and no member that may give one, is refused.
   */
  readonly rate?: 'wanted' | 'kept';
}

/** What moves the parameters, as `chain` makes it. */
export interface Optimizer {
  /** All slots at 0. */
  readonly init: (parameters: Weights) => Moments;
  /** The update that the gradients ask for, its norm read back, nothing moved yet. */
  readonly prepare: (from: Pick<Update, 'step' | 'parameters' | 'gradients'>) => Promise<Update>;
  /**
   * The same before the norm is known: `apply` then moves nothing if it is no finite number. For engines on a card, which need not wait
   * then. The caller disposes the `squaredNorm`. Absent: the chain cannot.
   */
  readonly ahead?: (from: Pick<Update, 'step' | 'parameters' | 'gradients'>) => Update & Required<Pick<Update, 'clip'>>;
  /** Moves the parameters; the gradients are disposed. */
  readonly apply: (update: Update, moments: Moments) => Moved;
}

const isShape = (slot: Slot): slot is ReadonlyArray<number> => Array.isArray(slot);

/**
 * An optimizer of transforms in the order given: those before the rule change gradients, those after it the rate. A RangeError unless
 * exactly one of them has a rule, and where nothing gives the rule a learning rate: at 1 it would ruin a model in one update.
 */
export const chain = (...transforms: ReadonlyArray<GradientTransform>): Optimizer => {
  const rules = transforms.flatMap(({ rule }) => (rule === undefined ? [] : [rule]));
  const [rule] = rules;
  if (rule === undefined || rules.length > 1) {
    throw new RangeError(
      `an optimizer needs exactly one rule (adamw, adamw8bit, sgd, lion, adafactor), not ${rules.length}`,
    );
  }
  if (transforms.some(({ rate }) => rate === 'wanted') && transforms.every(({ rate }) => rate !== undefined)) {
    throw new RangeError(
      'nothing in the chain gives a learning rate: add scaleBy(linearDecay({ learningRate: 2e-4, totalSteps: 500 })), ' +
        'or give the rule one, as in adamw({ learningRate: 2e-4 })',
    );
  }
  const changing = transforms.filter(({ change }) => change !== undefined);
  const clipping = changing.flatMap(({ ofNorm }) => (typeof ofNorm === 'object' ? [ofNorm] : []));
  const knowsAhead = rule.clips === true && clipping.length < 2 && changing.every(({ ofNorm }) => ofNorm !== undefined);
  const ahead: Optimizer['ahead'] = ({ step, parameters, gradients }) => {
    const begun: Update = { step, parameters, gradients, scale: 1, learningRate: 1, gradNorm: NaN };
    const changed = changing
      .filter(({ ofNorm }) => ofNorm === 'nothing')
      .reduce<Update>((update, { change }) => change?.(update) ?? update, begun);
    const clip = { squaredNorm: squaredNorm(Object.values(gradients)), maxNorm: clipping[0]?.maxNorm ?? 0 };
    return { ...changed, clip };
  };
  return {
    ...(knowsAhead ? { ahead } : {}),
    init: (parameters) => {
      const moments: Record<string, Record<string, Tensor>> = {};
      for (const [name, parameter] of Object.entries(parameters)) {
        for (const [slot, wanted] of Object.entries(rule.slots(parameter.shape, name))) {
          const { shape, dtype } = isShape(wanted) ? { shape: wanted, dtype: 'float32' as const } : wanted;
          // Not `zeros`, which makes them in JavaScript and brings them to the engine.
          (moments[slot] ??= {})[name] = fill([...shape], 0, dtype);
        }
      }
      return moments;
    },
    prepare: async ({ step, parameters, gradients }) => {
      const gradNorm = await globalNorm(gradients);
      return transforms.reduce<Update>((update, { change }) => change?.(update) ?? update, {
        step,
        parameters,
        gradients,
        scale: 1,
        learningRate: 1,
        gradNorm,
      });
    },
    apply: (update, moments) => {
      const moved = rule.apply(update, moments);
      for (const gradient of Object.values(update.gradients)) gradient.dispose();
      return moved;
    },
  };
};

/** L2 norm over all gradients together. */
export const globalNorm = async (gradients: Gradients): Promise<number> => {
  const tensors = Object.values(gradients);
  if (tensors.length === 0) return 0;
  const squared = squaredNorm(tensors);
  const [sum = 0] = await squared.data<'float32'>();
  squared.dispose();
  return Math.sqrt(sum);
};

/**
 * Scales all gradients by `min(1, maxNorm / (norm + 1e-6))` (torch's clip_grad_norm_). 0 or null: no clipping.
 * Clips what is left to clip: transforms before it count.
 */
export const clipByGlobalNorm = (maxNorm: number | null): GradientTransform => ({
  rate: 'kept',
  ofNorm: { maxNorm: maxNorm ?? 0 },
  change: (update) => ({ ...update, scale: update.scale * clipFactor(update.gradNorm * update.scale, maxNorm) }),
});

export const clipFactor = (norm: number, maxNorm: number | null): number =>
  maxNorm === null || maxNorm === 0 ? 1 : Math.min(1, maxNorm / (norm + 1e-6));

/** Multiplies the learning rate by what the schedule gives for the updates done so far. */
export const scaleBy = (schedule: Schedule): GradientTransform => ({
  ofNorm: 'nothing',
  change: (update) => ({ ...update, learningRate: update.learningRate * schedule(update.step - 1) }),
});

/** A rule at a rate of its own, which schedules of the chain multiply; or, without one, at what they give. */
export const ruleAt = (learningRate: number | undefined, rule: Rule): GradientTransform =>
  learningRate === undefined ? { rule, rate: 'wanted' } : { ...scaleBy(() => learningRate), rule };

/** The gradients replaced, e.g. by noisy ones. `map` owns what it is given; the chain disposes what it returns. */
export const mapGradients = (map: (gradients: Gradients, step: number) => Gradients): GradientTransform => ({
  rate: 'kept',
  change: (update) => ({ ...update, gradients: map(update.gradients, update.step) }),
});

/** The tensors of one slot in the order of `names`. */
export const slotOf = (moments: Moments, slot: string, names: ReadonlyArray<string>): ReadonlyArray<Tensor> =>
  pick(moments[slot] ?? {}, names);

/** The tensors of these names, which must all be there. */
export const pick = (tensors: Weights, names: ReadonlyArray<string>): ReadonlyArray<Tensor> =>
  names.map((name) => {
    const found = tensors[name];
    if (found === undefined) throw new RangeError(`no tensor "${name}"`);
    return found;
  });

/** Names and tensors joined again. */
export const zip = (names: ReadonlyArray<string>, tensors: ReadonlyArray<Tensor>): Weights => {
  const joined: Record<string, Tensor> = {};
  names.forEach((name, i) => {
    const tensor = tensors[i];
    if (tensor !== undefined) joined[name] = tensor;
  });
  return joined;
};

/** The same with these tensors in their places: itself where it has them already, as after an update in place. */
export const replaced = (all: Weights, names: ReadonlyArray<string>, tensors: ReadonlyArray<Tensor>): Weights =>
  names.every((name, i) => all[name] === tensors[i]) ? all : { ...all, ...zip(names, tensors) };

// Names of norm modules: input_layernorm, norm, ln_1, ln_f, final_layer_norm, q_norm, …
const exempt = /bias|layernorm|layer_norm|rmsnorm|(^|[._])norm(\.|$)|(^|\.)ln_\w+(\.|$)/i;

/** Whether weight decay applies: never to biases and to the weights of norms, as in transformers. */
export const decays = remembered((name: string): boolean => !exempt.test(name));

/** One parameter as a rule sees it. */
export interface Single {
  readonly name: string;
  readonly parameter: Tensor;
  /** As it came: still to be multiplied with `update.scale`, which is how clipping reaches it. */
  readonly gradient: Tensor;
  /** Its slots, under the names that `slots` gave them. */
  readonly slots: (slot: string) => Tensor;
  readonly update: Update;
}

/**
 * A rule that moves every parameter by itself, in tensor operations: `move` gives the new parameter and its new slots, and what it
 * made besides is freed, as are the tensors that were replaced.
 *
 *     const plain = { rule: eachParameter(() => ({}), ({ parameter, gradient, update }) =>
 *       ({ parameter: sub(parameter, mul(gradient, update.scale * update.learningRate)), slots: {} })) };
 */
export const eachParameter = (
  slots: Rule['slots'],
  move: (single: Single) => { readonly parameter: Tensor; readonly slots: Readonly<Record<string, Tensor>> },
): Rule => ({
  slots,
  apply: (update, moments) => {
    const parameters: Record<string, Tensor> = { ...update.parameters };
    const moved: Record<string, Record<string, Tensor>> = Object.fromEntries(
      Object.entries(moments).map(([slot, tensors]) => [slot, { ...tensors }]),
    );
    for (const [name, gradient] of Object.entries(update.gradients)) {
      const [parameter] = pick(parameters, [name]) as [Tensor];
      const own = (slot: string): Tensor => (pick(moved[slot] ?? {}, [name]) as [Tensor])[0];
      const kept: Record<string, Tensor> = {};
      parameters[name] = tidy(() => {
        const result = move({ name, parameter, gradient, slots: own, update });
        for (const [slot, tensor] of Object.entries(result.slots)) kept[slot] = keep(tensor);
        return result.parameter;
      });
      parameter.dispose();
      for (const [slot, tensor] of Object.entries(kept)) {
        own(slot).dispose();
        moved[slot] = { ...moved[slot], [name]: tensor };
      }
    }
    return { parameters, moments: moved };
  },
});
