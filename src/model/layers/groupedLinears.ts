/** The linear maps of experts whose rows lie one below the other: a call for all of them, with or without adapters. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { adapterNames } from '../adapters/adapterNames.js';
import { adapterOptions } from '../adapters/lora.js';
import {
  groupedColumnSum,
  groupedLinear,
  groupedLinearGradInput,
  groupedLinearGradWeight,
} from '../kernels/groupedLinear.js';
import {
  groupedDropout,
  groupedLoraDown,
  groupedLoraDownGrad,
  groupedLoraGradInput,
  groupedLoraUp,
  groupedLoraUpGrad,
} from '../kernels/groupedLora.js';
import { keep } from '../kernels/hold.js';
import type { Pass } from '../pass.js';
import { dropoutSeed } from '../pass.js';
import { moduleNames, weightOf } from '../weights.js';
import type { Layer, Weights } from './layer.js';
import { at, fanOut, inactive, landedOn, onlyWanted, passed } from './layer.js';
import { baseOf } from './linear.js';

/** One map of every group: the group's own module. */
type Modules = ReadonlyArray<string>;

/** Whether the module is its weight, its bias and at most the adapter in use, without magnitudes: nothing looks on, nothing rounds what it reads. */
const isUsual = (pass: Pass, weights: Weights, module: string): boolean =>
  pass.observe === undefined &&
  weights[adapterNames(module).magnitude] === undefined &&
  (pass.further ?? []).every(({ name }) => weights[adapterNames(module, name).a] === undefined) &&
  baseOf(pass, module, false).reads === undefined;

/** What the adapters of a map must have in common; undefined: the module has none. */
const kindOf = (
  { lora }: Pass,
  weights: Weights,
  module: string,
): { readonly rank: number; readonly scaling: number } | undefined => {
  const a = weights[adapterNames(module).a];
  if (lora === undefined || a === undefined) return undefined;
  const [rank = 0] = a.shape;
  return { rank, scaling: adapterOptions(lora, module, a).scaling };
};

/**
 * Whether a map of all groups can run as one: none of its modules has an adapter, or all have one of the same rank and factor; none has a
 * bias, or all have one, since the kernels know biases by their place.
 */
export const areAlike = (pass: Pass, weights: Weights, modules: Modules): boolean => {
  const [first = ''] = modules;
  const kind = kindOf(pass, weights, first);
  const hasBias = (module: string): boolean => weights[moduleNames(module).bias] !== undefined;
  return modules.every((module) => {
    const own = kindOf(pass, weights, module);
    return (
      isUsual(pass, weights, module) &&
      own?.rank === kind?.rank &&
      own?.scaling === kind?.scaling &&
      hasBias(module) === hasBias(first)
    );
  });
};

/** A map with what its groups have. */
interface GroupedMap {
  readonly names: ReadonlyArray<Readonly<Record<'weight' | 'bias' | 'a' | 'b', string>>>;
  readonly ws: ReadonlyArray<Tensor>;
  readonly biases: ReadonlyArray<Tensor>;
  /** Of the adapter; none: empty, and rank 0. */
  readonly as: ReadonlyArray<Tensor>;
  readonly bs: ReadonlyArray<Tensor>;
  readonly rank: number;
  readonly scaling: number;
}

const mapOf = (pass: Pass, weights: Weights, modules: Modules): GroupedMap => {
  const names = modules.map((module) => ({ ...moduleNames(module), ...adapterNames(module) }));
  const kind = kindOf(pass, weights, modules[0] ?? '');
  const halves = kind === undefined ? [] : names;
  return {
    names,
    ws: names.map(({ weight }) => weightOf(weights, weight)),
    biases: names.flatMap(({ bias }) => weights[bias] ?? []),
    as: halves.map(({ a }) => weightOf(weights, a)),
    bs: halves.map(({ b }) => weightOf(weights, b)),
    ...(kind ?? { rank: 0, scaling: 1 }),
  };
};

const dropsIn = ({ training, lora }: Pass): boolean => training !== undefined && (lora?.loraDropout ?? 0) > 0;

/**
 * x [Σ rows, I] ↦ of each map x·Wᵀ + b + scaling·(drop(x)·Aᵀ)·Bᵀ, [Σ rows, O], by each group's own module. Modules are alike, as
 * `areAlike` has it; `sizes` are the rows of each group. Adapters read x in one product where all maps have one and none drops.
 */
export const groupedLinears =
  (pass: Pass, sizes: ReadonlyArray<number>, maps: ReadonlyArray<Modules>): Layer<Tensor, ReadonlyArray<Tensor>> =>
  (weights, x, wanted) => {
    const adapted = maps.filter(([module = '']) => kindOf(pass, weights, module) !== undefined).length;
    const inOne = adapted === 0 || (adapted === maps.length && !dropsIn(pass));
    const layer = inOne ? together(pass, sizes, maps) : fanOut(...maps.map((map) => groupedMap(pass, sizes, map)));
    return layer(weights, x, wanted);
  };

