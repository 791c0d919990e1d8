/**
 * GLM and GLM-4: Llama whose heads turn in part, in pairs beside each other, with gate and up of one matrix; GLM-4 norms what branches
 * add, as does the text model of GLM-4.1V.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import { boolean, optional } from '../config.js';
import type { RawConfig } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { compose, identity } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { joinedMlp } from '../layers/mlp.js';
import type { Pass } from '../pass.js';
import { linearSpec, perLayer, rmsNormSpec } from '../weights.js';
import { llama, llamaConfigWith, llamaStem, llamaTensors, norm, selfAttention, textPositions } from './llama.js';
import type { Family, LlamaConfig } from './llama.js';

const fields = t.type({ attention_bias: optional(boolean) });

const usual: Family = {
  numKvHeads: 2,
  headDim: 128,
  maxPositions: 131_072,
  rmsNormEps: 1.5625e-7,
  rope: { partial: 0.5 },
  partial: true,
};

/** The text model of GLM-4.1V, whose heads turn as a whole where the file says nothing. */
const seeing = 'glm4v_text';

const seeingFamily: Family = {
  numKvHeads: 2,
  maxPositions: 32_768,
  rmsNormEps: 1e-5,
  rope: { scalingNames: textPositions },
  partial: true,
};

const glmConfig =
  (architecture: string) =>
  (raw: RawConfig, modelType: string): E.Either<FatalError, LlamaConfig> => {
    const family = modelType === seeing ? seeingFamily : usual;
    return pipe(
      llamaConfigWith(raw, modelType, { fields, only: { mlp_bias: false }, family }),
      E.map(({ f, config }) => ({
        ...config,
        architecture,
        qkvBias: modelType === seeing || (f.attention_bias ?? true),
        outputBias: false,
      })),
    );
  };

/** Norms behind attention and MLP. */
const behind = { attention: 'post_self_attn_layernorm', mlp: 'post_mlp_layernorm' } as const;

const isFourth = ({ architecture }: LlamaConfig): boolean => architecture === 'glm4';

const layer = (config: LlamaConfig, pass: Pass, angles: RotaryAngles, i: number): Layer<Tensor, Tensor> => {
  const module = `model.layers.${i}`;
  const normed = (name: string): Layer<Tensor, Tensor> => norm(config, `${module}.${name}`);
  const after = (name: string): Layer<Tensor, Tensor> => (isFourth(config) ? normed(name) : identity);
  const mlp = joinedMlp(pass, config.activation, `${module}.mlp`, config.intermediateSize);
  return inTurn(
    { pass, i, numLayers: config.numLayers },
    compose(
      normed('input_layernorm'),
      selfAttention(config, pass, angles, i, { interleaved: true }),
      after(behind.attention),
    ),
    compose(normed('post_attention_layernorm'), mlp, after(behind.mlp)),
  );
};

const glmArchitecture = (name: string, textTypes: ReadonlyArray<string> = []): Architecture<LlamaConfig> => ({
  ...llama,
  name,
  modelTypes: [name],
  textTypes,
  config: glmConfig(name),
  tensors: (config) => [
    ...llamaTensors(config).filter(({ name: own }) => !/\.mlp\.(gate|up)_proj\.weight$/.test(own)),
    ...perLayer(config.numLayers, (i) => [
      ...linearSpec(`model.layers.${i}.mlp.gate_up_proj`, 2 * config.intermediateSize, config.hiddenSize, false),
      ...(isFourth(config)
        ? Object.values(behind).map((own) => rmsNormSpec(`model.layers.${i}.${own}`, config.hiddenSize))
        : []),
    ]),
  ],
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) => layer(config, pass, angles, i)),
});

export const glm = glmArchitecture('glm');
export const glm4 = glmArchitecture('glm4', [seeing]);
