/** An adapter as one small GGUF file, which llama.cpp adds to the file of the model while it runs. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { checked } from '../../checked.js';
import type { FatalError } from '../../errors.js';
import { float32, string } from '../../formats/gguf/values.js';
import type { GgufType } from '../../formats/gguf/values.js';
import { fittingType, sizeOf, writeGguf } from '../../formats/gguf/writeGguf.js';
import type { GgufTensorToWrite } from '../../formats/gguf/writeGguf.js';
import type { CausalLM } from '../../model/model.js';
import { ggufAdapter } from '../../model/gguf/adapter.js';
import type { GgufHalf } from '../../model/gguf/adapter.js';
import { arranged } from '../../model/gguf/arranged.js';
import { ggufLayout } from '../../model/gguf/layouts.js';
import { ggufGeneral } from './ggufGeneral.js';
import type { GgufOptions } from './ggufGeneral.js';

const toWrite =
  ({ weights }: CausalLM, type: GgufType) =>
  ({ name, sources, shape, arrangement, factor, factorsOf }: GgufHalf): GgufTensorToWrite => ({
    name,
    shape: sources.length === 1 ? shape : [sources.length, ...shape],
    type: fittingType(type, shape),
    parts: sources.map((source, part) => async () => {
      const half = source === undefined ? undefined : weights[source];
      if (half === undefined) return new Float32Array(sizeOf(shape));
      const { values } = arranged(await half.data<'float32'>(), half.shape, arrangement);
      const own = factorsOf === undefined ? 1 : ((await weights[factorsOf]?.data<'float32'>())?.[part] ?? 1);
      const times = factor * own;
      return times === 1 ? values : values.map((value) => value * times);
    }),
  });

/**
 * Writes the model's adapter, and nothing of the model, as a GGUF file (version 3) for `llama-cli --lora` and what is built on
 * llama.cpp, whole or not at all. The model that it is added to there is the same base, of any types (`exportGguf`).
 * `E_LORA_ABSENT` for a model without an adapter, `E_GGUF_UNSUPPORTED` for a model that llama.cpp does not run and for adapters that
 * are more than two halves of a weight: DoRA, `bias`, `modulesToSave`, rows of tokens.
 */
export const exportGgufAdapter = checked(
  'exportGgufAdapter',
  TE.left,
  { 2: { outtype: 'optional', name: 'optional' } },
  (file: string, model: CausalLM, { outtype = 'f16', name }: GgufOptions = {}): TaskEither<FatalError, void> =>
    pipe(
      ggufLayout(model.config, model.weights),
      E.bindTo('layout'),
      E.bind('adapter', ({ layout }) => ggufAdapter(model, layout)),
      TE.fromEither,
      TE.flatMap(({ layout: { architecture }, adapter: { alpha, halves } }) =>
        writeGguf(
          file,
          {
            ...ggufGeneral('adapter', architecture, outtype, name),
            'adapter.type': string('lora'),
            'adapter.lora.alpha': float32(alpha),
          },
          halves.map(toWrite(model, outtype)),
        ),
      ),
    ),
);