/** One such map. */
export const groupedMap =
  (pass: Pass, sizes: ReadonlyArray<number>, modules: Modules): Layer<Tensor, Tensor> =>
  (weights, x, wanted) => {
    const run = together(pass, sizes, [modules])(weights, x, wanted);
    return { ...run, value: at(run.value, 0), pullback: (dy, onto) => run.pullback([dy], onto) };
  };

/** Maps that all have adapters, or none of which has; adapters that drop stand alone. */
const together =
  (pass: Pass, sizes: ReadonlyArray<number>, modules: ReadonlyArray<Modules>): Layer<Tensor, ReadonlyArray<Tensor>> =>
  (weights, x, wanted) => {
    const maps = modules.map((own) => mapOf(pass, weights, own));
    const as = maps.flatMap((map) => map.as);
    const count = maps.length;
    const { training, lora } = pass;
    // The mask is drawn again on the way back, so the dropped copy need not be kept.
    const drop = (value: Tensor): Tensor | undefined =>
      training === undefined || as.length === 0 || !dropsIn(pass)
        ? undefined
        : groupedDropout(value, {
            sizes,
            rate: lora?.loraDropout ?? 0,
            seeds: maps.flatMap(({ names }) => names.map(({ a }) => dropoutSeed(training, a))),
          });
    const dropped = drop(x);
    const u = as.length === 0 ? undefined : groupedLoraDown(dropped ?? x, as, { sizes, maps: count });
    dropped?.dispose();
    let first = 0;
    const values: ReadonlyArray<Tensor> = maps.map(({ ws, biases, bs, rank, scaling }) => {
      if (u === undefined) return groupedLinear(x, ws, biases, { sizes, flows: true });
      const y = groupedLoraUp({ x, u, ws, bs, biases }, { sizes, scaling, first, flows: true });
      first += rank;
      return y;
    });
    const trains = (name: string): boolean => weights[name] !== undefined && wanted.weight(name);
    const anyOf = (which: keyof GroupedMap['names'][number], of: ReadonlyArray<GroupedMap> = maps): boolean =>
      of.some(({ names }) => names.some((own) => trains(own[which])));
    if (!wanted.input && !(['weight', 'bias', 'a', 'b'] as const).some((which) => anyOf(which))) {
      u?.dispose();
      return inactive(values);
    }
    const kept = u !== undefined || anyOf('weight') ? keep(x) : undefined;
    return passed(
      values,
      [u, kept].flatMap((tensor) => tensor ?? []),
      (dys, onto) => {
        const gradients: Array<readonly [string, Tensor | undefined]> = [];
        const handOn = (
          { names }: GroupedMap,
          which: keyof (typeof names)[number],
          of: ReadonlyArray<Tensor> | undefined,
        ): void => names.forEach((own, g) => gradients.push([own[which], of?.[g]]));
        maps.forEach((map, m) => {
          const dy = at(dys, m);
          if (kept !== undefined && anyOf('weight', [map]))
            handOn(map, 'weight', groupedLinearGradWeight(kept, dy, { sizes }));
          if (anyOf('bias', [map])) handOn(map, 'bias', groupedColumnSum(dy, { sizes }));
        });
        const up =
          u &&
          groupedLoraUpGrad(
            u,
            maps.map((map, m) => ({ ...map, dy: at(dys, m) })),
            { sizes },
          );
        if (up !== undefined && kept !== undefined) {
          const droppedAgain = drop(kept);
          const dAs = groupedLoraDownGrad(droppedAgain ?? kept, up.du, { sizes, ranks: maps.map(({ rank }) => rank) });
          droppedAgain?.dispose();
          maps.forEach((map, m) => {
            handOn(map, 'a', dAs[m]);
            handOn(map, 'b', up.dBs[m]);
          });
        }
        let dx = onto;
        if (wanted.input)
          maps.forEach(({ ws }, m) => {
            const before = dx;
            const dy = at(dys, m);
            const attrs = { sizes, flows: true };
            dx =
              up !== undefined && !dropsIn(pass) && m === count - 1
                ? groupedLoraGradInput({ dy, du: up.du, ws, as, accumulate: before }, { ...attrs, maps: count })
                : groupedLinearGradInput(dy, ws, before, attrs);
            before?.dispose();
          });
        else onto?.dispose();
        for (const dy of dys) dy.dispose();
        if (up !== undefined && dx !== undefined && wanted.input && dropsIn(pass)) {
          const viaAdapter = groupedLinearGradInput(up.du, as, undefined, { sizes, flows: true });
          dx = landedOn(dx, drop(viaAdapter));
          viaAdapter.dispose();
        }
        up?.du.dispose();
        return [onlyWanted(gradients, wanted.weight), wanted.input ? dx : undefined];
      },
    );
  };
