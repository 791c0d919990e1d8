/** A model as one GGUF file, for llama.cpp and what is built on it. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { besideLoaded, checked } from '../../checked.js';
import { fatal, usage } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import { float32s } from '../../formats/gguf/values.js';
import type { GgufMetadata, GgufType } from '../../formats/gguf/values.js';
import { ggufVocabulary } from '../../formats/gguf/vocabulary.js';
import { fittingType, writeGguf } from '../../formats/gguf/writeGguf.js';
import type { GgufTensorToWrite } from '../../formats/gguf/writeGguf.js';
import type { Tokenizer } from '../../formats/tokenizing/tokenizer.js';
import { endIds } from '../../model/generate.js';
import type { CausalLM } from '../../model/model.js';
import { arranged } from '../../model/gguf/arranged.js';
import { arrangedShape, asIs } from '../../model/gguf/layout.js';
import type { GgufLayout, GgufTensor } from '../../model/gguf/layout.js';
import { ggufLayout } from '../../model/gguf/layouts.js';
import { ggufGeneral } from './ggufGeneral.js';
import type { GgufOptions } from './ggufGeneral.js';

/** Vectors, norms, positions, which ggml adds as they lie, routers, which choose by small differences, convolutions, and what mixes streams. */
const staysExact = (name: string, shape: ReadonlyArray<number>): boolean =>
  shape.length === 1 ||
  name === 'position_embd.weight' ||
  name.endsWith('_norm.weight') ||
  !name.endsWith('.weight') ||
  /\.(?:ssm_conv1d|shortconv\.conv|altup_(?:correct|predict)_coef)\.weight$/.test(name) ||
  /\.ffn_gate_inp(?:_shexp)?\.weight$/.test(name);

const weightOf = ({ weights }: CausalLM, source: string): E.Either<FatalError, Tensor> => {
  const weight = weights[source];
  return weight === undefined
    ? E.left(
        fatal('E_WEIGHTS_MISSING', `the model does not hold "${source}" as numbers`, {
          expected: 'a model without quantised weights',
          hint: 'load it without loadIn4bit and loadIn8bit',
        }),
      )
    : E.right(weight);
};

const toWrite = (
  model: CausalLM,
  type: GgufType,
  { sources, name, arrangement: asStored }: GgufTensor,
): E.Either<FatalError, GgufTensorToWrite> =>
  pipe(
    sources,
    E.traverseArray((source) => weightOf(model, source)),
    E.map((weights) => {
      // Quantised weights lie outputs first, those of Conv1D too.
      const lies = asStored.kind === 'transposed' && model.quantized?.scales[sources[0] ?? ''] !== undefined;
      const arrangement = lies ? asIs : asStored;
      const shape = weights[0]?.shape ?? [];
      const turned = arrangedShape(shape, arrangement);
      return {
        name,
        shape: sources.length === 1 ? turned : [sources.length, ...turned],
        type: staysExact(name, turned) ? 'f32' : fittingType(type, turned),
        parts: weights.map(
          (weight) => async () => arranged(await weight.data<'float32'>(), weight.shape, arrangement).values,
        ),
      };
    }),
  );

/** Weights that are metadata there. */
const toldOf = (model: CausalLM, { told = [] }: GgufLayout): TaskEither<FatalError, GgufMetadata> =>
  pipe(
    told,
    TE.traverseArray(({ name, sources }) =>
      pipe(
        sources,
        E.traverseArray((source) => weightOf(model, source)),
        TE.fromEither,
        TE.flatMap((weights) => TE.fromTask(() => Promise.all(weights.map((weight) => weight.data<'float32'>())))),
        TE.map((values) => [name, float32s(values.flatMap((own) => Array.from(own)))] as const),
      ),
    ),
    TE.map((entries) => Object.fromEntries(entries)),
  );

/** What becomes part of a GGUF file beside the model. */
export interface ExportGgufOptions extends GgufOptions {
  /** Its vocabulary, special tokens and chat template stand in the file. */
  readonly tokenizer: Tokenizer;
}

/**
 * Writes the model with its tokenizer as a GGUF file (version 3), whole or not at all. Resolves to what llama.cpp does otherwise
 * than this library. `E_GGUF_UNSUPPORTED` for a model that llama.cpp does not run, `E_GGUF_TOKENIZER` for such a tokenizer,
 * `E_LORA_PRESENT` for a model whose adapter has not been merged.
 */
export const exportGguf = checked(
  'exportGguf',
  TE.left,
  { 2: { ...besideLoaded, tokenizer: 'required', outtype: 'optional', name: 'optional' } },
  (
    file: string,
    model: CausalLM,
    { tokenizer, outtype = 'f16', name }: ExportGgufOptions,
  ): TaskEither<FatalError, ReadonlyArray<Warning>> =>
    pipe(
      model.lora === undefined
        ? E.right(undefined)
        : E.left(usage('E_LORA_PRESENT', 'the model carries an adapter', { hint: 'merge it first' })),
      E.bind('layout', () => ggufLayout(model.config, model.weights)),
      E.bind('vocabulary', ({ layout: { architecture } }) => {
        const { vocabSize: rows, bosTokenId } = model.config;
        return ggufVocabulary(tokenizer, { rows, bosTokenId, endIds: endIds(model), architecture, name });
      }),
      E.bind('tensors', ({ layout }) =>
        E.traverseArray((tensor: GgufTensor) => toWrite(model, outtype, tensor))(layout.tensors),
      ),
      TE.fromEither,
      TE.bind('told', ({ layout }) => toldOf(model, layout)),
      TE.tap(({ layout, told, vocabulary, tensors }) =>
        writeGguf(
          file,
          {
            ...ggufGeneral('model', layout.architecture, outtype, vocabulary.named === false ? undefined : name),
            ...layout.metadata,
            ...told,
            ...vocabulary.metadata,
          },
          [
            ...tensors,
            ...layout.extra.map(({ name: extra, values }) => ({
              name: extra,
              shape: [values.length],
              type: 'f32' as const,
              parts: [() => Promise.resolve(values)],
            })),
          ],
        ),
      ),
      TE.map(({ layout, vocabulary }) => [...layout.warnings, ...vocabulary.warnings]),
    ),
);
