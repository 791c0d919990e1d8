/** Held-out prompts answered greedily, to see what the numbers mean: what the model says, and whether it knows when to stop. */
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { besideLoaded, checked } from '../../checked.js';
import { fatal, isFatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import type { Tokenizer } from '../../formats/tokenizing/tokenizer.js';
import type { CausalLM } from '../../model/model.js';
import { endIds, generate } from '../../model/generate.js';
import { ignoreIndex } from '../../records.js';
import type { Labelled } from '../../records.js';
import type { RowNames } from '../preparing/rowNames.js';
import { specialStops, untilStopText } from './stopStrings.js';

/** What a model said to a prompt it was not trained on. */
export interface Sample {
  /** Index of the evaluation row that the prompt is of. */
  readonly row: number;
  readonly prompt: string;
  /** What the row says there; with stop strings, before the first of them. */
  readonly expected: string;
  /** What the model says; a stop string and what follows it are left out. */
  readonly text: string;
  /** Whether it ended by itself, with a stop token or string, rather than at the limit. */
  readonly stopped: boolean;
  /** Whether it is what was expected, white space at the ends aside. */
  readonly exact: boolean;
  /** Tokens given, the stop token included. */
  readonly numTokens: number;
}

/** A prompt that a prepared row holds, and the answer that it has there, both as ids. */
export interface Question {
  /** Ids that the model is asked with. */
  readonly prompt: Int32Array;
  /** Ids of the answer that stands there. */
  readonly expected: Int32Array;
}

const isAnswer = (role: string | undefined): boolean => role === 'assistant' || role === 'completion';

/** Where the last answer of a document begins and ends; of a text that is no conversation, its second half. */
const lastAnswer = (row: Labelled, length: number, names: RowNames | undefined): readonly [number, number] => {
  const trained = (t: number): boolean => (row.labels[t] ?? ignoreIndex) !== ignoreIndex;
  const answers = (t: number): boolean => isAnswer(names?.roles.nameOf(row.roles?.[t] ?? 0));
  const stretch = (inside: (t: number) => boolean): readonly [number, number] => {
    let end = length;
    while (end > 0 && !inside(end - 1)) end--;
    let start = end;
    while (start > 0 && inside(start - 1)) start--;
    return [start, end];
  };
  const [start, end] = stretch(trained);
  // With every token trained, the labels do not tell where an answer begins; the roles may.
  if (start > 1) return [start, end];
  const [from, to] = stretch((t) => trained(t) && answers(t));
  return from > 1 ? [from, to] : [Math.ceil(length / 2), length];
};

/** The last answer of a row's first document, and what comes before it. Undefined for a document too short to ask about. */
export const questionOf = (row: Labelled, names?: RowNames): Question | undefined => {
  const [length = row.inputIds.length] = row.seqLengths;
  if (length < 2) return undefined;
  const [start, end] = lastAnswer(row, length, names);
  return { prompt: row.inputIds.slice(0, start), expected: row.inputIds.slice(start, end) };
};

/** Text of ids as a reader wants it; ids themselves where there is no tokenizer. */
const textOf = (
  tokenizer: Pick<Tokenizer, 'decode'> | undefined,
  ids: Int32Array,
  skipSpecialTokens: boolean,
): string => tokenizer?.decode(ids, { skipSpecialTokens }) ?? ids.join(' ');

/** What ends an answer: the model's and the tokenizer's end-of-sequence, and the special token that ends the expected one. */
const stopsOf = (model: CausalLM, tokenizer: Tokenizer | undefined, expected: Int32Array): ReadonlyArray<number> => {
  const last = expected.at(-1);
  const special = last !== undefined && tokenizer?.decode([last], { skipSpecialTokens: true }) === '';
  return [
    ...endIds(model),
    ...(tokenizer?.eosTokenId === undefined ? [] : [tokenizer.eosTokenId]),
    ...(special ? [last] : []),
  ];
};

/** How prompts are answered. */
export interface SampleOptions {
  /** Makes texts of ids; without it the ids stand in their place. */
  readonly tokenizer?: Tokenizer | undefined;
  /** Tokens an answer may have. */
  readonly maxNewTokens: number;
  /** Texts before which an answer ends, none of them empty. They need the tokenizer. */
  readonly stop?: ReadonlyArray<string> | undefined;
}

/** The model's greedy answer to a question. */
const answer = async (
  model: CausalLM,
  row: number,
  { prompt, expected }: Question,
  { tokenizer, maxNewTokens, stop: asked = [] }: SampleOptions,
): Promise<Sample> => {
  const stop = tokenizer === undefined ? [] : asked;
  const special = tokenizer === undefined ? [] : specialStops(tokenizer, stop);
  const stopIds = [...stopsOf(model, tokenizer, expected), ...special];
  const before = (text: string): string => untilStopText(text, { stop, includeStop: false });
  const ids: Array<number> = [];
  const spoken = (): string => textOf(tokenizer, Int32Array.from(ids), true);
  for await (const id of generate(model, prompt, { stopIds, maxNewTokens })) {
    ids.push(id);
    if (stop.length > 0 && before(spoken()) !== spoken()) break;
  }
  const said = spoken();
  const text = before(said);
  const wanted = before(textOf(tokenizer, expected, true));
  const last = ids.at(-1);
  return {
    row,
    prompt: textOf(tokenizer, prompt, false),
    expected: wanted,
    text,
    stopped: text !== said || (last !== undefined && stopIds.includes(last)),
    exact: text.trim() === wanted.trim(),
    numTokens: ids.length,
  };
};

/** How the questions of rows are found and answered. */
export interface AnswerRowsOptions extends SampleOptions {
  /** How many questions are asked, at most. */
  readonly count: number;
  /** The names behind the numbers of roles: they tell where an answer begins in a row all of which is trained. */
  readonly names?: RowNames | undefined;
}

/** Answers to the first `count` questions that the rows hold, one after another. `E_GENERATE` when the engine fails, `E_NON_FINITE` of logits. */
export const answerRows = checked(
  'answerRows',
  TE.left,
  {
    2: {
      ...besideLoaded,
      count: 'required',
      tokenizer: 'optional',
      maxNewTokens: 'required',
      stop: 'optional',
      names: 'optional',
    },
  },
  (
    model: CausalLM,
    rows: ReadonlyArray<Labelled>,
    options: AnswerRowsOptions,
  ): TaskEither<FatalError, ReadonlyArray<Sample>> =>
    TE.tryCatch(
      async () => {
        const samples: Array<Sample> = [];
        for (const [index, row] of rows.entries()) {
          if (samples.length >= options.count) break;
          const question = questionOf(row, options.names);
          if (question !== undefined) samples.push(await answer(model, index, question, options));
        }
        return samples;
      },
      (cause) =>
        isFatal(cause)
          ? cause
          : fatal(
              'E_GENERATE',
              `the model could not answer: ${cause instanceof Error ? cause.message : String(cause)}`,
              {
                cause,
              },
            ),
    ),
);
