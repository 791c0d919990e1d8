/** Generation as a stream: ids, or the text they make. */
import { defer, type Observable, throwError } from 'rxjs';
import { among, checked } from '../../checked.js';
import { fatal, isFatal, usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import type { CausalLM } from '../../model/model.js';
import { endIds, generate, type GenerateOptions } from '../../model/generate.js';
import { pull } from '../../streams/pull.js';
import type { ModelWithTokenizer } from '../loading/load.js';
import { decodePieces } from './decodePieces.js';
import { specialStops, untilStop } from './stopStrings.js';
import { generateOptionNames } from '../../model/generate.js';

/** What generation throws as the error of a stream: a wrong prompt or option is the caller's (`E_GENERATE`). */
const generationFailed = (cause: unknown): FatalError =>
  isFatal(cause)
    ? cause
    : (cause instanceof RangeError ? usage : fatal)(
        'E_GENERATE',
        `nothing can be generated: ${cause instanceof Error ? cause.message : String(cause)}`,
        { cause },
      );

async function* told(ids: AsyncGenerator<number, void, undefined>): AsyncGenerator<number, void, undefined> {
  try {
    yield* ids;
  } catch (cause) {
    throw generationFailed(cause);
  }
}

/**
 * The ids a model continues a prompt with, each as soon as it is known. Leaving ends the generation. Errors: `E_GENERATE` for a prompt or
 * options that `generate` refuses, and where the engine fails; `E_NON_FINITE` where no token can be chosen.
 */
export const generateIds = checked(
  'generateIds',
  (fault) => throwError(() => fault),
  { 2: generateOptionNames },
  (model: CausalLM, promptIds: Int32Array, options: GenerateOptions = {}): Observable<number> =>
    defer(() => pull(told(generate(model, promptIds, options)))),
);

/** How a text is continued, and at which texts it ends. */
export interface GenerateTextOptions extends GenerateOptions {
  /**
   * Generation ends as soon as its text holds one of these, which is the last that is given (`stop_strings` of transformers; what the
   * last token has beyond it is cut off). A special token among them ends it too, unseen. The prompt does not count.
   */
  readonly stop?: string | ReadonlyArray<string> | undefined;
  /** Whether the stop string itself is given. Default true, as in transformers. */
  readonly includeStop?: boolean | undefined;
}

const stopStrings = ({ stop = [] }: GenerateTextOptions): ReadonlyArray<string> =>
  typeof stop === 'string' ? [stop] : stop;

/** Every text holds it, so that nothing would be given. */
const emptyStop = usage('E_GENERATE', 'one of the stop strings is empty', {
  field: 'stop',
  expected: 'texts of at least one character',
  actual: '""',
});

/**
 * The text a model continues a prompt with: a piece a token, empty where the token is not shown (end-of-sequence and other special ones) or
 * ends within a character, and what is left at the end. Texts of one model that are subscribed to at the same time are generated as a batch.
 * Nothing that follows a stop string is ever given. Errors are those of `generateIds`; `E_GENERATE` for an empty stop string, too.
 */
export const generateText = checked(
  'generateText',
  (fault) => throwError(() => fault),
  {
    0: among({ model: 'required', tokenizer: 'required' }),
    2: { ...generateOptionNames, stop: 'optional', includeStop: 'optional' },
  },
  (
    { model, tokenizer }: ModelWithTokenizer,
    promptIds: Int32Array,
    options: GenerateTextOptions = {},
  ): Observable<string> => {
    const { stop: _stop, includeStop = true, ...decoding } = options;
    const stop = stopStrings(options);
    if (stop.includes('')) return throwError(() => emptyStop);
    const own = tokenizer.eosTokenId === undefined ? [] : [tokenizer.eosTokenId];
    const stopIds = [...(options.stopIds ?? [...endIds(model), ...own]), ...specialStops(tokenizer, stop)];
    const pieces = generateIds(model, promptIds, { ...decoding, stopIds }).pipe(decodePieces(tokenizer));
    return stop.length === 0 ? pieces : pieces.pipe(untilStop({ stop, includeStop }));
  },
);
