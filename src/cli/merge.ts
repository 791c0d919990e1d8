/** `rxtune merge`: a model with its adapter's weights added in. */
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../errors.js';
import { closed, required } from '../formats/closed.js';
import { nonEmptyString } from '../formats/optionCodecs.js';
import { mergeAndUnload } from '../model/adapters/merge.js';
import { QuantizationConfig } from '../model/quantize/config.js';
import { loadOptionsOf, loadParts } from '../train/loading/load.js';
import { SftConfig } from '../train/options/config.js';
import { saveModel } from '../train/saving/save.js';
import type { CommandLine } from './command.js';
import { addFlags, flagsGiven } from './flags.js';
import { decodeGiven } from './options.js';
import { tellingHub, tellLocated, tellWarning } from './tell.js';

const { engine, threads } = SftConfig.fields;

const Options = closed('merge', {
  model: required(nonEmptyString, 'Directory of the model, or its name on the Hub.'),
  adapter: required(nonEmptyString, 'Directory of the PEFT adapter.'),
  outputDir: required(nonEmptyString, 'Directory to write the merged model to.'),
  engine,
  threads,
  ...QuantizationConfig.fields,
});

export const mergeCommand: CommandLine = {
  flags: (command) => addFlags(command, Options.fields, { heading: 'Options:' }),
  run: (command, { err }): TaskEither<FatalError, void> =>
    pipe(
      TE.fromEither(decodeGiven({ flags: flagsGiven(command, Options.fields) }, Options.decode)),
      TE.bindTo('options'),
      TE.bind('loaded', ({ options }) =>
        loadParts(options.model, { ...loadOptionsOf(options), adapterDir: options.adapter, hub: tellingHub(err) }),
      ),
      TE.tapIO(({ loaded }) => () => {
        tellLocated(err, loaded.located);
        loaded.warnings.forEach(tellWarning(err));
      }),
      TE.bind('merged', ({ loaded: { model } }) => TE.fromEither(mergeAndUnload(model))),
      TE.tap(({ options, loaded: { tokenizer }, merged }) => saveModel(options.outputDir, merged.model, { tokenizer })),
      TE.map(({ options, merged }) => {
        merged.warnings.forEach(tellWarning(err));
        err.write(`written to ${options.outputDir}\n`);
      }),
    ),
};
