/**
 * Whether a data set is fit to train on, as a value: what its rows were taken for, what becomes of them, what is odd about them,
 * and the run they make. Pure: rows and options in, a report out.
 */
import { among, known } from '../../checked.js';
import type { OptionNames } from '../../checked.js';
import type { ErrorCode, WarningCode } from '../../errors.js';
import { packConstantLengthRows } from '../../operators/packConstantLength.js';
import type { Labelled } from '../../records.js';
import { ofRun } from '../options/runNames.js';
import { constantLength, prepareConfigNames } from '../preparing/prepare.js';
import type { PrepareConfig } from '../preparing/prepare.js';
import { makeSourceTally } from '../preparing/sourceCounts.js';
import type { SourceCounts } from '../preparing/sourceCounts.js';
import { microBatchesAfter, planFieldNames, planSteps } from '../step/plan.js';
import type { PlanFields } from '../step/plan.js';
import { findings, limitNames, makeCheckTally } from './checks.js';
import type { Check, CheckName } from './checks.js';
import { makeFormatTally } from './formatTally.js';
import type { RowFormats } from './formatTally.js';
import { histogramOf } from './histogram.js';
import type { Histogram } from './histogram.js';
import { inspectRow, isTaken } from './inspectRow.js';
import type { InspectSetup, RowTaken } from './inspectRow.js';
import { both, keptRows, makePacker, noRows } from './rowCounts.js';
import type { RowCounts } from './rowCounts.js';
import { makeSamples } from './samples.js';
import type { PreflightSample } from './samples.js';

/** Whether a dataset is fit to train on, and why not. */
export interface Preflight extends RowFormats {
  /** Rows as they came. */
  readonly rowsRead: number;
  /** Rows, or windows when packing, ready to train on. */
  readonly rows: number;
  /** Tokens of the rows that are ready. */
  readonly tokens: number;
  /** Tokens with a label that reaches the loss. */
  readonly trainedTokens: number;
  /** What each file gave, in the order of their first rows. Absent in 0.7.10 packing, whose text buffer does not know its rows. */
  readonly perSource?: ReadonlyArray<SourceCounts>;
  readonly refusedByReason: Readonly<Partial<Record<ErrorCode, number>>>;
  readonly warnings: Readonly<Partial<Record<WarningCode, number>>>;
  readonly checks: ReadonlyArray<Check>;
  /** Whether all checks passed. */
  readonly passed: boolean;
  /** Of rows before anything is cut, in tokens. */
  readonly lengths: Histogram;
  /** Tokens a row keeps, or the window when packing. */
  readonly maxLength: number;
  readonly packing: {
    readonly active: boolean;
    /** Windows the rows make, or would make. */
    readonly windows: number;
    /** Share of the windows' places that hold a token. */
    readonly efficiency: number;
  };
  /** Absent when there is nothing to train on. */
  readonly run?: {
    readonly steps: number;
    readonly epochs: number;
    /** Tokens the run reads: exact when every micro-batch is as long as the mean, near it otherwise. */
    readonly tokens: number;
    readonly trainedTokens: number;
  };
  /** Prepared rows to show. */
  readonly samples: ReadonlyArray<PreflightSample>;
}

/** The options that a report reads: those of `prepare` and those of the plan. */
export type PreflightConfig = PrepareConfig & PlanFields;

/** Its names, for calls that no compiler has looked at. */
export const preflightConfigNames: OptionNames<PreflightConfig> = { ...prepareConfigNames, ...planFieldNames };

/** What a report is made with. */
export interface PreflightOptions extends InspectSetup {
  /** Prepared rows to keep for showing, beside one for each check that found any. Default 3. */
  readonly samples?: number | undefined;
  /** Shares of the rows read that checks let pass. Default: none, but for `truncated` 0.05. */
  readonly limits?: Readonly<Partial<Record<CheckName, number>>> | undefined;
}

/** Its names, for calls that no compiler has looked at. */
export const preflightOptionNames: OptionNames<PreflightOptions> = {
  samples: 'optional',
  limits: limitNames,
  stopIds: 'optional',
  tokenizer: 'optional',
  formattingFunc: 'optional',
};

/** A report in the making: rows go in one by one, the report may be asked for at any time. */
export interface PreflightFold {
  readonly push: (raw: unknown) => void;
  readonly report: () => Preflight;
}

/** 0.7.10 packs text: its windows are known when all of it is there. */
const bufferedRows = (
  texts: ReadonlyArray<string>,
  { tokenizer }: PreflightOptions,
  config: PreflightConfig,
): RowCounts =>
  texts.length === 0 || tokenizer === undefined
    ? noRows
    : keptRows(packConstantLengthRows(constantLength(config, tokenizer))(texts), config);

