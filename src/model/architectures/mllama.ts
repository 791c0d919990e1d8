/**
 * The text model of Llama 3.2 Vision: Llama, between whose layers stand such that look at an image. Without one they are passed by, as in
 * transformers, and are neither loaded nor trained.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import { rotaryAngles } from '../attention/rope.js';
import { nonNegativeInteger, optional } from '../config.js';
import { compose, holding, mapLayers } from '../layers/layer.js';
import { block } from '../pass.js';
import { embeddingSpec } from '../weights.js';
import { llama, llamaConfigWith, llamaLayer, llamaStem, llamaTensors } from './llama.js';
import type { LlamaConfig } from './llama.js';

export interface MllamaConfig extends LlamaConfig {
  /** Numbers of the layers that read text. */
  readonly reading: ReadonlyArray<number>;
}

const fields = t.type({ cross_attention_layers: optional(t.array(nonNegativeInteger)) });

const looking = [3, 8, 13, 18, 23, 28, 33, 38];

/** Rows of the embedding behind those of the tokens, for images. */
const imageRows = 8;

const ofLayers = (layers: ReadonlyArray<number>): RegExp | undefined =>
  layers.length === 0 ? undefined : new RegExp(`^model\\.layers\\.(?:${layers.join('|')})\\.`);

const lookingOf = ({ numLayers, reading }: MllamaConfig): ReadonlyArray<number> =>
  Array.from({ length: numLayers }, (_, i) => i).filter((i) => !reading.includes(i));

export const mllama: Architecture<MllamaConfig> = {
  ...llama,
  name: 'mllama',
  modelTypes: [],
  textTypes: ['mllama_text_model'],
  config: (raw, modelType) =>
    pipe(
      llamaConfigWith(raw, modelType, {
        fields,
        only: { tie_word_embeddings: false, attention_bias: false, mlp_bias: false },
        family: { numKvHeads: 8, maxPositions: 131_072, rmsNormEps: 1e-5, rope: { theta: 500_000 } },
      }),
      E.map(({ f, config }) => ({
        ...config,
        architecture: 'mllama',
        reading: Array.from({ length: config.numLayers }, (_, i) => i).filter(
          (i) => !(f.cross_attention_layers ?? looking).includes(i),
        ),
      })),
    ),
  tensors: (config) => {
    const left = ofLayers(lookingOf(config));
    return [
      embeddingSpec('model.embed_tokens', config.vocabSize + imageRows, config.hiddenSize),
      ...llamaTensors(config).filter(({ name, kind }) => kind !== 'embedding' && left?.test(name) !== true),
    ];
  },
  leavesOut: (config) => ofLayers(lookingOf(config)),
  body: (config, pass) => {
    const { reading } = config;
    // The last layer that reads is the last there is.
    const shape = { ...config, numLayers: (reading.at(-1) ?? 0) + 1 };
    return holding(
      (sequence) => rotaryAngles(config.rope, sequence),
      (angles) =>
        compose(
          llamaStem(config, pass),
          mapLayers(reading.length, (n) => block(pass, llamaLayer(shape, pass, angles, reading[n] ?? 0))),
        ),
    );
  },
};
