/** What Mamba, Falcon Mamba and Mamba-2 are: norms and mixers, a layer each, under `backbone`. */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Architecture } from '../architecture.js';
import type { ModelConfig } from '../config.js';
import { alone, stem } from '../layers/blocks.js';
import { compose, mapLayers } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { rmsNorm } from '../layers/norm.js';
import { narrowing } from '../layers/rows.js';
import { block } from '../pass.js';
import type { Pass } from '../pass.js';
import { embeddingSpec, headSpec, perLayer, rmsNormSpec } from '../weights.js';
import type { TensorSpec } from '../weights.js';

const layerAt = (i: number): string => `backbone.layers.${i}`;

interface Mixers<C> {
  readonly name: string;
  readonly config: Architecture<C & ModelConfig>['config'];
  /** The weights of a mixer. */
  readonly spec: (module: string, config: C) => ReadonlyArray<TensorSpec>;
  readonly mixer: (
    pass: Pass,
    module: string,
    config: C,
    narrows: ReturnType<typeof narrowing>,
  ) => Layer<Tensor, Tensor>;
  readonly loraTargets: ReadonlyArray<string>;
}

export const mixersAlone = <C extends ModelConfig & { readonly rmsNormEps: number }>({
  name,
  config,
  spec,
  mixer,
  loraTargets,
}: Mixers<C>): Architecture<C> => ({
  name,
  modelTypes: [name],
  config,
  tensors: (c) => [
    embeddingSpec('backbone.embeddings', c.vocabSize, c.hiddenSize),
    ...perLayer(c.numLayers, (i) => [
      rmsNormSpec(`${layerAt(i)}.norm`, c.hiddenSize),
      ...spec(`${layerAt(i)}.mixer`, c),
    ]),
    rmsNormSpec('backbone.norm_f', c.hiddenSize),
    ...headSpec(c.tieWordEmbeddings, c.vocabSize, c.hiddenSize),
  ],
  basePrefix: 'backbone.',
  embedding: 'backbone.embeddings',
  body: (c, pass) =>
    compose(
      stem(pass, 'backbone.embeddings'),
      mapLayers(c.numLayers, (i) => {
        const normed = rmsNorm(`${layerAt(i)}.norm`, { eps: c.rmsNormEps, offset: 0 });
        const mixed = mixer(pass, `${layerAt(i)}.mixer`, c, narrowing(pass, i, c.numLayers));
        return block(pass, alone({ pass, i, numLayers: c.numLayers }, compose(normed, mixed)));
      }),
    ),
  narrows: true,
  tail: (c) => rmsNorm('backbone.norm_f', { eps: c.rmsNormEps, offset: 0 }),
  loraTargets: () => loraTargets,
});
