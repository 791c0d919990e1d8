/** A dataset as it came → rows ready to train on, as one operator; and what became of the rows, as a value. */
import { left, right } from 'fp-ts/lib/Either.js';
import type { OperatorFunction } from 'rxjs';
import { identity, pipe as compose, tap } from 'rxjs';
import { among, known } from '../../checked.js';
import type { OptionNames } from '../../checked.js';
import { dataError, warning } from '../../errors.js';
import type { ErrorCode, Warning } from '../../errors.js';
import { isSourced } from '../../formats/datasets/sourced.js';
import type { Tokenizer } from '../../formats/tokenizing/tokenizer.js';
import { decode } from '../../operators/decode.js';
import { format } from '../../operators/format.js';
import { countLearnable, learnable, withTokens } from '../../operators/learnable.js';
import { maskCompletions } from '../../operators/maskCompletions.js';
import { pack } from '../../operators/pack.js';
import { packConstantLength } from '../../operators/packConstantLength.js';
import type { ConstantLengthOptions } from '../../operators/packConstantLength.js';
import { tokenize } from '../../operators/tokenize.js';
import { truncate } from '../../operators/truncate.js';
import type { Formatted, Labelled, PreTokenized, Tokenized, Transform } from '../../records.js';
import { ignoreIndex } from '../../records.js';
import { mapping } from '../../streams/operator.js';
import type { Rejecting } from '../../streams/operator.js';
import type { Rejects } from '../../streams/rejects.js';
import { isParity } from '../options/parity.js';
import type { SftConfig } from '../options/config.js';
import { ofRun } from '../options/runNames.js';
import type { Names, RowNames } from './rowNames.js';
import { rowPath } from './rowPath.js';
import type { RowPathConfig, RowPathSetup } from './rowPath.js';
import { makeSourceTally } from './sourceCounts.js';
import type { SourceCounts } from './sourceCounts.js';
import { tokenizedOnly } from './tokenizedOnly.js';

/** What `prepare` needs that is no option. */
export interface PrepareSetup extends RowPathSetup {
  /** Where refused rows go; without it the first one ends the stream. */
  readonly rejects?: Rejects | undefined;
  /** Hears warnings. */
  readonly warn?: ((warning: Warning) => void) | undefined;
  /** Counts what passes. */
  readonly tally?: Tally | undefined;
  /** Given: rows say by number whose words their tokens are and which file and line they come from. */
  readonly names?: RowNames | undefined;
}

/** Its names, for calls that no compiler has looked at. */
export const prepareSetupNames: OptionNames<PrepareSetup> = {
  rejects: 'optional',
  warn: 'optional',
  tally: 'optional',
  names: 'optional',
  tokenizer: 'optional',
  formattingFunc: 'optional',
};

/** The options that `prepare` reads: an `SftConfig` and the length of a row, which a tokenizer may have to tell. */
export type PrepareConfig = RowPathConfig &
  Pick<SftConfig, 'packingStrategy' | 'numOfSequences' | 'charsPerToken' | 'appendConcatToken' | 'shuffle' | 'seed'>;

/** Its names, for calls that no compiler has looked at. */
export const prepareConfigNames: OptionNames<PrepareConfig> = {
  maxLength: 'required',
  packing: 'required',
  packingStrategy: 'required',
  numOfSequences: 'required',
  charsPerToken: 'required',
  appendConcatToken: 'required',
  shuffle: 'required',
  seed: 'required',
  promptBorder: 'required',
  assistantOnlyLoss: 'required',
  datasetTextField: 'optional',
  addSpecialTokens: 'optional',
  completionOnlyLoss: 'optional',
  responseTemplate: 'optional',
  instructionTemplate: 'optional',
  parity: 'optional',
};

/** What became of a dataset's rows. */
export interface PrepareSummary {
  /** Rows as they came. */
  readonly rowsRead: number;
  /** Of these, the ones that were refused. */
  readonly rejected: number;
  /** The same by what was wrong with them. */
  readonly rejectedByReason: Readonly<Partial<Record<ErrorCode, number>>>;
  /** Rows that lost tokens to maxLength. */
  readonly truncated: number;
  /** Rows (windows, when packing) refused because no label of theirs reaches the loss. */
  readonly fullyMasked: number;
  /** Rows (windows) ready to train on. */
  readonly rows: number;
  /** Tokens of the rows that are ready. */
  readonly tokens: number;
  /** Tokens with a label that reaches the loss. */
  readonly trainedTokens: number;
  /** Share of the windows' places that hold a token; absent when not packing. */
  readonly packingEfficiency?: number;
  /** How often each was given, by code. */
  readonly warnings: Readonly<Partial<Record<string, number>>>;
  /** What each file gave, in the order of their first rows. Absent in 0.7.10 packing, whose text buffer does not know its rows. */
  readonly perSource?: ReadonlyArray<SourceCounts>;
}

