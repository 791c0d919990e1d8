/** What packing would cost if the documents of a window attended to each other: measured, on a model and some rows. */
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { amongRun, checked } from '../../checked.js';
import type { FatalError } from '../../errors.js';
import type { CausalLM } from '../../model/model.js';
import { documentStarts } from '../../operators/columns.js';
import { packRows } from '../../operators/pack.js';
import { ignoreIndex } from '../../records.js';
import type { Labelled } from '../../records.js';
import { evaluateRows } from './evaluate.js';
import { counted } from '../../formats/counted.js';

/** What attention across documents of a packed window would cost. */
export interface Contamination {
  /** Mean loss a trained token, each document by itself, as rxtune trains: that of the rows unpacked. */
  readonly separate: number;
  /** The same tokens, each window as one document: what stands before a document is attended to, positions run on. */
  readonly joined: number;
  /** `joined - separate`, in nats a token. */
  readonly difference: number;
  /** exp(difference): how many times the perplexity. */
  readonly perplexityRatio: number;
  readonly windows: number;
  readonly documents: number;
  /** Tokens compared: the first of a document is asked for in neither. */
  readonly numTokens: number;
}

/** A window as one document; the labels that its documents ignore stay ignored. */
export const joinedWindow = (row: Labelled): Labelled => {
  const labels = row.labels.slice();
  for (const start of documentStarts(row.seqLengths)) labels[start] = ignoreIndex;
  return { ...row, labels, seqLengths: [row.inputIds.length] };
};

/** How rows are packed and evaluated. */
export interface ContaminationOptions {
  /** Window length in tokens. */
  readonly maxLength: number;
  /** Windows a batch. Default 4. */
  readonly size?: number | undefined;
}

/** Packs the rows (`bfd`) and evaluates the windows both ways. Left (`E_EVALUATE`) when the engine fails. */
export const contamination = checked(
  'contamination',
  TE.left,
  { 2: amongRun({ maxLength: 'required', size: 'optional' }) },
  (
    model: CausalLM,
    rows: ReadonlyArray<Labelled>,
    { maxLength, size = 4 }: ContaminationOptions,
  ): TaskEither<FatalError, Contamination> => {
    const windows = packRows<Labelled>({ maxLength })(rows);
    return pipe(
      TE.Do,
      TE.bind('separate', () => evaluateRows(model, windows, { size, hardest: 0 })),
      TE.bind('joined', () => evaluateRows(model, windows.map(joinedWindow), { size, hardest: 0 })),
      TE.map(({ separate, joined }) => {
        const difference = joined.tokenLoss - separate.tokenLoss;
        return {
          separate: separate.tokenLoss,
          joined: joined.tokenLoss,
          difference,
          perplexityRatio: Math.exp(difference),
          windows: windows.length,
          documents: windows.reduce((sum, { seqLengths }) => sum + seqLengths.length, 0),
          numTokens: separate.numItems,
        };
      }),
    );
  },
);

/** The same for a report. */
export const contaminationFacts = ({
  separate,
  joined,
  difference,
  perplexityRatio,
  windows,
  documents,
}: Contamination): ReadonlyArray<readonly [name: string, value: string]> => [
  ['loss, documents apart', separate.toFixed(4)],
  ['attending to each other', `${joined.toFixed(4)} (${difference < 0 ? '' : '+'}${difference.toFixed(4)})`],
  ['perplexity', `× ${perplexityRatio.toFixed(4)}`],
  ['measured on', `${counted(documents, 'document')} in ${counted(windows, 'window')}`],
];
