/** `rxtune generate`: continues a text or answers a conversation, writing as it goes. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { lastValueFrom, reduce, tap } from 'rxjs';
import { type DataError, type FatalError, fatalFromData, onlyFatal, usage, warning, type Warning } from '../errors.js';
import {
  boolean,
  fraction,
  nonEmptyString,
  nonNegativeInteger,
  nonNegativeNumber,
  positiveInteger,
  positiveNumber,
  string,
  texts,
} from '../formats/optionCodecs.js';
import { closed, option, optional, required, type ClosedValue } from '../formats/closed.js';
import { decodeExample } from '../formats/examples/example.js';
import { parseJson, readJson } from '../formats/json/json.js';
import { parseJsonExactly } from '../formats/json/writtenNumbers.js';
import { QuantizationConfig } from '../model/quantize/config.js';
import type { Example } from '../records.js';
import { generateText } from '../train/generating/generateText.js';
import { promptTokens } from '../train/generating/promptTokens.js';
import { load, loadOptionsOf } from '../train/loading/load.js';
import { SftConfig } from '../train/options/config.js';
import type { CommandLine } from './command.js';
import { addFlags, flagsGiven } from './flags.js';
import { decodeGiven } from './options.js';
import { tellingHub, tellWarning } from './tell.js';

const { engine, threads, device, precision } = SftConfig.fields;

const Options = closed('generate', {
  model: required(nonEmptyString, 'Directory of the model, or its name on the Hub.'),
  adapter: optional(nonEmptyString, 'Directory of a PEFT adapter to put on it.'),
  prompt: optional(string, 'Text to continue.'),
  messages: optional(
    nonEmptyString,
    'Conversation to answer, as JSON or a file of it: a list of messages, or {"messages": […]}.',
  ),
  maxNewTokens: option(positiveInteger, 256, 'Tokens written at most.'),
  stop: optional(
    texts,
    'Text at which it ends, the last that is written. As it stands, commas and all; again for each further one.',
  ),
  includeStop: option(boolean, true, 'Whether the stop text itself is written.'),
  temperature: option(nonNegativeNumber, 0, '0: the likeliest token each time; above: draw from the distribution.'),
  topK: optional(positiveInteger, 'Draw among the k likeliest tokens only.'),
  topP: option(fraction, 1, 'Draw among the likeliest tokens that together have this probability.'),
  minP: option(fraction, 0, 'Draw among tokens at least this many times as likely as the likeliest.'),
  minNewTokens: option(nonNegativeInteger, 0, 'Tokens before which the text does not end.'),
  repetitionPenalty: option(positiveNumber, 1, 'Above 1: tokens seen before become less likely.'),
  seed: option(nonNegativeInteger, 0, 'Seed of the draws.'),
  engine,
  threads,
  device,
  precision,
  ...QuantizationConfig.fields,
});

type Options = ClosedValue<typeof Options>;

/** A conversation that the model has no template for is asked otherwise than it would be trained on. */
const unasked = (error: DataError): FatalError =>
  fatalFromData(
    error.code === 'E_NO_CHAT_TEMPLATE'
      ? {
          ...error,
          message: 'the tokenizer has no chat template to ask a conversation with',
          hint: 'put chat_template into tokenizer_config.json beside the model, or give the text itself with --prompt',
        }
      : error,
  );

const ofCall = ({ code, message, details }: FatalError): FatalError => usage(code, message, details);

/** Of JSON as it stands, which begins with a bracket, or of a file. */
const conversation = (given: string): TaskEither<FatalError, Example> => {
  const reader = { parse: parseJsonExactly };
  const isJson = /^\s*[[{]/.test(given);
  return pipe(
    isJson ? TE.fromEither(E.mapLeft(ofCall)(parseJson(given, '--messages', reader))) : readJson(given, reader),
    TE.flatMapEither(
      (value): Either<FatalError, Example> =>
        E.mapLeft(fatalFromData)(
          decodeExample(Array.isArray(value) ? { messages: value as unknown } : value, isJson ? {} : { file: given }),
        ),
    ),
  );
};

const nothingWritten = ({ messages }: Options): Warning =>
  warning('W_NOTHING_WRITTEN', 'the model ended its text at once, and nothing was written', {
    ...(messages === undefined ? { hint: 'a model that learned conversations is asked with --messages' } : {}),
  });

const asked = ({ prompt, messages }: Options): TaskEither<FatalError, Example> => {
  if (prompt !== undefined && messages !== undefined) {
    return TE.left(usage('E_USAGE', '--prompt and --messages exclude each other', { hint: 'give one of them' }));
  }
  if (messages !== undefined) return conversation(messages);
  return prompt === undefined
    ? TE.left(
        usage('E_USAGE', 'nothing to continue', {
          hint: 'give --prompt TEXT, or --messages with JSON or a file of it',
        }),
      )
    : TE.right({ kind: 'text', text: prompt });
};

export const generateCommand: CommandLine = {
  flags: (command) => addFlags(command, Options.fields, { heading: 'Options:' }),
  run: (command, { out, err }): TaskEither<FatalError, void> =>
    pipe(
      TE.fromEither(decodeGiven({ flags: flagsGiven(command, Options.fields) }, Options.decode)),
      TE.bindTo('options'),
      TE.bind('example', ({ options }) => asked(options)),
      TE.bind('loaded', ({ options }) =>
        load(options.model, { ...loadOptionsOf(options), adapterDir: options.adapter, hub: tellingHub(err) }),
      ),
      TE.bind('ids', ({ loaded, example }) =>
        TE.fromEither(
          E.mapLeft(unasked)(promptTokens({ tokenizer: loaded.tokenizer, warn: tellWarning(err) })(example)),
        ),
      ),
      TE.filterOrElse(
        ({ ids }) => ids.length > 0,
        () => usage('E_USAGE', 'the prompt makes no token to start from', { hint: 'give a longer text' }),
      ),
      TE.flatMap(({ loaded, ids, options }) => {
        loaded.warnings.forEach(tellWarning(err));
        const { maxNewTokens, minNewTokens, temperature, topK, topP, minP, repetitionPenalty, seed } = options;
        const { stop, includeStop } = options;
        const drawing = { temperature, topK, topP, minP, repetitionPenalty, seed };
        const text = generateText(loaded, ids, { maxNewTokens, minNewTokens, ...drawing, stop, includeStop });
        return TE.tryCatch(async () => {
          const written = text.pipe(
            tap((piece) => out.write(piece)),
            reduce((length, piece) => length + piece.length, 0),
          );
          const length = await lastValueFrom(written);
          out.write('\n');
          if (length === 0) tellWarning(err)(nothingWritten(options));
        }, onlyFatal);
      }),
    ),
};