/** Counters of one pass over a dataset. */
export interface Tally {
  /** A row as it came. */
  readonly read: (row: unknown) => void;
  readonly tokenized: (row: { readonly inputIds: { readonly length: number } }) => void;
  /** When packing: the row read last, as it goes into a window. */
  readonly packed: (row: Labelled) => void;
  readonly prepared: (row: Labelled) => void;
  readonly warned: (warning: Warning) => void;
  readonly summary: () => PrepareSummary;
}

/** What a summary says of refused rows. */
export const refusals = (
  rejects: Rejects | undefined,
): Pick<PrepareSummary, 'rejected' | 'rejectedByReason' | 'fullyMasked'> => {
  const counts = rejects?.counts();
  return {
    rejected: counts?.rejected ?? 0,
    rejectedByReason: counts?.byCode ?? {},
    fullyMasked: counts?.byCode['E_NO_LABELS'] ?? 0,
  };
};

export const makeTally = (
  config: Pick<PrepareConfig, 'packing' | 'packingStrategy' | 'maxLength' | 'parity'>,
  rejects?: Rejects,
): Tally => {
  const { packing, packingStrategy, maxLength } = config;
  const warnings = new Map<string, number>();
  const sources = makeSourceTally(config);
  let rowsRead = 0;
  let truncated = 0;
  let rows = 0;
  let tokens = 0;
  let trainedTokens = 0;
  const cuts = !packing || packingStrategy === 'bfd';
  return {
    read: (row) => {
      rowsRead++;
      sources?.read(row);
    },
    tokenized: ({ inputIds }) => {
      if (cuts && inputIds.length > maxLength) truncated++;
    },
    packed: (row) => sources?.kept(row),
    prepared: (row) => {
      const { inputIds, labels, seqLengths } = row;
      rows++;
      tokens += inputIds.length;
      trainedTokens += countLearnable(labels, seqLengths, ignoreIndex);
      if (!packing) sources?.kept(row);
    },
    warned: ({ code }) => {
      warnings.set(code, (warnings.get(code) ?? 0) + 1);
    },
    summary: () => ({
      rowsRead,
      ...refusals(rejects),
      truncated,
      rows,
      tokens,
      trainedTokens,
      ...(packing && rows > 0 ? { packingEfficiency: tokens / (rows * maxLength) } : {}),
      warnings: Object.fromEntries(warnings),
      ...(sources === undefined ? {} : { perSource: sources.counts() }),
    }),
  };
};

/** `maxLength`, or its default: what tokenizer and model can hold, at most 1024. */
export const maxLengthOf = (
  { maxLength }: Pick<SftConfig, 'maxLength'>,
  tokenizer?: Pick<Tokenizer, 'modelMaxLength'>,
  maxPositions?: number,
): number => maxLength ?? Math.min(tokenizer?.modelMaxLength ?? 1024, maxPositions ?? 1024, 1024);

export const textOnly =
  (warn: (warning: Warning) => void): Transform<Formatted | PreTokenized, Formatted> =>
  (row) => {
    if ('inputIds' in row) {
      return left(
        dataError('E_PACKING_TOKENIZED', 'The packing of 0.7.10 works on text, and the row brings token ids', {
          hint: 'leave out packing for rows that are packed already, or leave out parity',
        }),
      );
    }
    if (row.weights !== undefined) {
      warn(
        warning('W_WEIGHTS_IGNORED', 'The packing of 0.7.10 knows no loss weights: all tokens of the row count alike'),
      );
    }
    return right(row);
  };

/** The packing of 0.7.10 as the options say. */
export const constantLength = (config: PrepareConfig, tokenizer: Tokenizer): ConstantLengthOptions => ({
  tokenizer,
  seqLength: config.maxLength,
  numOfSequences: config.numOfSequences,
  charsPerToken: config.charsPerToken,
  appendConcatToken: config.appendConcatToken,
  addSpecialTokens: config.addSpecialTokens ?? true,
  shuffle: config.shuffle,
  seed: config.seed,
});

