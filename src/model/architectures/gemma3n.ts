/**
 * Gemma 3n, its text model: several streams of hidden states, of which each layer computes one (altUp.ts); a narrow map beside attention
 * (LAuReL, Menghani et al. 2024); sparse gates in the first layers; keys and values, and what layers are given of the tokens, as Gemma
 * 4 has them.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Architecture } from '../architecture.js';
import type { RotaryAngles } from '../attention/rope.js';
import { corrected, foretold } from '../layers/altUp.js';
import type { AltUp } from '../layers/altUp.js';
import { columnGain } from '../layers/columnGain.js';
import { gaussianTopK } from '../layers/gaussianTopK.js';
import { compose, each, identity, residual, total } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { asLongAs } from '../layers/magnitude.js';
import { gated, gatedBy, gatedNames } from '../layers/mlp.js';
import { narrowing } from '../layers/rows.js';
import { scaled } from '../layers/scaled.js';
import { past, wire, wired } from '../layers/wired.js';
import type { Pass } from '../pass.js';
import { embeddingSpec, headSpec, linearSpec, perLayer, rmsNormSpec } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { gemma3nConfig } from './gemma3nConfig.js';
import type { Gemma3nConfig } from './gemma3nConfig.js';
import { norm } from './llama.js';
import {
  attentionTensors,
  handedOn,
  keysGiven,
  keysTurnOtherwiseBeyond,
  layerName,
  ofTokens,
  sharingAttention,
  sharingBody,
  tokenLayerTensors,
  tokenTablesOf,
  tokenTensors,
  unreadMaps,
} from './sharedKeys.js';

type Values = ReadonlyArray<Tensor>;

/** So many numbers a token are kept beside what the map puts out. */
const keeping =
  (more: number) =>
  (spec: TensorSpec): TensorSpec => ({ ...spec, keeps: (spec.shape[0] ?? 0) + more });

const layerTensors = (config: Gemma3nConfig, i: number): ReadonlyArray<TensorSpec> => {
  const { hiddenSize, streams, laurelRank, widths } = config;
  const layer = layerName(i);
  const width = widths[i] ?? 0;
  const altup = `${layer}.altup`;
  return [
    ...attentionTensors(config, i),
    ...linearSpec(`${layer}.mlp.gate_proj`, width, hiddenSize, false),
    ...linearSpec(`${layer}.mlp.up_proj`, width, hiddenSize, false),
    ...linearSpec(`${layer}.mlp.down_proj`, hiddenSize, width, false),
    ...[
      'input_layernorm',
      'post_attention_layernorm',
      'pre_feedforward_layernorm',
      'post_feedforward_layernorm',
      'altup.router_norm',
      'laurel.post_laurel_norm',
    ].map((name) => rmsNormSpec(`${layer}.${name}`, hiddenSize)),
    // Where nothing is scaled by it nothing moves it, weight decay neither: torch passes over what has no gradient.
    { name: `${altup}.correct_output_scale`, shape: [hiddenSize], kind: config.scalesCorrected ? 'bias' : 'buffer' },
    // Beside the numbers there is what they are for: what the layer made of its stream, and the streams before it.
    ...linearSpec(`${altup}.correction_coefs`, streams, streams, false).map(keeping(hiddenSize)),
    ...linearSpec(`${altup}.prediction_coefs`, streams * streams, streams, false).map(keeping(streams * hiddenSize)),
    ...linearSpec(`${altup}.modality_router`, streams, hiddenSize, false),
    ...linearSpec(`${layer}.laurel.linear_left`, laurelRank, hiddenSize, false),
    ...linearSpec(`${layer}.laurel.linear_right`, hiddenSize, laurelRank, false),
    ...tokenLayerTensors(config, i),
  ];
};

const gemma3nTensors = (config: Gemma3nConfig): ReadonlyArray<TensorSpec> => {
  const { vocabSize, hiddenSize, streams, numLayers, tieWordEmbeddings } = config;
  const others = ['altup_projections', 'altup_unembed_projections'].flatMap((name) =>
    Array.from({ length: streams - 1 }, (_, j) => `model.${name}.${j}`),
  );
  return [
    embeddingSpec('model.embed_tokens', vocabSize, hiddenSize),
    ...tokenTensors(config),
    ...others.flatMap((module) => linearSpec(module, hiddenSize, hiddenSize, false)),
    ...perLayer(numLayers, (i) => layerTensors(config, i)),
    rmsNormSpec('model.norm', hiddenSize),
    ...headSpec(tieWordEmbeddings, vocabSize, hiddenSize),
  ];
};

const places = (first: number, next: number): ReadonlyArray<number> =>
  Array.from({ length: next - first }, (_, i) => first + i);

/** x + norm(right(left(x))) */
const laurel = (config: Gemma3nConfig, pass: Pass, i: number): Layer<Tensor, Tensor> => {
  const module = `${layerName(i)}.laurel`;
  return residual(
    compose(
      linear(pass, { module: `${module}.linear_left` }),
      linear(pass, { module: `${module}.linear_right` }),
      norm(config, `${module}.post_laurel_norm`),
    ),
  );
};

