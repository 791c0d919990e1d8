/** Several linear maps of one input, such as those to queries, keys and values. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { adapterNames } from '../adapters/adapterNames.js';
import { adapterOptions } from '../adapters/lora.js';
import { keep } from '../kernels/hold.js';
import { linearGradInput } from '../kernels/linear.js';
import { loraDown, loraDownGrad, loraUp, loraUpGrad } from '../kernels/loraLinear.js';
import type { Pass } from '../pass.js';
import { moduleNames, weightOf } from '../weights.js';
import type { Gradients, Layer, Weights } from './layer.js';
import { at, fanOut, inactive, landedOn, mergeGradients, onlyWanted, passed } from './layer.js';
import { baseOf, linear, ownGradients } from './linear.js';

/** x [N, I] ↦ what `linear` makes of it for each module. Adapters that all read x as it is read it in one product. */
export const linears = (pass: Pass, modules: ReadonlyArray<string>): Layer<Tensor, ReadonlyArray<Tensor>> => {
  const apart = fanOut(...modules.map((module) => linear(pass, { module })));
  return (weights, x, wanted) =>
    (modules.every((module) => readsAsItIs(pass, weights, module)) ? together(pass, modules) : apart)(
      weights,
      x,
      wanted,
    );
};

/** [N, C] to [q, k, v], by the module's `q_proj`, `k_proj` and `v_proj`. */
export const queryKeyValue = (pass: Pass, module: string): Layer<Tensor, ReadonlyArray<Tensor>> =>
  linears(
    pass,
    ['q_proj', 'k_proj', 'v_proj'].map((name) => `${module}.${name}`),
  );

/** Whether the module has an adapter, that alone, and it reads what its base does: no dropout, nothing rounded, no DoRA. */
const readsAsItIs = (pass: Pass, weights: Weights, module: string): boolean => {
  const names = adapterNames(module);
  return (
    pass.lora !== undefined &&
    (pass.further ?? []).length === 0 &&
    (pass.training === undefined || pass.lora.loraDropout === 0) &&
    baseOf(pass, module, false).reads === undefined &&
    weights[names.a] !== undefined &&
    weights[names.magnitude] === undefined
  );
};

/** y = x·Wᵀ + b + scaling·(x·Aᵀ)·Bᵀ of each module, with all x·Aᵀ as one product, and so both of its gradients. */
const together =
  (pass: Pass, modules: ReadonlyArray<string>): Layer<Tensor, ReadonlyArray<Tensor>> =>
  (weights, x, wanted) => {
    let rank = 0;
    const maps = modules.map((module) => {
      const [own, names] = [moduleNames(module), adapterNames(module)];
      const [w, a, b] = [weightOf(weights, own.weight), weightOf(weights, names.a), weightOf(weights, names.b)];
      const [first, [r = 0]] = [rank, a.shape];
      rank += r;
      return { module, own, names, w, a, b, first, scaling: adapterOptions(pass.lora, module, a).scaling };
    });
    const as = maps.map(({ a }) => a);
    const u = loraDown(x, as);
    const values: ReadonlyArray<Tensor> = maps.map(({ module, own, w, b, scaling, first }) => {
      pass.observe?.(module, x);
      return loraUp({ x, w, bias: weights[own.bias], u, b }, { transposed: false, scaling, first, flows: true });
    });
    const trained = maps.flatMap(({ own, names }) => [own.weight, own.bias, names.a, names.b]);
    if (!wanted.input && !trained.some((name) => weights[name] !== undefined && wanted.weight(name))) {
      u.dispose();
      return inactive(values);
    }
    const kept = keep(x);
    return passed(values, [kept, u], (dys, onto) => {
      const back = maps.map((map, i) => ({ ...map, dy: at(dys, i) }));
      const { du, dB } = loraUpGrad(u, back);
      // Of the input the adapters' part comes first, as it does where each is alone: it only writes.
      const { dA, dx: viaAdapters } = loraDownGrad(kept, du, as, { needInput: wanted.input, flows: true });
      du.dispose();
      const adapters = onlyWanted(
        maps.flatMap(({ names }, i) => [[names.a, dA[i]] as const, [names.b, dB[i]] as const]),
        wanted.weight,
      );
      const gradients = back
        .map(({ module, dy }) => ownGradients(module, false, wanted.weight, weights, kept, dy))
        .reduce<Gradients>(mergeGradients, adapters);
      let dx = viaAdapters;
      for (const { dy, w } of back) {
        const before = dx;
        if (before !== undefined) dx = linearGradInput(dy, w, before, { transposed: false, flows: true });
        before?.dispose();
        dy.dispose();
      }
      return [gradients, dx && landedOn(dx, onto)];
    });
  };