const counted = <A>(count: ((row: A) => void) | undefined): OperatorFunction<A, A> =>
  count === undefined ? identity : tap(count);

/**
 * Two stages that belong together: the first remembers where the row that comes from a reader stood, the second, behind stages that
 * give one row a row or none, writes it down. All between is synchronous.
 */
const placing = (files: Names, rejecting: Rejecting) => {
  let file = 0;
  let line = 0;
  let count = 0;
  const read = (row: unknown): void => {
    count += 1;
    file = isSourced(row) ? files.numberOf(row.file) : 0;
    line = isSourced(row) ? row.line : count;
  };
  const write = mapping(
    'place',
    (row: Labelled) =>
      right({
        ...row,
        files: new Uint16Array(row.inputIds.length).fill(file),
        lines: new Uint32Array(row.inputIds.length).fill(line),
      }),
    rejecting,
  );
  return { read, write };
};

/** What is done to rows in their order: counting, placing, packing or cutting. Of one pass. */
export interface InOrder {
  /** Before any stage sees the row. */
  readonly read: ((row: unknown) => void) | undefined;
  /** Masked rows → rows to train on. What comes out was read last: all between is synchronous. */
  readonly finish: OperatorFunction<Labelled, Labelled>;
}

export const inOrder = (
  { rejects, tally, names }: Pick<PrepareSetup, 'rejects' | 'tally' | 'names'>,
  config: Pick<PrepareConfig, 'packing' | 'packingStrategy' | 'maxLength' | 'parity'>,
): InOrder => {
  const { packing, packingStrategy, maxLength } = config;
  const rejecting = rejects === undefined ? {} : { rejects };
  const places = names === undefined ? undefined : placing(names.files, rejecting);
  return {
    read:
      tally === undefined && places === undefined
        ? undefined
        : (row) => {
            tally?.read(row);
            places?.read(row);
          },
    finish: compose(
      places === undefined ? identity : places.write,
      packing
        ? compose(counted<Labelled>(tally?.packed), pack({ maxLength, packingStrategy, ...rejecting }))
        : truncate<Labelled>({ maxLength, ...rejecting }),
      isParity(config) ? withTokens(rejecting) : learnable(rejecting),
      counted<Labelled>(tally?.prepared),
    ),
  };
};

/**
 * Rows as they came → labelled rows of at most `maxLength` tokens: decoded, formatted, tokenised, masked, packed or cut, and those
 * without a label refused. All in this thread: see `prepareDataset`.
 */
export const prepare = (setup: PrepareSetup, config: PrepareConfig): OperatorFunction<unknown, Labelled> => {
  known('prepare', among(prepareSetupNames), setup);
  known('prepare', ofRun(prepareConfigNames), config);
  const { tokenizer, rejects, tally, names } = setup;
  const rejecting = rejects === undefined ? {} : { rejects };
  const warn = (warned: Warning): void => {
    tally?.warned(warned);
    setup.warn?.(warned);
  };
  const path = rowPath(setup, config, warn);
  const { read, finish } = inOrder(setup, config);
  const toText = compose(
    counted<unknown>(read),
    decode(path.shape, rejecting),
    format({ ...path.format, tellRoles: names !== undefined, ...rejecting }),
  );
  if (config.packing && isParity(config) && tokenizer !== undefined) {
    return compose(
      toText,
      mapping('packConstantLength', textOnly(warn), rejecting),
      packConstantLength({ ...constantLength(config, tokenizer), warn }),
      counted<Labelled>(tally?.prepared),
    );
  }
  return compose(
    tokenizer === undefined ? compose(toText, mapping('tokenize', tokenizedOnly, rejecting)) : toText,
    tokenize({ ...path.tokenize, roleNumber: names?.roles.numberOf, ...rejecting }),
    counted<Tokenized>(tally?.tokenized),
    maskCompletions({ ...path.mask, ...rejecting }),
    finish,
  );
};

/** The first few warnings of each kind go through; the tally has counted them all. */
export const fewOfEach = (warn: (warning: Warning) => void, few = 3): ((warning: Warning) => void) => {
  const seen = new Map<string, number>();
  return (warned) => {
    const count = (seen.get(warned.code) ?? 0) + 1;
    seen.set(warned.code, count);
    if (count <= few) warn(warned);
    if (count === few + 1) {
      warn(warning(warned.code, `${warned.message} (like further rows, which are counted only)`));
    }
  };
};