/** [x], or [x, k, v], to (x + attention(n) + laurel(n)) / √2, n being x normed; with what `sharingAttention` gives behind it. */
const attentionStep = (config: Gemma3nConfig, pass: Pass, angles: RotaryAngles, i: number): Layer<Values, Values> => {
  const keys = keysGiven(config, i);
  const handed = handedOn(config, i);
  const narrow = narrowing(pass, i, config.numLayers);
  const last = 1 + handed.length;
  return compose(
    wired(wire(0, norm(config, `${layerName(i)}.input_layernorm`)), ...past(keys), wire(0, narrow)),
    wired(
      wire([0, ...keys], sharingAttention(config, pass, angles, i)),
      wire(0, compose(narrow, laurel(config, pass, i))),
      ...past([1 + keys.length]),
    ),
    wired(wire([0, last, last + 1], compose(total, scaled(Math.SQRT1_2))), ...past(handed)),
  );
};

const mlp = (config: Gemma3nConfig, pass: Pass, i: number): Layer<Tensor, Tensor> => {
  const share = config.sparsity[i] ?? 0;
  const gate = gated(config.activation);
  return gatedBy(
    share === 0 ? gate : compose(each(gaussianTopK(share), identity), gate),
    pass,
    `${layerName(i)}.mlp`,
    gatedNames,
  );
};

/** [p₀, …, y, t], streams foretold, what attention made of the layer's own, and what the layer is given of the tokens, to the streams. */
const afterAttention = (config: Gemma3nConfig, pass: Pass, altUp: AltUp, i: number): Layer<Values, Values> => {
  const { streams, active } = config;
  const layer = layerName(i);
  const whole = residual(
    compose(
      norm(config, `${layer}.pre_feedforward_layernorm`),
      mlp(config, pass, i),
      norm(config, `${layer}.post_feedforward_layernorm`),
    ),
  );
  const gain = config.scalesCorrected ? columnGain(`${altUp.module}.correct_output_scale`) : identity<Tensor>;
  const given = compose(each(gain, identity), ofTokens(config, pass, i));
  return compose(
    wired(...past(places(0, streams)), wire(streams, whole), ...past([streams + 1])),
    wired(wire(places(0, streams + 1), corrected(pass, altUp)), ...past([streams + 1])),
    wired(...past(places(0, streams)), wire([active, streams], given)),
    // The first stream takes none of it.
    wired(...past([0]), ...(streams === 1 ? past([1]) : places(1, streams).map((j) => wire([j, streams], total)))),
  );
};

const gemma3nLayer = (config: Gemma3nConfig, pass: Pass, angles: RotaryAngles, i: number): Layer<Values, Values> => {
  const { streams, active, hiddenSize, rmsNormEps: eps } = config;
  const altUp = { module: `${layerName(i)}.altup`, streams, active, hiddenSize, eps };
  const keys = keysGiven(config, i).map((_, j) => streams + j);
  const token = streams + keys.length;
  const handed = handedOn(config, i);
  const narrow = narrowing(pass, i, config.numLayers);
  return compose(
    wired(wire(places(0, streams), foretold(pass, altUp)), ...past(places(streams, token + 1))),
    wired(
      ...places(0, streams).map((j) => wire(j, narrow)),
      wire([active, ...keys], attentionStep(config, pass, angles, i)),
      wire(token, narrow),
    ),
    wired(
      wire([...places(0, streams + 1), streams + 1 + handed.length], afterAttention(config, pass, altUp, i)),
      ...past(handed.map((place) => streams + place)),
    ),
  );
};

/** Every other stream as a map of its own makes it of the first (or of itself), as long as the first. */
const streamsBy = (config: Gemma3nConfig, pass: Pass, name: string, source: (j: number) => number) =>
  places(1, config.streams).map((j) =>
    wire([source(j), 0], compose(each(linear(pass, { module: `model.${name}.${j - 1}` }), identity), asLongAs)),
  );

export const gemma3n: Architecture<Gemma3nConfig> = {
  name: 'gemma3n',
  modelTypes: ['gemma3n_text'],
  config: gemma3nConfig,
  tensors: gemma3nTensors,
  basePrefix: 'model.',
  buffers: unreadMaps,
  embedding: 'model.embed_tokens',
  tokenTables: tokenTablesOf,
  body: (config, pass) =>
    sharingBody(config, pass, {
      streams: config.streams,
      begin: wired(
        ...past([0]),
        ...streamsBy(config, pass, 'altup_projections', () => 0),
        ...past(places(1, 1 + config.numLayers)),
      ),
      core: (angles, i) => gemma3nLayer(config, pass, angles, i),
      end: compose(
        wired(...past([0]), ...streamsBy(config, pass, 'altup_unembed_projections', (j) => j)),
        compose(total, scaled(1 / config.streams)),
      ),
    }),
  narrows: true,
  tail: (config) => norm(config, 'model.norm'),
  turnsOtherwiseBeyond: keysTurnOtherwiseBeyond,
  loraTargets: () => ['q_proj', 'v_proj'],
};