/** The run that the rows make; undefined where they make none. */
const runOf = ({ rows, tokens, trained }: RowCounts, config: PreflightConfig): Preflight['run'] => {
  if (rows === 0 || (config.dataloaderDropLast && rows < config.perDeviceTrainBatchSize)) return undefined;
  const plan = planSteps(rows, config);
  const epochs = microBatchesAfter(plan, plan.totalSteps) / plan.microBatchesPerEpoch;
  return {
    steps: plan.totalSteps,
    epochs,
    tokens: Math.round(tokens * epochs),
    trainedTokens: Math.round(trained * epochs),
  };
};

const addOne = <K>(counts: Map<K, number>, key: K): void => void counts.set(key, (counts.get(key) ?? 0) + 1);

/** The report on a dataset, made row by row: `push` them, then ask for the `report`. */
export const foldPreflight = (options: PreflightOptions, config: PreflightConfig): PreflightFold => {
  known('foldPreflight', among(preflightOptionNames), options);
  known('foldPreflight', ofRun(preflightConfigNames), config);
  const { maxLength, packing } = config;
  const inspect = inspectRow(options, config);
  const formats = makeFormatTally(config, options.formattingFunc !== undefined);
  const sources = makeSourceTally(config);
  const checks = makeCheckTally(options.limits ?? {});
  const samples = makeSamples(options.samples ?? 3);
  const packer = makePacker(config);
  const reasons = new Map<ErrorCode, number>();
  const warnings = new Map<WarningCode, number>();
  const lengths: Array<number> = [];
  const texts: Array<string> = [];
  let prepared = noRows;
  const windows = { rows: 0, tokens: 0 };
  let rowsRead = 0;

  const packed = (rows: ReadonlyArray<Labelled>): void => {
    windows.rows += rows.length;
    windows.tokens += rows.reduce((sum, { inputIds }) => sum + inputIds.length, 0);
    if (!packing) return;
    prepared = both(prepared, keptRows(rows, config));
    samples.windows(rows);
  };

  const taken = (inspection: RowTaken): void => {
    const { row, length } = inspection;
    lengths.push(length);
    const kept = packing ? noRows : keptRows([row], config);
    if (packing || kept.rows > 0) sources?.kept(row);
    if (kept.rows > 0) {
      prepared = both(prepared, kept);
      samples.row(inspection);
    }
    packed(packer.push(row));
  };

  const push = (raw: unknown): void => {
    const index = rowsRead++;
    formats.read(raw);
    sources?.read(raw);
    const inspection = inspect(raw, index);
    const found = findings(inspection);
    checks.add(inspection, found);
    for (const code of inspection.warnings) addOne(warnings, code);
    if ('error' in inspection) addOne(reasons, inspection.error.code);
    else if (isTaken(inspection)) {
      samples.found(inspection, found);
      taken(inspection);
    } else texts.push(inspection.text);
  };

  const report = (): Preflight => {
    packed(packer.release());
    const fromText = bufferedRows(texts, options, config);
    const ready = both(prepared, fromText);
    const inWindows = { rows: windows.rows + fromText.rows, tokens: windows.tokens + fromText.tokens };
    const answers = checks.checks(rowsRead);
    const run = runOf(ready, config);
    return {
      rowsRead,
      rows: ready.rows,
      tokens: ready.tokens,
      trainedTokens: ready.trained,
      ...formats.formats(),
      ...(sources === undefined ? {} : { perSource: sources.counts() }),
      refusedByReason: Object.fromEntries(reasons),
      warnings: Object.fromEntries(warnings),
      checks: answers,
      passed: ready.rows > 0 && answers.every(({ passed }) => passed),
      lengths: histogramOf(lengths),
      maxLength,
      packing: {
        active: packing,
        windows: inWindows.rows,
        efficiency: inWindows.rows === 0 ? 0 : inWindows.tokens / (inWindows.rows * maxLength),
      },
      ...(run === undefined ? {} : { run }),
      samples: samples.shown(),
    };
  };
  return { push, report };
};

/** The report on a data set whose rows are at hand; `preflightDataset` reads one. */
export const preflight = (rows: Iterable<unknown>, options: PreflightOptions, config: PreflightConfig): Preflight => {
  known('preflight', among(preflightOptionNames), options);
  known('preflight', ofRun(preflightConfigNames), config);
  const fold = foldPreflight(options, config);
  for (const raw of rows) fold.push(raw);
  return fold.report();
};
