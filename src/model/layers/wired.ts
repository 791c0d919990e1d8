/** Several values on their way through layers that read some of them: what flows beside the hidden states. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { at, identity, inactive, isTensor, landedOn, mergeGradients, tensorsOf } from './layer.js';
import type { Gradients, Layer, Passed, Value } from './layer.js';

type Values = ReadonlyArray<Tensor>;

/** A layer and the places of what it reads. */
export interface Wire {
  readonly from: ReadonlyArray<number>;
  readonly through: Layer<Values, Values>;
}

/** A layer from one tensor or several to one or several, as one between lists. */
const betweenLists =
  <A extends Value, B extends Value>(readsOne: boolean, layer: Layer<A, B>): Layer<Values, Values> =>
  (weights, input, wanted) => {
    const read = (values: Values): A => (readsOne ? at(values, 0) : values) as A;
    const inner = layer(weights, read(input), wanted);
    const givesOne = isTensor(inner.value);
    return {
      value: tensorsOf(inner.value),
      active: inner.active,
      pullback: (dOutput, onto) => {
        const [gradients, dInput] = inner.pullback((givesOne ? at(dOutput, 0) : dOutput) as B, onto && read(onto));
        return [gradients, dInput && tensorsOf(dInput)];
      },
      drop: inner.drop,
    };
  };

/** The layer, reading what lies at a place, or a list of what lies at several. */
export function wire(from: number, through: Layer<Tensor, Tensor> | Layer<Tensor, Values>): Wire;
export function wire(from: ReadonlyArray<number>, through: Layer<Values, Tensor> | Layer<Values, Values>): Wire;
export function wire<A extends Value, B extends Value>(
  from: number | ReadonlyArray<number>,
  through: Layer<A, B>,
): Wire {
  const one = typeof from === 'number';
  return { from: one ? [from] : from, through: betweenLists(one, through) };
}

/** What lies at each of these places, as it is. */
export const past = (places: ReadonlyArray<number>): ReadonlyArray<Wire> =>
  places.map((place) => wire(place, identity<Tensor>));

/**
 * What each of the wires gives, in order. On the way back the gradients of what several read add up. Every input is read by one of
 * them at least.
 */
export const wired =
  (...wires: ReadonlyArray<Wire>): Layer<Values, Values> =>
  (weights, input, wanted) => {
    const unread = input.findIndex((_, place) => !wires.some(({ from }) => from.includes(place)));
    if (unread >= 0) throw new RangeError(`of ${input.length} values nothing reads number ${unread}`);
    let first = 0;
    const lanes = wires.map(({ from, through }) => {
      const run = through(
        weights,
        from.map((place) => at(input, place)),
        wanted,
      );
      const lane = { from, run, first, next: first + run.value.length };
      first = lane.next;
      return lane;
    });
    const value: Values = lanes.flatMap(({ run }) => run.value);
    if (!lanes.some(({ run }) => run.active)) return inactive(value);
    const result: Passed<Values, Values> = {
      value,
      active: true,
      pullback: (dOutput, onto) => {
        const dInput: Array<Tensor | undefined> = input.map((_, place) => onto?.[place]);
        let gradients: Gradients = {};
        // The last wires come first: they are what passes as it is, and what the others give lands on that.
        for (const { from, run, first: start, next } of lanes.toReversed()) {
          const there = from.flatMap((place) => dInput[place] ?? []);
          // A value that is read twice has one gradient to land on.
          const whole = there.length === from.length && new Set(from).size === from.length;
          const [more, dRead] = run.pullback(dOutput.slice(start, next), whole ? there : undefined);
          gradients = mergeGradients(gradients, more);
          from.forEach((place, i) => {
            const own = dRead?.[i];
            if (own !== undefined) dInput[place] = whole ? own : landedOn(own, dInput[place]);
          });
        }
        return [gradients, wanted.input ? dInput.flatMap((gradient) => gradient ?? []) : undefined];
      },
      drop: () => {
        for (const { run } of lanes) run.drop();
      },
    };
    return result;
  };
