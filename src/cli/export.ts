/** `rxtune export`: a model, its adapter added in, in the form that other software reads. */
import { basename, resolve } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal } from '../errors.js';
import type { FatalError } from '../errors.js';
import { closed, nonEmptyString, oneOf, option, optional, required } from '../formats/closed.js';
import { mergeAndUnload } from '../model/adapters/merge.js';
import type { CausalLM } from '../model/causalLm.js';
import { loadParts } from '../train/loading/load.js';
import { SftConfig } from '../train/options/config.js';
import { exportGguf } from '../train/saving/exportGguf.js';
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
    oneOf('gguf', 'safetensors'),
    'gguf',
    'gguf: one file for llama.cpp; safetensors: a directory for transformers.',
  ),
  outtype: option(oneOf('f32', 'f16', 'q8_0'), 'f16', 'Numbers of the matrices in a GGUF file.'),
  out: required(nonEmptyString, 'File (gguf) or directory (safetensors) to write.'),
  engine,
  threads,
});

const plain = (model: CausalLM): E.Either<FatalError, CausalLM> =>
  model.lora === undefined ? E.right(model) : E.Functor.map(mergeAndUnload(model), (merged) => merged.model);

export const exportCommand: CommandLine = {
  flags: (command) => addFlags(command, Options.fields, 'Options:'),
  run: (command, { err }): TaskEither<FatalError, void> =>
    pipe(
      TE.fromEither(decodeGiven({ flags: flagsGiven(command, Options.fields) }, Options.decode)),
      TE.bindTo('options'),
      TE.bind('loaded', ({ options: { model, adapter: adapterDir, engine: asked, threads: count } }) =>
        loadParts(model, { engine: asked, threads: count, adapterDir, hub: tellingHub(err) }),
      ),
      TE.tapIO(({ loaded }) => () => {
        tellLocated(err, loaded.located);
        loaded.warnings.forEach(tellWarning(err));
      }),
      TE.bind('whole', ({ loaded: { model } }) => TE.fromEither(plain(model))),
      TE.bind('warnings', ({ options, loaded: { tokenizer }, whole }) => {
        if (options.format === 'safetensors')
          return pipe(
            saveModel(options.out, whole, { tokenizer }),
            TE.map(() => []),
          );
        return tokenizer === undefined
          ? TE.left(
              fatal('E_NO_TOKENIZER', 'a GGUF file holds the tokenizer too, and there is none', {
                file: options.model,
                expected: 'tokenizer.json',
              }),
            )
          : exportGguf(
              options.out,
              { model: whole, tokenizer },
              { outtype: options.outtype, name: basename(resolve(options.adapter ?? options.model)) },
            );
      }),
      TE.map(({ options, warnings }) => {
        warnings.forEach(tellWarning(err));
        err.write(`written to ${options.out}\n`);
      }),
    ),
};
