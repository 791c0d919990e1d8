import type { Tensor } from '@tensorflow/tfjs-core';
import type { ModelConfig } from '../config.js';
import { beside, compose, each, identity } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { gated } from '../layers/mlp.js';
import { narrowing } from '../layers/rows.js';
import type { Pass } from '../pass.js';
import { attention } from './attention.js';
import { queryAngles, rotary } from './rope.js';
import type { RotaryAngles } from './rope.js';
import type { RopeConfig } from './ropeConfig.js';

/** What `rotaryAttention` reads of a configuration. */
export interface RotaryShape extends Pick<ModelConfig, 'numLayers' | 'numHeads' | 'numKvHeads' | 'headDim'> {
  readonly rope: RopeConfig;
  /** Width of a head's values, at most headDim. Default: headDim. */
  readonly valueDim?: number;
  /** What products of queries and keys are multiplied by. Default: 1 / √headDim. */
  readonly attentionScale?: number;
  /** One a layer: how many tokens back it sees, itself included; 0 sees all. Default: all of them see all. */
  readonly windows?: ReadonlyArray<number>;
  /** One a layer: texts are cut into chunks of so many tokens (see `AttentionShape`); 0: they are not. Default: none of them are. */
  readonly chunks?: ReadonlyArray<number>;
  /** What scores are capped at (see `AttentionAttrs`). Default: they are not. */
  readonly attentionSoftcap?: number | undefined;
  /** What ALiBi's slopes are multiplied by (see `AttentionAttrs`). Default: there are none. */
  readonly alibi?: number | undefined;
}

/** The maps around the heads of one layer, and how the heads turn. */
export interface RotaryParts {
  /** Which layer of the model this is. */
  readonly layer: number;
  /** Absent: queries and keys do not turn. */
  readonly angles: RotaryAngles | undefined;
  /** Entries of a head that turn together lie beside each other, not in two halves. Default false. */
  readonly interleaved?: boolean | undefined;
  /** [N, C] to [q, k, v]; to [gates, q, k, v] where outputs are gated. */
  readonly project: Layer<Tensor, ReadonlyArray<Tensor>>;
  /**
   * What is made of [gates, the heads' values]; true: each value times the sigmoid of its gate, [N, heads · headDim]. Default: false,
   * there are no gates.
   */
  readonly gated?: boolean | Layer<ReadonlyArray<Tensor>, Tensor> | undefined;
  /** What queries pass before they turn, such as a norm. */
  readonly queries?: Layer<Tensor, Tensor> | undefined;
  /** What keys pass before they turn. */
  readonly keys?: Layer<Tensor, Tensor> | undefined;
  /** What values pass. */
  readonly values?: Layer<Tensor, Tensor> | undefined;
  /** The layer whose keys and values it reads, an earlier one. Default: its own. */
  readonly keysOf?: number | undefined;
  /** Name of the heads' sinks, a weight [heads]. Absent: they have none. */
  readonly sinks?: string | undefined;
  /** What queries pass after they have turned. */
  readonly turnedQueries?: Layer<Tensor, Tensor> | undefined;
  /** What keys pass after they have turned. */
  readonly turnedKeys?: Layer<Tensor, Tensor> | undefined;
  /** What the heads' values go through, [N, heads · headDim] to [N, C]; of the rows that are read, in the last layer. */
  readonly output: Layer<Tensor, Tensor>;
}

/** What queries (or keys) of so many heads pass on their way to attention. */
const turned = (
  { headDim, rope }: RotaryShape,
  heads: number,
  { before, after, by, interleaved = false }: Turn,
): Layer<Tensor, Tensor> => {
  const turn = by && rotary(by, { heads, headDim, rotaryDim: rope.rotaryDim, interleaved });
  const steps = [before, turn, after].filter((step) => step !== undefined);
  return steps.length === 1 && steps[0] !== undefined ? steps[0] : compose(...steps);
};

interface Turn extends Pick<RotaryParts, 'interleaved'> {
  readonly before: Layer<Tensor, Tensor> | undefined;
  readonly after: Layer<Tensor, Tensor> | undefined;
  readonly by: RotaryAngles | undefined;
}

/** What queries pass, [N, heads · headDim] to the same. */
export const turnedQueries = (config: RotaryShape, parts: RotaryParts): Layer<Tensor, Tensor> =>
  turned(config, config.numHeads, {
    before: parts.queries,
    after: parts.turnedQueries,
    by: parts.angles && queryAngles(parts.angles),
    interleaved: parts.interleaved,
  });

/** [q, k, v] to the same as attention reads them. */
const turnedParts = (config: RotaryShape, parts: RotaryParts): Layer<ReadonlyArray<Tensor>, ReadonlyArray<Tensor>> =>
  each(
    turnedQueries(config, parts),
    turned(config, config.numKvHeads, {
      before: parts.keys,
      after: parts.turnedKeys,
      by: parts.angles,
      interleaved: parts.interleaved,
    }),
    parts.values ?? identity,
  );

/** [N, C] to [q, k, v] as attention reads them. */
export const turnedHeads = (config: RotaryShape, parts: RotaryParts): Layer<Tensor, ReadonlyArray<Tensor>> =>
  compose(parts.project, turnedParts(config, parts));

/** [q, k, v] as attention reads them to its heads' values, [N, heads · headDim]. */
const headValues = (
  config: RotaryShape,
  pass: Pass,
  { layer, keysOf, sinks }: RotaryParts,
): Layer<ReadonlyArray<Tensor>, Tensor> =>
  attention(
    pass,
    {
      layer,
      keysOf,
      heads: config.numHeads,
      kvHeads: config.numKvHeads,
      headDim: config.headDim,
      valueDim: config.valueDim,
      scale: config.attentionScale ?? 1 / Math.sqrt(config.headDim),
      window: config.windows?.[layer] ?? 0,
      chunk: config.chunks?.[layer] ?? 0,
      softcap: config.attentionSoftcap,
      alibi: config.alibi,
    },
    sinks,
  );

/** [q, k, v] as attention reads them to its output, [N, C]. */
export const attended = (config: RotaryShape, pass: Pass, parts: RotaryParts): Layer<ReadonlyArray<Tensor>, Tensor> =>
  compose(headValues(config, pass, parts), compose(narrowing(pass, parts.layer, config.numLayers), parts.output));

/** Attention of queries and keys that turn by their positions, [N, C] to the same. */
export const rotaryAttention = (config: RotaryShape, pass: Pass, parts: RotaryParts): Layer<Tensor, Tensor> => {
  const { gated: opening = false } = parts;
  if (opening === false) return compose(turnedHeads(config, parts), attended(config, pass, parts));
  const read = narrowing(pass, parts.layer, config.numLayers);
  return compose(
    parts.project,
    beside(compose(turnedParts(config, parts), headValues(config, pass, parts))),
    each(read, read),
    compose(opening === true ? gated('sigmoid') : opening, parts.output),
  );
};
