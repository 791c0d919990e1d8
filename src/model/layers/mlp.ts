import type { Tensor } from '@tensorflow/tfjs-core';
import type { Together } from '../experts/experts.js';
import { activation as activate, activationGrad } from '../kernels/activation.js';
import type { ActivationKind } from '../kernels/activation.js';
import { clampedGate, clampedGateGrad } from '../kernels/clampedGate.js';
import { gatedActivation, gatedActivationGrad } from '../kernels/gatedActivation.js';
import { keep } from '../kernels/hold.js';
import type { Pass } from '../pass.js';
import { splitColumns } from './columns.js';
import { areAlike, groupedLinears, groupedMap } from './groupedLinears.js';
import type { Layer, Weights } from './layer.js';
import { compose, inactive, landedOn, passed } from './layer.js';
import { linear } from './linear.js';
import { linears } from './linears.js';

/** Elementwise activation. */
export const activation =
  (kind: ActivationKind): Layer<Tensor, Tensor> =>
  (_weights, x, wanted) => {
    const y = activate(x, kind);
    if (!wanted.input) return inactive(y);
    const kept = keep(x);
    return passed(y, [kept], (dy, onto) => {
      const dx = activationGrad(kept, dy, kind);
      dy.dispose();
      return [{}, landedOn(dx, onto)];
    });
  };

/** [gate, up] ↦ act(gate)·up. */
export const gated =
  (kind: ActivationKind): Layer<ReadonlyArray<Tensor>, Tensor> =>
  (_weights, input, wanted) => {
    const [gate, up] = input as readonly [Tensor, Tensor];
    const y = gatedActivation(gate, up, kind);
    if (!wanted.input) return inactive(y);
    const kept = [keep(gate), keep(up)] as const;
    return passed(y, kept, (dy, onto) => {
      const { dGate, dUp } = gatedActivationGrad(...kept, dy, kind);
      dy.dispose();
      return [{}, landedOn<ReadonlyArray<Tensor>>([dGate, dUp], onto)];
    });
  };

/** [gate, up] ↦ `clampedGate` of them. */
export const gatedClamped =
  (limit: number): Layer<ReadonlyArray<Tensor>, Tensor> =>
  (_weights, input, wanted) => {
    const [gate, up] = input as readonly [Tensor, Tensor];
    const y = clampedGate(gate, up, limit);
    if (!wanted.input) return inactive(y);
    const kept = [keep(gate), keep(up)] as const;
    return passed(y, kept, (dy, onto) => {
      const { dGate, dUp } = clampedGateGrad(...kept, dy, limit);
      dy.dispose();
      return [{}, landedOn<ReadonlyArray<Tensor>>([dGate, dUp], onto)];
    });
  };

/** The maps of an MLP without a gate. */
export interface PlainMlp {
  /** Paths of the two maps. */
  readonly up: string;
  readonly down: string;
  /** As in `linear`. */
  readonly transposed?: boolean;
}

/** down(act(up(x))), [N, C] to the same. */
export const plainMlp = (
  pass: Pass,
  kind: ActivationKind,
  { up, down, transposed = false }: PlainMlp,
): Layer<Tensor, Tensor> =>
  compose(linear(pass, { module: up, transposed }), activation(kind), linear(pass, { module: down, transposed }));

/** down(act(gate(x))·up(x)) of a module that has gate and up, [N, width] each, in one map. */
export const joinedMlp = (
  pass: Pass,
  kind: ActivationKind,
  module: string,
  width: number,
  names = { gateUp: 'gate_up_proj', down: 'down_proj' },
): Layer<Tensor, Tensor> =>
  compose(
    linear(pass, { module: `${module}.${names.gateUp}` }),
    splitColumns([width, width]),
    gated(kind),
    linear(pass, { module: `${module}.${names.down}` }),
  );

/** What a gated MLP calls its three maps. */
export interface GatedNames {
  readonly gate: string;
  readonly up: string;
  readonly down: string;
}

/** The names that most models have. */
export const gatedNames: GatedNames = { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' };

/** down(act(gate(x))·up(x)) of three maps of the module, [N, C] to the same (Shazeer 2020). */
export const gatedMlp = (
  pass: Pass,
  kind: ActivationKind,
  module: string,
  names: GatedNames = gatedNames,
): Layer<Tensor, Tensor> => gatedBy(gated(kind), pass, module, names);

/** `together` of a mixture (see `Mixture`), by what is found of the weights of all its experts. */
type TogetherOf = (weights: Weights, experts: ReadonlyArray<number>) => Together | undefined;

/** MLPs of experts as one map of all of their rows, where each of the maps of these names is alike in all of them (see `areAlike`). */
const together =
  (
    pass: Pass,
    moduleOf: (expert: number) => string,
    names: ReadonlyArray<string>,
    /** Of the experts that were chosen: rows of each, and their modules of a name. */
    asOne: (sizes: ReadonlyArray<number>, own: (name: string) => ReadonlyArray<string>) => Layer<Tensor, Tensor>,
  ): TogetherOf =>
  (weights, experts) => {
    const modules = (name: string, of: ReadonlyArray<number>): ReadonlyArray<string> =>
      of.map((expert) => `${moduleOf(expert)}.${name}`);
    if (!names.every((name) => areAlike(pass, weights, modules(name, experts)))) return undefined;
    return (chosen) => {
      const numbers = chosen.map(({ expert }) => expert);
      return asOne(
        chosen.map(({ rows }) => rows),
        (name) => modules(name, numbers),
      );
    };
  };

/** `together` of a mixture whose experts are gated MLPs, by their modules. */
export const gatedTogether = (
  gate: Layer<ReadonlyArray<Tensor>, Tensor>,
  pass: Pass,
  moduleOf: (expert: number) => string,
  { gate: gates, up, down }: GatedNames,
): TogetherOf =>
  together(pass, moduleOf, [gates, up, down], (sizes, own) =>
    compose(groupedLinears(pass, sizes, [own(gates), own(up)]), gate, groupedMap(pass, sizes, own(down))),
  );

/** The same of plain MLPs, whose maps are `up_proj` and `down_proj`. */
export const plainTogether = (kind: ActivationKind, pass: Pass, moduleOf: (expert: number) => string): TogetherOf =>
  together(pass, moduleOf, ['up_proj', 'down_proj'], (sizes, own) =>
    compose(groupedMap(pass, sizes, own('up_proj')), activation(kind), groupedMap(pass, sizes, own('down_proj'))),
  );

/** The same with another gate, [gate(x), up(x)] to what the third map reads. */
export const gatedBy = (
  gate: Layer<ReadonlyArray<Tensor>, Tensor>,
  pass: Pass,
  module: string,
  names: GatedNames,
): Layer<Tensor, Tensor> =>
  compose(
    linears(pass, [`${module}.${names.gate}`, `${module}.${names.up}`]),
    gate,
    linear(pass, { module: `${module}.${names.down}` }),
  );
