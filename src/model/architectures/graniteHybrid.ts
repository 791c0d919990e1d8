/**
 * Granite 4 without routed experts: Granite whose layers are mixers of Mamba-2 or attention, by a list. Their MLPs hold gate and up in
 * one map; attention may know no positions.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import { inTurn, rotaryBody } from '../blocks.js';
import { decodeFields, layerCount, nonNegativeInteger, optional, positiveInteger, unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import { scaled } from '../embedding.js';
import { graniteConfig, graniteStem } from './granite.js';
import type { GraniteConfig } from './granite.js';
import { compose } from '../layer.js';
import type { Layer } from '../layer.js';
import { llama, llamaTensors, norm, selfAttention } from './llama.js';
import { mambaFields, mambaShape, onlySilu } from './mambaConfig.js';
import { mamba2, mamba2Spec } from '../mamba2.js';
import type { Mamba2Shape } from '../mamba2.js';
import { joinedMlp } from '../mlp.js';
import type { Pass } from '../pass.js';
import type { RotaryAngles } from '../rope.js';
import { narrowing } from '../rows.js';
import { linearSpec, perLayer } from '../weights.js';
import type { TensorSpec } from '../weights.js';

export interface GraniteHybridConfig extends GraniteConfig {
  /** One a layer: whether it is a mixer of Mamba-2; else it attends. */
  readonly recurrent: ReadonlyArray<boolean>;
  readonly mamba: Mamba2Shape;
}

const kinds = t.keyof({ mamba: null, linear_attention: null, attention: null, full_attention: null });

const fields = t.type({
  ...mambaFields,
  num_hidden_layers: layerCount,
  layer_types: optional(t.array(kinds)),
  layers_block_type: optional(t.array(kinds)),
  position_embedding_type: optional(t.keyof({ rope: null, nope: null })),
  shared_intermediate_size: optional(positiveInteger),
  num_local_experts: optional(nonNegativeInteger),
});
type Fields = t.TypeOf<typeof fields>;

const recurrentLayers = (f: Fields): E.Either<FatalError, ReadonlyArray<boolean>> => {
  const types = f.layer_types ?? f.layers_block_type ?? Array.from({ length: f.num_hidden_layers }, () => 'mamba');
  return types.length === f.num_hidden_layers
    ? E.right(types.map((type) => type === 'mamba' || type === 'linear_attention'))
    : E.left(unfit('layer_types', `${f.num_hidden_layers} entries, one a layer`, types));
};

const config = (raw: RawConfig, modelType: string): E.Either<FatalError, GraniteHybridConfig> =>
  pipe(
    decodeFields(fields)(raw),
    E.bindTo('f'),
    E.filterOrElse(
      ({ f }) => (f.num_local_experts ?? 8) === 0,
      ({ f }) => unfit('num_local_experts', '0: experts of Granite 4 are not computed here', f.num_local_experts ?? 8),
    ),
    E.bind('recurrent', ({ f }) => recurrentLayers(f)),
    E.bind('config', ({ f }) =>
      graniteConfig(
        { ...raw, intermediate_size: f.shared_intermediate_size ?? 1024, mlp_bias: null, layer_types: null },
        modelType,
      ),
    ),
    E.bind('mamba', ({ f, config: { rmsNormEps } }) => mambaShape(f, { normEps: rmsNormEps })),
    E.chainFirst(({ recurrent, config: own }) => (recurrent.includes(true) ? onlySilu(own) : E.right(own))),
    E.map(({ f, config: granite, recurrent, mamba }) => ({
      ...granite,
      raw,
      turns: granite.turns.map(() => f.position_embedding_type === 'rope'),
      recurrent,
      mamba,
    })),
  );

const layerAt = (i: number): string => `model.layers.${i}`;

const layer = (c: GraniteHybridConfig, pass: Pass, angles: RotaryAngles, i: number): Layer<Tensor, Tensor> => {
  const normed = (name: string): Layer<Tensor, Tensor> => norm(c, `${layerAt(i)}.${name}`);
  const smaller = scaled(c.residualMultiplier);
  const mixer =
    c.recurrent[i] === true
      ? mamba2(pass, `${layerAt(i)}.mamba`, c.mamba, narrowing(pass, i, c.numLayers))
      : selfAttention(c, pass, angles, i);
  const mlp = joinedMlp(pass, c.activation, `${layerAt(i)}.shared_mlp`, c.intermediateSize, sharedNames);
  return inTurn(
    { pass, i, numLayers: c.numLayers },
    compose(normed('input_layernorm'), mixer, smaller),
    compose(normed('post_attention_layernorm'), mlp, smaller),
  );
};

const sharedNames = { gateUp: 'input_linear', down: 'output_linear' };

const tensors = (c: GraniteHybridConfig): ReadonlyArray<TensorSpec> => {
  const replaced = (name: string): boolean => {
    const [, i, module] = /^model\.layers\.(\d+)\.(mlp|self_attn)\./.exec(name) ?? [];
    return module === 'mlp' || (module === 'self_attn' && c.recurrent[Number(i)] === true);
  };
  return [
    ...llamaTensors(c).filter(({ name }) => !replaced(name)),
    ...perLayer(c.numLayers, (i) => [
      ...(c.recurrent[i] === true ? mamba2Spec(`${layerAt(i)}.mamba`, c.mamba) : []),
      ...linearSpec(`${layerAt(i)}.shared_mlp.input_linear`, 2 * c.intermediateSize, c.hiddenSize, false),
      ...linearSpec(`${layerAt(i)}.shared_mlp.output_linear`, c.hiddenSize, c.intermediateSize, false),
    ]),
  ];
};

export const graniteHybrid: Architecture<GraniteHybridConfig> = {
  ...llama,
  name: 'granitemoehybrid',
  modelTypes: ['granitemoehybrid'],
  config,
  tensors,
  body: (c, pass) => rotaryBody(c, pass, graniteStem(c, pass), (angles, i) => layer(c, pass, angles, i)),
  tail: (c) => compose(norm(c, 'model.norm'), scaled(1 / c.logitsScaling)),
};
