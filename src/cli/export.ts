/** `rxtune export`: a model, its adapter added in, or the adapter alone, in the form that other software reads. */
import { basename, resolve } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal, usage } from '../errors.js';
import type { FatalError, Warning } from '../errors.js';
import { closed, option, optional, required } from '../formats/closed.js';
import { nonEmptyString, oneOf } from '../formats/optionCodecs.js';
import type { ClosedValue } from '../formats/closed.js';
import { mergeAndUnload } from '../model/adapters/merge.js';
import type { CausalLM } from '../model/model.js';
import { loadParts } from '../train/loading/load.js';
import type { LoadedParts } from '../train/loading/load.js';
import { SftConfig } from '../train/options/config.js';
import { exportGguf } from '../train/saving/exportGguf.js';
import { exportGgufAdapter } from '../train/saving/exportGgufAdapter.js';
import { saveModel } from '../train/saving/save.js';
import type { CommandLine } from './command.js';
import { addFlags, flagsGiven } from './flags.js';
import { decodeGiven } from './options.js';
import { tellingHub, tellLocated, tellWarning } from './tell.js';

const { engine, threads } = SftConfig.fields;

const Options = closed('export', {
  model: required(nonEmptyString, 'Directory of the model, or its name on the Hub.'),
  adapter: optional(nonEmptyString, 'Directory of a PEFT adapter, which is added in.'),
  format: option(
    oneOf('gguf', 'gguf-lora', 'safetensors'),
    'gguf',
    'gguf: one file for llama.cpp; gguf-lora: the adapter alone, for its --lora; safetensors: a directory for transformers.',
  ),
  outtype: option(oneOf('f32', 'f16', 'bf16', 'q8_0'), 'f16', 'Numbers of the matrices in a GGUF file.'),
  out: required(nonEmptyString, 'File (gguf, gguf-lora) or directory (safetensors) to write.'),
  engine,
  threads,
});

const plain = (model: CausalLM): E.Either<FatalError, CausalLM> =>
  model.lora === undefined ? E.right(model) : E.Functor.map(mergeAndUnload(model), (merged) => merged.model);

const written = (
  { model, adapter, format, outtype, out }: ClosedValue<typeof Options>,
  loaded: LoadedParts,
): TaskEither<FatalError, ReadonlyArray<Warning>> => {
  const name = basename(resolve(adapter ?? model));
  if (format === 'gguf-lora') return TE.Functor.map(exportGgufAdapter(out, loaded.model, { outtype, name }), () => []);
  const { tokenizer } = loaded;
  return pipe(
    TE.fromEither(plain(loaded.model)),
    TE.flatMap((whole) => {
      if (format === 'safetensors')
        return pipe(
          saveModel(out, whole, { tokenizer }),
          TE.map(() => []),
        );
      return tokenizer === undefined
        ? TE.left(
            fatal('E_NO_TOKENIZER', 'a GGUF file holds the tokenizer too, and there is none', {
              file: model,
              expected: 'tokenizer.json',
            }),
          )
        : exportGguf(out, whole, { tokenizer, outtype, name });
    }),
  );
};

export const exportCommand: CommandLine = {
  flags: (command) => addFlags(command, Options.fields, { heading: 'Options:' }),
  run: (command, { err }): TaskEither<FatalError, void> =>
    pipe(
      TE.fromEither(decodeGiven({ flags: flagsGiven(command, Options.fields) }, Options.decode)),
      TE.filterOrElse(
        // Said before a large model is read.
        ({ format, adapter }) => format !== 'gguf-lora' || adapter !== undefined,
        () => usage('E_USAGE', '--format gguf-lora writes an adapter, and none is named', { hint: 'give --adapter' }),
      ),
      TE.bindTo('options'),
      TE.bind('loaded', ({ options: { model, adapter: adapterDir, engine: asked, threads: count } }) =>
        loadParts(model, { engine: asked, threads: count, adapterDir, hub: tellingHub(err) }),
      ),
      TE.tapIO(({ loaded }) => () => {
        tellLocated(err, loaded.located);
        loaded.warnings.forEach(tellWarning(err));
      }),
      TE.bind('warnings', ({ options, loaded }) => written(options, loaded)),
      TE.map(({ options, warnings }) => {
        warnings.forEach(tellWarning(err));
        err.write(`written to ${options.out}\n`);
      }),
    ),
};
