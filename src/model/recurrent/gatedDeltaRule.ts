import type { Tensor } from '@tensorflow/tfjs-core';
import { dispose } from '../../tfjs.js';
import { keepState } from '../attention/cachedAttention.js';
import { eachText } from '../attention/eachText.js';
import type { Text } from '../attention/eachText.js';
import { deltaGates, deltaGatesGrad } from '../kernels/deltaGates.js';
import { gatedDeltaRule as rule, gatedDeltaRuleGrad } from '../kernels/gatedDeltaRule.js';
import type { DeltaRuleAttrs } from '../kernels/gatedDeltaRule.js';
import { keep } from '../kernels/hold.js';
import type { Layer } from '../layers/layer.js';
import { inactive, landedOn, onlyWanted, passed } from '../layers/layer.js';
import type { Pass } from '../pass.js';
import { weightOf } from '../weights.js';
import type { TensorSpec } from '../weights.js';

/** Heads of the gated delta rule. */
export interface DeltaShape extends Omit<DeltaRuleAttrs, 'cuSeqlens'> {
  /** What a rate is at most: mostRate · σ(b). Default: 1. */
  readonly mostRate?: number | undefined;
}

/** What each of the value heads has of its own: `A_log` and `dt_bias` of the module. */
export const deltaRuleSpec = (module: string, heads: number): ReadonlyArray<TensorSpec> => [
  { name: `${module}.A_log`, shape: [heads], kind: 'state' },
  { name: `${module}.dt_bias`, shape: [heads], kind: 'bias' },
];

const correcting =
  (
    { cuSeqlens, cache }: Text,
    module: string,
    { mostRate = 1, ...shape }: DeltaShape,
  ): Layer<ReadonlyArray<Tensor>, Tensor> =>
  (weights, input, wanted) => {
    const [qkv, b, a] = input as readonly [Tensor, Tensor, Tensor];
    const names = { aLog: `${module}.A_log`, dtBias: `${module}.dt_bias` };
    const own = { aLog: weightOf(weights, names.aLog), dtBias: weightOf(weights, names.dtBias) };
    const attrs = { ...shape, cuSeqlens };
    const gates = deltaGates({ a, b, ...own }, { mostRate });
    if (cache !== undefined) {
      const { out, state } = rule({ qkv, ...gates, state: cache.states.get(module) }, attrs, { keeps: true });
      dispose([gates.decay, gates.rate]);
      if (state !== undefined) keepState(cache, module, state);
      return inactive(out);
    }
    const { out } = rule({ qkv, ...gates }, attrs);
    if (!wanted.input && !wanted.weight(names.aLog) && !wanted.weight(names.dtBias)) {
      dispose([gates.decay, gates.rate]);
      return inactive(out);
    }
    const kept = { qkv: keep(qkv), a: keep(a), b: keep(b), ...gates };
    return passed(out, Object.values(kept), (dOut, onto) => {
      const { dQkv, dDecay, dRate } = gatedDeltaRuleGrad({ ...kept, dOut }, attrs);
      dOut.dispose();
      const { dA, dB, dALog, dDtBias } = deltaGatesGrad({ ...kept, ...own, dDecay, dRate }, { mostRate });
      dispose([dDecay, dRate]);
      const gradients = onlyWanted(
        [
          [names.aLog, dALog],
          [names.dtBias, dDtBias],
        ],
        wanted.weight,
      );
      if (wanted.input) return [gradients, landedOn<ReadonlyArray<Tensor>>([dQkv, dB, dA], onto)];
      dispose([dQkv, dA, dB]);
      return [gradients, undefined];
    });
  };

/**
 * [qkv, b, a] ↦ the gated delta rule (Yang et al. 2024) inside each document of the pass, [N, valueHeads · valueDim]: qkv [N, 2 · keyHeads ·
 * keyDim + valueHeads · valueDim] has queries, keys and values side by side, the first two of any length; of a and b [N, valueHeads] are
 * made the decay of a state and the rate at which it is corrected. While generating, the cache keeps the state.
 */
export const gatedDeltaRule = (pass: Pass, module: string, shape: DeltaShape): Layer<ReadonlyArray<Tensor>, Tensor> =>
  eachText(pass, (text) => correcting(text, module, shape));
