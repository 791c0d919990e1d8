/** What became of the rows of a block on their way to labels, as a value that can cross threads and be told in its turn. */
import type { Either } from 'fp-ts/lib/Either.js';
import type { DataError, FatalError, Warning } from '../../../errors.js';
import { rowsOfBlock } from '../../../formats/datasets/jsonlRows.js';
import type { RowBlock } from '../../../formats/datasets/rowBlocks.js';
import { placeOfRow } from '../../../formats/datasets/sourced.js';
import { decodeRow } from '../../../operators/decode.js';
import { formatRow } from '../../../operators/format.js';
import { maskCompletionsRow } from '../../../operators/maskCompletions.js';
import { tokenizeRow } from '../../../operators/tokenize.js';
import type { Labelled } from '../../../records.js';
import { bugIn } from '../../../streams/operator.js';
import { rowPath } from '../rowPath.js';
import type { RowPathConfig, RowPathSetup } from '../rowPath.js';
import { tokenizedOnly } from '../tokenizedOnly.js';

/** A warning, and how many stages had seen the row by then. */
export interface Warned {
  readonly after: number;
  readonly warning: Warning;
}

export interface Outcome {
  /** The row as it came, or at least where from. */
  readonly source: unknown;
  /** How many of the stages saw the row. */
  readonly saws: number;
  readonly warned: ReadonlyArray<Warned>;
  /** Tokens the row was made to, before anything was cut; -1 when it did not come to that. */
  readonly tokens: number;
  /** How many of the block's roles have been named by now. */
  readonly roles: number;
  readonly row?: Labelled;
  /** By the last stage that saw it. */
  readonly refused?: { readonly error: DataError; readonly record: unknown };
  /** That stage threw; no row comes after this one. */
  readonly bug?: FatalError;
}

export interface Outcomes {
  readonly rows: ReadonlyArray<Outcome>;
  /** Names behind the numbers in the column `roles`, from 1. Absent: the numbers are the run's own. */
  readonly roles?: ReadonlyArray<string>;
}

/** A stage threw on the last of these rows. */
export const endsInBug = ({ rows }: Outcomes): boolean => rows.at(-1)?.bug !== undefined;

export interface BlockOptions {
  readonly setup: RowPathSetup;
  readonly config: RowPathConfig;
  /** Told whose words are whose. */
  readonly tellRoles: boolean;
}

export interface BlockNumbers {
  /** Position of the first row in the data set, for messages. Default 0. */
  readonly first?: number;
  /** The run's own numbers of roles. Default: the roles are numbered within the block. */
  readonly roleNumber?: ((role: string) => number) | undefined;
}

const stagesOf = (tokenized: boolean): ReadonlyArray<string> =>
  tokenized
    ? ['decode', 'format', 'tokenize', 'maskCompletions']
    : ['decode', 'format', 'tokenize', 'tokenize', 'maskCompletions'];

/** Names of the stages in their order, as `Outcome.saws` counts them. */
export const stageNames = ({ setup }: Pick<BlockOptions, 'setup'>): ReadonlyArray<string> =>
  stagesOf(setup.tokenizer !== undefined);

const noWarnings: ReadonlyArray<Warned> = [];

/**
 * The rows of a block on their way to labels. Every block is a new beginning: what a stage says once, each block says once.
 */
export const blockOutcomes = (
  block: RowBlock,
  { setup, config, tellRoles }: BlockOptions,
  { first = 0, roleNumber: numberOf }: BlockNumbers = {},
): Outcomes => {
  const stages = stageNames({ setup });
  let warned: Array<Warned> = [];
  let saws = 0;
  let beginning = true;
  const path = rowPath(setup, config, (warning) => {
    if (!beginning) warned.push({ after: saws, warning });
  });
  const roles = new Map<string, number>();
  const numberHere = (role: string): number => {
    const number = roles.get(role) ?? roles.size + 1;
    roles.set(role, number);
    return number;
  };
  const roleNumber = tellRoles ? (numberOf ?? numberHere) : undefined;
  const decode = decodeRow(path.shape);
  const format = formatRow({ ...path.format, tellRoles });
  const tokenize = tokenizeRow({ ...path.tokenize, roleNumber });
  const mask = maskCompletionsRow(path.mask);
  beginning = false;

  let tokens: number;
  /** The record a stage is given, for its refusal. */
  let record: unknown;
  const through = (source: unknown): Either<DataError, Labelled> => {
    const seen = <A>(given: A): A => {
      record = given;
      saws++;
      return given;
    };
    const example = decode(seen(source));
    if (example._tag === 'Left') return example;
    const formatted = format(seen(example.right));
    if (formatted._tag === 'Left') return formatted;
    if (setup.tokenizer === undefined) {
      const given = tokenizedOnly(seen(formatted.right));
      if (given._tag === 'Left') return given;
    }
    const tokenized = tokenize(seen(formatted.right));
    if (tokenized._tag === 'Left') return tokenized;
    tokens = tokenized.right.inputIds.length;
    return mask(seen(tokenized.right));
  };

  const outcomes: Array<Outcome> = [];
  for (const source of rowsOfBlock(block)) {
    saws = 0;
    tokens = -1;
    if (warned.length > 0) warned = [];
    let result: Either<DataError, Labelled> | undefined;
    let bug: FatalError | undefined;
    try {
      result = through(source);
    } catch (cause) {
      bug = bugIn(stages[saws - 1] ?? '', first + outcomes.length, cause, placeOfRow(source));
    }
    const told = { source, saws, tokens, roles: roles.size, warned: warned.length === 0 ? noWarnings : warned };
    if (result === undefined) outcomes.push({ ...told, ...(bug === undefined ? {} : { bug }) });
    else if (result._tag === 'Right') outcomes.push({ ...told, row: result.right });
    else outcomes.push({ ...told, refused: { error: result.left, record } });
    if (bug !== undefined) break;
  }
  return { rows: outcomes, ...(tellRoles && numberOf === undefined ? { roles: [...roles.keys()] } : {}) };
};

/** What the stages say before any row. */
export const warningsBefore = ({ setup, config }: BlockOptions, warn: (warning: Warning) => void): void => {
  const path = rowPath(setup, config, warn);
  formatRow(path.format);
  tokenizeRow(path.tokenize);
  maskCompletionsRow(path.mask);
};
