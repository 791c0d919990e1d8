/** Granite with sliding windows: heads have sinks, and each layer turns by a base of its own, or not at all. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import { rotaryAngles } from '../attention/rope.js';
import type { RotaryAngles } from '../attention/rope.js';
import { decodeFields, nonNegative, optional, unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import { compose, holding, mapLayers } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { block } from '../pass.js';
import type { Pass } from '../pass.js';
import type { Sequence } from '../sequence.js';
import { perLayer } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { granite, graniteConfig, graniteLayer, graniteStem } from './granite.js';
import type { GraniteConfig } from './granite.js';
import { llamaTensors, windowsByType } from './llama.js';
import type { Family, LlamaParts } from './llama.js';

/** How layers turn. */
export interface Turning {
  /** One a layer: the base of its angles; 0: its queries and keys do not turn. */
  readonly thetas: ReadonlyArray<number>;
}

const fields = t.type({ layer_rope_theta: optional(t.array(nonNegative)) });

const sinks = (layer: number): string => `model.layers.${layer}.self_attn.sinks`;

/** Windows of the layers, by their kinds, or of three layers of four. */
export const swaWindows: NonNullable<Family['windows']> = (own, raw) =>
  windowsByType(own, 'sliding_window' in raw ? (own.sliding_window ?? 0) : 128, (i) => i % 4 !== 0);

/** The configuration with a base a layer, as the file has them. `E_MODEL_CONFIG` where they are not as many as layers. */
export const withThetas =
  (raw: RawConfig) =>
  <C extends GraniteConfig>(config: C): E.Either<FatalError, C & Turning> =>
    pipe(
      decodeFields(fields)(raw),
      E.map(({ layer_rope_theta: given }) => given ?? config.windows.map(() => config.rope.theta)),
      E.filterOrElse(
        (thetas) => thetas.length === config.numLayers,
        (thetas) => unfit('layer_rope_theta', `${config.numLayers} numbers, one a layer`, thetas),
      ),
      E.map((thetas) => ({ ...config, thetas, turns: thetas.map((theta) => theta > 0) })),
    );

/** Sinks of all heads. */
export const sinkSpecs = ({ numLayers, numHeads }: GraniteConfig): ReadonlyArray<TensorSpec> =>
  perLayer(numLayers, (i) => [{ name: sinks(i), shape: [numHeads], kind: 'bias' }]);

/** The body, of layers made of their angles, if they turn, and the name of their sinks. */
export const swaBody = (
  config: GraniteConfig & Turning,
  pass: Pass,
  layer: (angles: RotaryAngles | undefined, i: number, parts: LlamaParts) => Layer<Tensor, Tensor>,
): Layer<Sequence, Tensor> => {
  const bases = [...new Set(config.thetas.filter((theta) => theta > 0))];
  const layers = (angles: ReadonlyMap<number, RotaryAngles>): Layer<Sequence, Tensor> =>
    compose(
      graniteStem(config, pass),
      mapLayers(config.numLayers, (i) => block(pass, layer(angles.get(config.thetas[i] ?? 0), i, { sinks: sinks(i) }))),
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
};

export const graniteSwa: Architecture<GraniteConfig & Turning> = {
  ...granite,
  name: 'granite_swa',
  modelTypes: ['granite_swa'],
  config: (raw, modelType) =>
    pipe(
      graniteConfig(raw, modelType, {
        numKvHeads: 4,
        maxPositions: 8192,
        rmsNormEps: 1e-5,
        tied: true,
        windows: swaWindows,
      }),
      E.flatMap(withThetas(raw)),
    ),
  tensors: (config) => [...llamaTensors(config), ...sinkSpecs(config)],
  body: (config, pass) => swaBody(config, pass, (angles, i, parts) => graniteLayer(config, pass, angles, i, parts)),
};
