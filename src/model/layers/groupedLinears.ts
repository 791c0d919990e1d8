/** The linear maps of experts whose rows lie one below the other: a call for all of them. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { adapterNames } from '../adapters/lora.js';
import {
  groupedColumnSum,
  groupedLinear,
  groupedLinearGradInput,
  groupedLinearGradWeight,
} from '../kernels/groupedLinear.js';
import { keep } from '../kernels/hold.js';
import type { Pass } from '../pass.js';
import { moduleNames, weightOf } from '../weights.js';
import type { Layer, Weights } from './layer.js';
import { inactive, passed } from './layer.js';
import { baseOf } from './linear.js';

/** Whether the module is its weight and bias alone: no adapter, nothing that looks on, nothing rounded that it reads. */
export const isPlain = (pass: Pass, weights: Weights, module: string): boolean =>
  pass.observe === undefined &&
  weights[adapterNames(module).a] === undefined &&
  (pass.further ?? []).every(({ name }) => weights[adapterNames(module, name).a] === undefined) &&
  baseOf(pass, module, false).reads === undefined;

/** A map of a group, plain as `isPlain` has it, and its number of rows. */
export interface Group {
  readonly module: string;
  readonly rows: number;
}

/** x [Σ rows, I] ↦ x·Wᵀ + b, [Σ rows, O], of each group's own W and b. */
export const groupedLinears =
  (groups: ReadonlyArray<Group>): Layer<Tensor, Tensor> =>
  (weights, x, wanted) => {
    const sizes = groups.map(({ rows }) => rows);
    const names = groups.map(({ module }) => moduleNames(module));
    const ws = names.map(({ weight }) => weightOf(weights, weight));
    const biases = names.flatMap(({ bias }) => weights[bias] ?? []);
    const y = groupedLinear(x, ws, biases, { sizes, flows: true });
    const trained = names.filter(({ weight }) => wanted.weight(weight));
    const trainedBiases = names.filter(({ bias }) => weights[bias] !== undefined && wanted.weight(bias));
    if (!wanted.input && trained.length === 0 && trainedBiases.length === 0) return inactive(y);
    const kept = trained.length > 0 ? keep(x) : undefined;
    return passed(y, kept === undefined ? [] : [kept], (dy, onto) => {
      const gradients: Record<string, Tensor> = {};
      const handOn = (values: ReadonlyArray<Tensor>, nameOf: (own: (typeof names)[number]) => string): void =>
        values.forEach((value, g) => {
          const own = names[g];
          if (own !== undefined && wanted.weight(nameOf(own))) gradients[nameOf(own)] = value;
          else value.dispose();
        });
      if (kept !== undefined) handOn(groupedLinearGradWeight(kept, dy, { sizes }), ({ weight }) => weight);
      if (trainedBiases.length > 0) handOn(groupedColumnSum(dy, { sizes }), ({ bias }) => bias);
      const dx = wanted.input ? groupedLinearGradInput(dy, ws, onto, { sizes, flows: true }) : undefined;
      dy.dispose();
      onto?.dispose();
      return [gradients, dx];
    });
  };
