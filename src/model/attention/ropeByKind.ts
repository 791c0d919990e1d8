/** Models whose layers that see a window turn otherwise than those that see all: Gemma 3, OLMo 3. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import { llamaStem } from '../architectures/llama.js';
import type { LlamaConfig } from '../architectures/llama.js';
import { optional, positive, unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import { rotaryBody } from '../layers/blocks.js';
import { holding } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import type { Pass } from '../pass.js';
import type { Sequence } from '../sequence.js';
import { rotaryAngles } from './rope.js';
import { ropeConfig } from './ropeConfig.js';
import type { RotaryAngles } from './rope.js';
import type { RopeConfig } from './ropeConfig.js';

export interface RopeByKind extends LlamaConfig {
  /** How layers that see a window turn; the others turn as `rope` says. */
  readonly localRope: RopeConfig;
}

const someFields = optional(t.UnknownRecord);

/** Rotary fields in their old form and their new. */
export const ropeByKindFields = {
  rope_theta: optional(positive),
  rope_scaling: someFields,
  rope_parameters: optional(t.type({ full_attention: someFields, sliding_attention: someFields }, 'an object of two')),
} as const;

const kinds = ['full_attention', 'sliding_attention'];

/** Refuses a window of null, which transformers cannot run either, and rotary parameters that are not those of the two kinds of layers. */
export const onlyByKind = (raw: RawConfig): E.Either<FatalError, RawConfig> => {
  if (raw['sliding_window'] === null) return E.left(unfit('sliding_window', 'a whole number > 0', null));
  const rope = raw['rope_parameters'];
  const stray = t.UnknownRecord.is(rope) ? Object.keys(rope).find((key) => !kinds.includes(key)) : undefined;
  return stray === undefined
    ? E.right(raw)
    : E.left(unfit('rope_parameters', `an object of ${kinds.join(' and ')}`, rope));
};

/** The rotary part of each kind of layer, as a file of its own would have it. */
export const ropesOf = (
  f: t.TypeOf<t.TypeC<typeof ropeByKindFields>>,
  theta: { readonly full: number; readonly sliding: number },
): { readonly full: RawConfig; readonly sliding: RawConfig } => ({
  full: {
    rope_theta: f.rope_theta ?? theta.full,
    rope_parameters: { ...f.rope_parameters?.full_attention, ...f.rope_scaling },
  },
  sliding: { rope_theta: theta.sliding, rope_parameters: f.rope_parameters?.sliding_attention },
});

/** How layers that see a window turn, of their part as `ropesOf` gives it. `E_MODEL_CONFIG` also where heads turn in part. */
export const localRopeOf = (
  sliding: RawConfig,
  { headDim, maxPositions }: Pick<LlamaConfig, 'headDim' | 'maxPositions'>,
): E.Either<FatalError, RopeConfig> =>
  pipe(
    ropeConfig(sliding, { headDim, maxPositions }),
    E.filterOrElse(
      ({ rotaryDim }) => rotaryDim === headDim,
      ({ rotaryDim }) =>
        unfit(
          'rope_parameters.sliding_attention.partial_rotary_factor',
          '1: heads turn as a whole',
          rotaryDim / headDim,
        ),
    ),
  );

/** The body of such a model: `layer` is given the angles of its kind. */
export const byKindBody = (
  config: RopeByKind,
  pass: Pass,
  layer: (angles: RotaryAngles, i: number) => Layer<Tensor, Tensor>,
): Layer<Sequence, Tensor> =>
  holding(
    (sequence) => rotaryAngles(config.localRope, sequence),
    (local) =>
      rotaryBody(config, pass, llamaStem(config, pass), (global, i) =>
        layer((config.windows[i] ?? 0) === 0 ? global : local, i),
      ),
  );
