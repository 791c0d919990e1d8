/** Ernie 4.5, dense: Llama whose pairs that turn lie beside each other, and one field for all biases. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import { boolean, optional } from '../config.js';
import { rotaryBody } from '../layers/blocks.js';
import { llama, llamaConfigWith, llamaLayer, llamaStem } from './llama.js';
import type { LlamaConfig } from './llama.js';

const fields = t.type({ use_bias: optional(boolean) });

export const ernie: Architecture<LlamaConfig> = {
  ...llama,
  name: 'ernie4_5',
  modelTypes: ['ernie4_5'],
  config: (raw, modelType) =>
    pipe(
      llamaConfigWith(raw, modelType, {
        fields,
        family: {
          numKvHeads: 2,
          headDim: 128,
          maxPositions: 131_072,
          rmsNormEps: 1e-5,
          tied: true,
          rope: { theta: 500_000 },
        },
      }),
      E.map(({ f, config }) => {
        const biased = f.use_bias ?? false;
        return { ...config, architecture: 'ernie4_5', qkvBias: biased, outputBias: biased, mlpBias: biased };
      }),
    ),
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) =>
      llamaLayer(config, pass, angles, i, { interleaved: true }),
    ),
};
