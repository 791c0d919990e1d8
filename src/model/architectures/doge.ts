/**
 * Doge: Llama whose keys have a part of each score that their values tell, whatever the query is; normed heads, and gains on the straight
 * paths.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import { attended, turnedHeads } from '../attention/rotaryAttention.js';
import type { RotaryAngles } from '../attention/rope.js';
import { optional, positiveInteger, unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import { rotaryBody } from '../layers/blocks.js';
import { columnGain } from '../layers/columnGain.js';
import { joinHeads, softplusPower, withNumber } from '../layers/keyBias.js';
import { compose, each, fanOut, identity, total } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { narrowing } from '../layers/rows.js';
import { past, wire, wired } from '../layers/wired.js';
import type { Pass } from '../pass.js';
import { linearSpec, perLayer } from '../weights.js';
import {
  attentionParts,
  llama,
  llamaConfigWith,
  llamaStem,
  llamaTensors,
  mlp,
  norm,
  windowEverywhere,
} from './llama.js';
import type { LlamaConfig } from './llama.js';

const fields = t.type({ keep_window_size: optional(positiveInteger) });

const config = (raw: RawConfig, modelType: string): E.Either<FatalError, LlamaConfig> =>
  pipe(
    llamaConfigWith(raw, modelType, {
      fields,
      only: { is_moe: false, hidden_dropout: 0 },
      family: { headNorm: true, windows: windowEverywhere(0) },
    }),
    // Of longer texts transformers leaves the keys out whose part is least.
    E.filterOrElse(
      ({ f, config: own }) => (f.keep_window_size ?? 2048) >= own.maxPositions,
      ({ f, config: own }) =>
        unfit('keep_window_size', `at least ${own.maxPositions}, the number of positions`, f.keep_window_size),
    ),
    E.map(({ config: own }) => ({ ...own, architecture: 'doge' })),
  );

const layerAt = (i: number): string => `model.layers.${i}`;

const attention = (c: LlamaConfig, pass: Pass, angles: RotaryAngles, i: number): Layer<Tensor, Tensor> => {
  const parts = attentionParts(c, pass, angles, i);
  const module = `${layerAt(i)}.self_attn`;
  const ofValues = compose(linear(pass, { module: `${module}.dt_proj` }), softplusPower(`${module}.A`));
  const { headDim, numHeads } = c;
  return compose(
    turnedHeads(c, parts),
    wired(
      // Scores are scaled: what a key has of its own is not.
      wire(0, withNumber(numHeads, 1 / c.attentionScale)),
      wire([1, 2], compose(each(identity, ofValues), joinHeads)),
      ...past([2]),
    ),
    attended({ ...c, headDim: headDim + 1, valueDim: headDim }, pass, parts),
  );
};

/** gain · x + branch(x) */
const gained = (gain: string, branch: Layer<Tensor, Tensor>, straight: Layer<Tensor, Tensor>): Layer<Tensor, Tensor> =>
  compose(fanOut(compose(straight, columnGain(gain)), branch), total);

const layer = (c: LlamaConfig, pass: Pass, angles: RotaryAngles, i: number): Layer<Tensor, Tensor> => {
  const own = layerAt(i);
  return compose(
    gained(
      `${own}.input_residual`,
      compose(norm(c, `${own}.input_layernorm`), attention(c, pass, angles, i)),
      narrowing(pass, i, c.numLayers),
    ),
    gained(
      `${own}.post_attention_residual`,
      compose(norm(c, `${own}.post_attention_layernorm`), mlp(c, pass, i)),
      identity,
    ),
  );
};

export const doge: Architecture<LlamaConfig> = {
  ...llama,
  name: 'doge',
  modelTypes: ['doge'],
  config,
  tensors: (c) => [
    ...llamaTensors(c),
    ...perLayer(c.numLayers, (i) => [
      { name: `${layerAt(i)}.self_attn.A`, shape: [c.numKvHeads], kind: 'state' } as const,
      ...linearSpec(`${layerAt(i)}.self_attn.dt_proj`, c.numKvHeads, c.numKvHeads * c.headDim, c.qkvBias),
      { name: `${layerAt(i)}.input_residual`, shape: [c.hiddenSize], kind: 'state' } as const,
      { name: `${layerAt(i)}.post_attention_residual`, shape: [c.hiddenSize], kind: 'state' } as const,
    ]),
  ],
  body: (c, pass) => rotaryBody(c, pass, llamaStem(c, pass), (angles, i) => layer(c, pass, angles, i)),
};
