import type { Tensor } from '@tensorflow/tfjs-core';
import { amongRun, known } from '../../checked.js';
import { adamW } from '../../model/kernels/adamW.js';
import type { AdamWAttrs } from '../../model/kernels/adamW.js';
import { adamW8bit, momentShapes } from '../../model/kernels/adamW8bit.js';
import type { AdamWOptions } from './adamw.js';
import { decays, pick, replaced, ruleAt, slotOf } from './optimizer.js';
import type { GradientTransform, Moments, Moved, Update } from './optimizer.js';

/** Options of `adamw8bit`. */
export interface AdamW8bitOptions extends AdamWOptions {
  /** Parameters with fewer numbers than this keep moments of 32 bits. Default 4096. */
  readonly minSize?: number | undefined;
  /** Parameters whose moments have 32 bits whatever their size. Default: embeddings, whose rows rarely move. */
  readonly keeps32bit?: ((name: string) => boolean) | undefined;
}

/** Tables of token and position embeddings, by the names that models have for them. */
export const isEmbedding = (name: string): boolean =>
  /(^|\.)(embed_tokens|embed_positions|wte|wpe)\.weight$/.test(name);

const sizeOf = (shape: ReadonlyArray<number>): number => shape.reduce((a, b) => a * b, 1);

/** The fewest numbers whose moments are worth 8 bits, as in bitsandbytes. */
export const min8bitSize = 4096;

const slots8bit = ['mCodes', 'vCodes', 'mAbsmax', 'vAbsmax'] as const;

/** The moments with these tensors in one slot. */
const slotted = (
  moments: Moments,
  slot: string,
  names: ReadonlyArray<string>,
  tensors: ReadonlyArray<Tensor>,
): Moments => (names.length === 0 ? moments : { ...moments, [slot]: replaced(moments[slot] ?? {}, names, tensors) });

/**
 * AdamW whose moments are held in 8 bits: a code for each number, a scale for every 256 of them (Dettmers et al. 2022; bitsandbytes'
 * AdamW8bit). A quarter of the memory of `adamw`, whose rule and defaults it has; decay goes before the step, as in torch.
 */
export const adamw8bit = (options: AdamW8bitOptions = {}): GradientTransform => {
  const {
    learningRate,
    beta1 = 0.9,
    beta2 = 0.999,
    epsilon = 1e-8,
    weightDecay = 0,
    minSize = min8bitSize,
    keeps32bit = isEmbedding,
  } = known(
    'adamw8bit',
    amongRun({
      minSize: 'optional',
      keeps32bit: 'optional',
      learningRate: 'optional',
      beta1: 'optional',
      beta2: 'optional',
      epsilon: 'optional',
      weightDecay: 'optional',
    }),
    options,
  );
  const attrsOf = (update: Update, names: ReadonlyArray<string>): AdamWAttrs => ({
    learningRate: update.learningRate,
    beta1,
    beta2,
    epsilon,
    weightDecay: Float32Array.from(names, (name) => (decays(name) ? weightDecay : 0)),
    step: update.step,
    gradScale: update.scale,
  });

  const move32bit = (update: Update, names: ReadonlyArray<string>, moments: Moments): Moved => {
    const m = slotOf(moments, 'm', names);
    const v = slotOf(moments, 'v', names);
    const state = { parameters: pick(update.parameters, names), m, v };
    const moved = adamW(state, pick(update.gradients, names), attrsOf(update, names));
    return {
      parameters: replaced(update.parameters, names, moved.parameters),
      moments: slotted(slotted(moments, 'm', names, moved.m), 'v', names, moved.v),
    };
  };

  const move8bit = (update: Update, names: ReadonlyArray<string>, moments: Moments): Moved => {
    const held = (slot: (typeof slots8bit)[number]): ReturnType<typeof slotOf> => slotOf(moments, slot, names);
    const state = {
      parameters: pick(update.parameters, names),
      mCodes: held('mCodes'),
      vCodes: held('vCodes'),
      mAbsmax: held('mAbsmax'),
      vAbsmax: held('vAbsmax'),
    };
    const moved = adamW8bit(state, pick(update.gradients, names), attrsOf(update, names));
    return {
      parameters: replaced(update.parameters, names, moved.parameters),
      moments: slots8bit.reduce((all, slot) => slotted(all, slot, names, moved[slot]), moments),
    };
  };

  return ruleAt(learningRate, {
    slots: (shape, name) => {
      const size = sizeOf(shape);
      if (size < minSize || keeps32bit(name)) return { m: shape, v: shape };
      const { codes, absmax } = momentShapes(size);
      const bytes = { shape: [codes], dtype: 'int32' } as const;
      return { mCodes: bytes, vCodes: bytes, mAbsmax: [absmax], vAbsmax: [absmax] };
    },
    apply: (update, moments) => {
      const names = Object.keys(update.gradients);
      const narrow = names.filter((name) => moments['mCodes']?.[name] !== undefined);
      const wide = names.filter((name) => moments['mCodes']?.[name] === undefined);
      const moved = move32bit(update, wide, moments);
      return move8bit({ ...update, parameters: moved.parameters }, narrow, moved.moments);
    },
  });
};
