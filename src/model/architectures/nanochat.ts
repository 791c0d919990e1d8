/**
 * nanochat: no norm has a gain; one stands behind the embedding, others behind the turning of queries and keys, which turn backwards;
 * MLPs as Arcee has them, logits capped.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import { optional, positive } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { compose } from '../layers/layer.js';
import { plainMlp } from '../layers/mlp.js';
import { bareRmsNorm, perHead } from '../layers/norm.js';
import { linearSpec, perLayer } from '../weights.js';
import { llama, llamaConfigWith, llamaStem, llamaTensors, selfAttention } from './llama.js';
import type { LlamaConfig } from './llama.js';

const fields = t.type({ final_logit_softcapping: optional(positive) });

export const nanochat: Architecture<LlamaConfig> = {
  ...llama,
  name: 'nanochat',
  modelTypes: ['nanochat'],
  config: (raw, modelType) =>
    pipe(
      llamaConfigWith(raw, modelType, { fields, only: { mlp_bias: false }, family: { activation: 'relu2' } }),
      E.map(({ f, config }) => ({
        ...config,
        architecture: 'nanochat',
        logitSoftcap: 'final_logit_softcapping' in raw ? (f.final_logit_softcapping ?? undefined) : 15,
        rope: { ...config.rope, backwards: true },
      })),
    ),
  tensors: (config) => [
    ...llamaTensors(config).filter(({ name, kind }) => kind !== 'norm' && !name.includes('.mlp.')),
    ...perLayer(config.numLayers, (i) => [
      ...linearSpec(`model.layers.${i}.mlp.fc1`, config.intermediateSize, config.hiddenSize, false),
      ...linearSpec(`model.layers.${i}.mlp.fc2`, config.hiddenSize, config.intermediateSize, false),
    ]),
  ],
  body: (config, pass) => {
    const normed = bareRmsNorm(config.rmsNormEps);
    const heads = perHead(config.headDim, normed);
    const parts = { turnedQueries: heads, turnedKeys: heads };
    const stem = compose(llamaStem(config, pass), bareRmsNorm(config.rmsNormEps, { flows: false }));
    return rotaryBody(config, pass, stem, (angles, i) => {
      const mlp = { up: `model.layers.${i}.mlp.fc1`, down: `model.layers.${i}.mlp.fc2` };
      return inTurn(
        { pass, i, numLayers: config.numLayers },
        compose(normed, selfAttention(config, pass, angles, i, parts)),
        compose(normed, plainMlp(pass, config.activation, mlp)),
      );
    });
  },
  tail: (config) => bareRmsNorm(config.rmsNormEps),
};
