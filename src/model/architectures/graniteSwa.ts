/** Granite with sliding windows: heads have sinks, and each layer turns by a base of its own, or not at all. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import { rotaryAngles } from '../attention/rope.js';
import type { RotaryAngles } from '../attention/rope.js';
import { decodeFields, nonNegative, optional, unfit } from '../config.js';
import { compose, holding, mapLayers } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { block } from '../pass.js';
import type { Sequence } from '../sequence.js';
import { perLayer } from '../weights.js';
import { granite, graniteConfig, graniteLayer, graniteStem } from './granite.js';
import type { GraniteConfig } from './granite.js';
import { llamaTensors, windowsByType } from './llama.js';

export interface GraniteSwaConfig extends GraniteConfig {
  /** One a layer: the base of its angles; 0: its queries and keys do not turn. */
  readonly thetas: ReadonlyArray<number>;
}

const fields = t.type({ layer_rope_theta: optional(t.array(nonNegative)) });

const sinks = (layer: number): string => `model.layers.${layer}.self_attn.sinks`;

export const graniteSwa: Architecture<GraniteSwaConfig> = {
  ...granite,
  name: 'granite_swa',
  modelTypes: ['granite_swa'],
  config: (raw, modelType) =>
    pipe(
      decodeFields(fields)(raw),
      E.bindTo('f'),
      E.bind('config', () =>
        graniteConfig(raw, modelType, {
          numKvHeads: 4,
          maxPositions: 8192,
          rmsNormEps: 1e-5,
          tied: true,
          windows: (own) =>
            windowsByType(own, 'sliding_window' in raw ? (own.sliding_window ?? 0) : 128, (i) => i % 4 !== 0),
        }),
      ),
      E.let('thetas', ({ f, config }) => f.layer_rope_theta ?? config.windows.map(() => config.rope.theta)),
      E.filterOrElse(
        ({ config, thetas }) => thetas.length === config.numLayers,
        ({ config, thetas }) => unfit('layer_rope_theta', `${config.numLayers} numbers, one a layer`, thetas),
      ),
      E.map(({ config, thetas }) => ({ ...config, thetas, turns: thetas.map((theta) => theta > 0) })),
    ),
  tensors: (config) => [
    ...llamaTensors(config),
    ...perLayer(config.numLayers, (i) => [{ name: sinks(i), shape: [config.numHeads], kind: 'bias' }]),
  ],
  body: (config, pass) => {
    const bases = [...new Set(config.thetas.filter((theta) => theta > 0))];
    const layers = (angles: ReadonlyMap<number, RotaryAngles>): Layer<Sequence, Tensor> =>
      compose(
        graniteStem(config, pass),
        mapLayers(config.numLayers, (i) =>
          block(pass, graniteLayer(config, pass, angles.get(config.thetas[i] ?? 0), i, { sinks: sinks(i) })),
        ),
      );
    const turning = bases.reduce(
      (inner, theta) => (others) =>
        holding(
          (sequence) => rotaryAngles({ ...config.rope, theta }, sequence),
          (angles) => inner(new Map([...others, [theta, angles]])),
        ),
      layers,
    );
    return turning(new Map());
  },
};
