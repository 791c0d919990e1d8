import type { Tensor } from '@tensorflow/tfjs-core';
import { attention } from './attention.js';
import type { ModelConfig } from './config.js';
import { compose, each, identity } from './layer.js';
import type { Layer } from './layer.js';
import type { Pass } from './pass.js';
import { queryAngles, rotary } from './rope.js';
import type { RopeConfig, RotaryAngles } from './rope.js';
import { narrowing } from './rows.js';

export interface RotaryShape extends Pick<ModelConfig, 'numLayers' | 'numHeads' | 'numKvHeads' | 'headDim'> {
  readonly rope: RopeConfig;
  /** What products of queries and keys are multiplied by. Default: 1 / √headDim. */
  readonly attentionScale?: number;
  /** One a layer: how many tokens back it sees, itself included; 0 sees all. Default: all of them see all. */
  readonly windows?: ReadonlyArray<number>;
  /** What scores are capped at (see `AttentionAttrs`). Default: they are not. */
  readonly attentionSoftcap?: number | undefined;
  /** What ALiBi's slopes are multiplied by (see `AttentionAttrs`). Default: there are none. */
  readonly alibi?: number | undefined;
}

export interface RotaryParts {
  /** Which layer of the model this is. */
  readonly layer: number;
  /** Absent: queries and keys do not turn. */
  readonly angles: RotaryAngles | undefined;
  /** Entries of a head that turn together lie beside each other, not in two halves. Default false. */
  readonly interleaved?: boolean | undefined;
  /** [N, C] to [q, k, v]. */
  readonly project: Layer<Tensor, ReadonlyArray<Tensor>>;
  /** What queries pass before they turn, such as a norm. */
  readonly queries?: Layer<Tensor, Tensor> | undefined;
  readonly keys?: Layer<Tensor, Tensor> | undefined;
  /** Name of the heads' sinks, a weight [heads]. Absent: they have none. */
  readonly sinks?: string | undefined;
  /** What queries and keys pass after they have turned. */
  readonly turnedQueries?: Layer<Tensor, Tensor> | undefined;
  readonly turnedKeys?: Layer<Tensor, Tensor> | undefined;
  /** What the heads' values go through, [N, heads · headDim] to [N, C]; of the rows that are read, in the last layer. */
  readonly output: Layer<Tensor, Tensor>;
}

/** Attention of queries and keys that turn by their positions, [N, C] to the same. */
export const rotaryAttention = (config: RotaryShape, pass: Pass, parts: RotaryParts): Layer<Tensor, Tensor> => {
  const { numLayers, numHeads, numKvHeads, headDim, rope } = config;
  const { layer, angles, interleaved = false, project, output } = parts;
  const turn = (heads: number, by: RotaryAngles): Layer<Tensor, Tensor> =>
    rotary(by, { heads, headDim, rotaryDim: rope.rotaryDim, interleaved });
  const turned = (
    heads: number,
    before: Layer<Tensor, Tensor> | undefined,
    after: Layer<Tensor, Tensor> | undefined,
    by: RotaryAngles | undefined,
  ): Layer<Tensor, Tensor> => {
    const steps = [before, by && turn(heads, by), after].filter((step) => step !== undefined);
    return steps.length === 1 && steps[0] !== undefined ? steps[0] : compose(...steps);
  };
  return compose(
    project,
    each(
      turned(numHeads, parts.queries, parts.turnedQueries, angles && queryAngles(angles)),
      turned(numKvHeads, parts.keys, parts.turnedKeys, angles),
      identity,
    ),
    attention(
      pass,
      {
        layer,
        heads: numHeads,
        kvHeads: numKvHeads,
        headDim,
        scale: config.attentionScale ?? 1 / Math.sqrt(headDim),
        window: config.windows?.[layer] ?? 0,
        softcap: config.attentionSoftcap,
        alibi: config.alibi,
      },
      parts.sinks,
    ),
    compose(narrowing(pass, layer, numLayers), output),
  );
};
