/** One page about a run: pure data in, a self-contained HTML document out. */
import { known } from '../../checked.js';
import { withoutSecrets } from '../../errors.js';
import { ignoreIndex, type Labelled, type StepResult } from '../../records.js';
import { page } from './page.js';
import { emptyRecord, type RunRecord } from './record.js';
import { noSteps, type StepColumns } from './stepColumns.js';

/** A step as the report shows it; `seconds` is the wall time since training began. */
export type ReportStep = Pick<
  StepResult,
  'step' | 'loss' | 'learningRate' | 'gradNorm' | 'numTokens' | 'meanTokenAccuracy'
> &
  Partial<Pick<StepResult, 'epoch' | 'entropy'>> & { readonly seconds?: number };

/** A token of a row as the loss sees it. */
export interface ReportToken {
  readonly text: string;
  /** Whether the token has a label, so that the loss asks for it. */
  readonly trained: boolean;
}

/** An answer before and after training. */
export interface ReportAnswer {
  readonly prompt: string;
  readonly expected: string;
  readonly before: string;
  readonly after: string;
}

/** What a report shows. */
export interface Report {
  readonly title: string;
  /** What a recorder gathered of the run. */
  readonly record?: RunRecord | undefined;
  /** In place of a record: the steps alone. */
  readonly steps?: ReadonlyArray<ReportStep> | undefined;
  /** Shown with the numbers of the run, in this order. */
  readonly facts?: ReadonlyArray<readonly [name: string, value: string]> | undefined;
  /** Rows as the loss sees them. */
  readonly rows?: ReadonlyArray<ReadonlyArray<ReportToken>> | undefined;
  readonly answers?: ReadonlyArray<ReportAnswer> | undefined;
}

/** The tokens of a row as the report shows them. */
export const tokensOfRow = (
  row: Labelled,
  decode: (ids: ReadonlyArray<number>) => string,
): ReadonlyArray<ReportToken> =>
  Array.from(row.inputIds, (id, i) => ({
    text: decode([id]),
    trained: (row.labels[i] ?? ignoreIndex) !== ignoreIndex,
  }));

/** Tokens a second between each step and the one before it. */
const speeds = (steps: ReadonlyArray<ReportStep>): ReadonlyArray<number | null> =>
  steps.map(({ numTokens, seconds }, i) => {
    const before = i === 0 ? 0 : steps[i - 1]?.seconds;
    return seconds === undefined || before === undefined || seconds <= before ? null : numTokens / (seconds - before);
  });

/** Steps as columns; what they do not tell is not known. */
const columnsOf = (steps: ReadonlyArray<ReportStep>): StepColumns => {
  const of = (value: (step: ReportStep) => number | undefined): ReadonlyArray<number | null> =>
    steps.map((one) => value(one) ?? null);
  return {
    ...noSteps,
    step: steps.map(({ step }) => step),
    epoch: steps.map(({ epoch }) => epoch ?? 0),
    seconds: steps.map(({ seconds, step }) => seconds ?? step),
    loss: of(({ loss }) => loss),
    learningRate: of(({ learningRate }) => learningRate),
    gradNorm: of(({ gradNorm }) => gradNorm),
    tokensPerSecond: speeds(steps),
    accuracy: of(({ meanTokenAccuracy }) => meanTokenAccuracy),
    entropy: of(({ entropy }) => entropy),
    memory: steps.map(() => null),
  };
};

const recordOf = (title: string, steps: ReadonlyArray<ReportStep>): RunRecord => ({
  ...emptyRecord(title),
  totalSteps: steps.at(-1)?.step ?? null,
  state: 'finished',
  steps: columnsOf(steps),
});

/**
 * The report of a run as one HTML document: its numbers, curves by step, epoch or time, evaluations by role and file, answers to
 * held-out prompts over time, the hardest rows, rows with the tokens that reach the loss marked. It asks for nothing from outside,
 * follows the reader's light or dark scheme, and whatever is put into it stays text.
 */
export const report = (options: Report): string => {
  const {
    title: given,
    record,
    steps = [],
    facts: more = [],
    rows = [],
    answers = [],
  } = known(
    'report',
    {
      title: 'required',
      record: 'optional',
      steps: 'optional',
      facts: 'optional',
      rows: 'optional',
      answers: 'optional',
    },
    options,
  );
  const title = withoutSecrets(given);
  const facts = more.map(([name, value]) => [name, withoutSecrets(value)] as const);
  const told = record ?? recordOf(title, steps);
  return page(title, { ...told, title, facts: [...facts, ...told.facts], rows, answers }, { live: false });
};
