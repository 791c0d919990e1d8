/** An architecture of your own: a decoder that knows no positions, made known under its name and trained from nothing. */
import { tensor } from '@tensorflow/tfjs-core';
import { right } from 'fp-ts/lib/Either.js';
import { chooseEngine, expectedTensors, layers, makeCausalLm, modelConfig, orThrow, random, sftTrainer } from 'rxtune';
import { registerArchitecture, type Architecture } from 'rxtune';

const { attention, block, compose, embeddingSpec, fanOut, linear, linearSpec, mapLayers, perLayer } = layers;
const { residual, rmsNorm, rmsNormSpec, tokenEmbedding } = layers;

const sizes = { vocabSize: 32, hiddenSize: 32, numLayers: 2, numHeads: 4, numKvHeads: 4, headDim: 8, maxPositions: 64 };
const norm = (module: string) => rmsNorm(module, { eps: 1e-6, offset: 0 });

const bag: Architecture = {
  name: 'bag',
  modelTypes: ['bag'], // of config.json, which comes as `raw`; a real architecture decodes it
  config: (raw, modelType) =>
    right({ architecture: 'bag', modelType, ...sizes, tieWordEmbeddings: true, eosTokenIds: [], raw }),
  tensors: ({ vocabSize, hiddenSize: width, numLayers }) => [
    embeddingSpec('embed', vocabSize, width),
    ...perLayer(numLayers, (i) => [
      rmsNormSpec(`layers.${i}.norm`, width),
      ...['q', 'k', 'v', 'out'].flatMap((name) => linearSpec(`layers.${i}.${name}`, width, width, false)),
    ]),
    rmsNormSpec('norm', width),
  ],
  basePrefix: '',
  embedding: 'embed',
  body: ({ numLayers, numHeads: heads, headDim }, pass) => {
    const scores = { heads, kvHeads: heads, headDim, scale: headDim ** -0.5, window: 0 };
    const decoder = mapLayers(numLayers, (layer) => {
      const to = (name: string) => linear(pass, { module: `layers.${layer}.${name}` });
      const mixed = compose(fanOut(to('q'), to('k'), to('v')), attention(pass, { layer, ...scores }), to('out'));
      return block(pass, residual(compose(norm(`layers.${layer}.norm`), mixed)));
    });
    return compose(tokenEmbedding(pass, 'embed'), decoder);
  },
  tail: () => norm('norm'), // the head multiplies by the embedding
  loraTargets: () => ['q', 'v'],
};

registerArchitecture(bag);
await orThrow(chooseEngine());
const config = orThrow(modelConfig({ model_type: 'bag' }));
const { normal } = random(1, 'init');
const weights = expectedTensors(config).map(({ name, shape, kind }) => {
  const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 0.2 * normal());
  return [name, tensor(kind === 'norm' ? values.fill(1) : values, [...shape])] as const;
});
const model = orThrow(makeCausalLm(config, Object.fromEntries(weights)));

const count = (from: number) => ({ input_ids: Array.from({ length: 9 }, (_, t) => (from + t) % sizes.vocabSize) });
const trainDataset = Array.from({ length: 32 }, (_, from) => count(from));
sftTrainer({ model, trainDataset }, { maxLength: 16, maxSteps: 40, learningRate: 1e-2 }).subscribe(({ step, loss }) =>
  console.log(`step ${step}  loss ${loss.toFixed(4)}`),
);
