/**
 * Whether a data set is fit to train on, as a value: what its rows were taken for, what becomes of them, what is odd about them,
 * and the run they make. Pure: rows and options in, a report out.
 */
import type { ErrorCode, Place, WarningCode } from '../../errors.js';
import { isSourced } from '../../formats/datasets/sourced.js';
import { recogniseFormat } from '../../formats/examples/example.js';
import type { FormatName, FormatReport } from '../../formats/examples/example.js';
import { countLearnable } from '../../operators/learnable.js';
import { packRows } from '../../operators/pack.js';
import { packConstantLengthRows } from '../../operators/packConstantLength.js';
import type { Labelled } from '../../records.js';
import { ignoreIndex } from '../../records.js';
import { constantLength } from '../preparing/prepare.js';
import type { PrepareConfig } from '../preparing/prepare.js';
import { makeSourceTally } from '../preparing/sourceCounts.js';
import type { SourceCounts } from '../preparing/sourceCounts.js';
import { planSteps, microBatchesAfter } from '../step/plan.js';
import type { PlanFields } from '../step/plan.js';
import { histogramOf } from './histogram.js';
import type { Histogram } from './histogram.js';
import { inspectRow } from './inspectRow.js';
import type { InspectSetup, RowInspection, RowTaken } from './inspectRow.js';

export type CheckName = 'refused' | 'fullyMasked' | 'stopNotTrained' | 'doubledBos' | 'promptDiffers' | 'truncated';

/** A row that a check found. */
export interface FoundRow extends Place {
  /** Position among the rows, from 0. */
  readonly index: number;
  readonly why?: string;
}

/** One question a dataset is asked, and the answer. */
export interface Check {
  readonly name: CheckName;
  readonly title: string;
  readonly rows: number;
  /** Of the rows read. */
  readonly share: number;
  /** Largest share that passes. */
  readonly limit: number;
  readonly passed: boolean;
  /** The first few rows found. */
  readonly examples: ReadonlyArray<FoundRow>;
}

/** A prepared row, and why it is shown. */
export interface Sample {
  readonly title: string;
  readonly row: Labelled;
}

/** Whether a dataset is fit to train on, and why not. */
export interface Preflight {
  readonly rowsRead: number;
  /** Rows, or windows when packing, ready to train on. */
  readonly rows: number;
  readonly tokens: number;
  /** Tokens with a label that reaches the loss. */
  readonly trainedTokens: number;
  /** Rows by the shape they were taken for. */
  readonly formats: Readonly<Partial<Record<FormatName | 'none', number>>>;
  /** How the first row was understood, column by column; and the first that was not. */
  readonly recognised?: FormatReport;
  readonly unrecognised?: FormatReport;
  /** What each file gave, in the order of their first rows. Absent in 0.7.10 packing, whose text buffer does not know its rows. */
  readonly perSource?: ReadonlyArray<SourceCounts>;
  readonly refusedByReason: Readonly<Partial<Record<ErrorCode, number>>>;
  readonly warnings: Readonly<Partial<Record<WarningCode, number>>>;
  readonly checks: ReadonlyArray<Check>;
  readonly passed: boolean;
  /** Of rows before anything is cut, in tokens. */
  readonly lengths: Histogram;
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
  readonly samples: ReadonlyArray<Sample>;
}

export type PreflightConfig = PrepareConfig & PlanFields;

export interface PreflightOptions extends InspectSetup {
  /** Prepared rows to keep for showing, beside one for each check that found any. Default 3. */
  readonly samples?: number | undefined;
  /** Shares of the rows read that checks let pass. Default: none, but for `truncated` 0.05. */
  readonly limits?: Readonly<Partial<Record<CheckName, number>>> | undefined;
}

/** What each check counts, in the order of the report. */
const checkTitles: Readonly<Record<CheckName, string>> = {
  refused: 'refused',
  fullyMasked: 'without a token to train',
  stopNotTrained: 'without a trained stop token',
  doubledBos: 'with BOS doubled',
  promptDiffers: 'asked for otherwise than trained',
  truncated: 'cut to maxLength',
};
const names = Object.keys(checkTitles) as ReadonlyArray<CheckName>;

const defaultLimits: Readonly<Record<CheckName, number>> = {
  refused: 0,
  fullyMasked: 0,
  stopNotTrained: 0,
  doubledBos: 0,
  promptDiffers: 0,
  truncated: 0.05,
};

const isTaken = (inspection: RowInspection): inspection is RowTaken => 'row' in inspection;

/** The checks that find something in a row. A cut row cannot end with its stop token: it counts as cut. */
const findings = (inspection: RowInspection): ReadonlyArray<CheckName> => {
  if ('error' in inspection) return ['refused'];
  if (!isTaken(inspection)) return [];
  const { trained, truncated, stopTrained, doubledBos, promptDiffers } = inspection;
  return [
    ...(trained === 0 ? ['fullyMasked' as const] : []),
    ...(trained > 0 && !truncated && stopTrained === false ? ['stopNotTrained' as const] : []),
    ...(doubledBos ? ['doubledBos' as const] : []),
    ...(promptDiffers ? ['promptDiffers' as const] : []),
    ...(truncated ? ['truncated' as const] : []),
  ];
};

interface Tally {
  rows: number;
  tokens: number;
  trained: number;
}

const count = (tally: Tally, rows: ReadonlyArray<Labelled>): void => {
  for (const { inputIds, labels, seqLengths } of rows) {
    const trained = countLearnable(labels, seqLengths, ignoreIndex);
    if (trained === 0) continue;
    tally.rows += 1;
    tally.tokens += inputIds.length;
    tally.trained += trained;
  }
};

/** Rows packed at a time, as in the stream. */
const packedAtOnce = 1000;
const examplesKept = 5;

/** A report in the making: rows go in one by one, the report may be asked for at any time. */
export interface PreflightFold {
  readonly push: (raw: unknown) => void;
  readonly report: () => Preflight;
}

/** The report on a dataset, made row by row: `push` them, then ask for the `report`. */
export const foldPreflight = (options: PreflightOptions, config: PreflightConfig): PreflightFold => {
  const { samples: wanted = 3, limits = {} } = options;
  const { maxLength, packing, packingStrategy } = config;
  const inspect = inspectRow(options, config);
  const pack = packRows<Labelled>({ maxLength, packingStrategy });
  const formats = new Map<FormatName | 'none', number>();
  const reasons = new Map<ErrorCode, number>();
  const warnings = new Map<WarningCode, number>();
  const found = new Map<CheckName, { rows: number; readonly examples: Array<FoundRow> }>(
    names.map((name) => [name, { rows: 0, examples: [] }]),
  );
  const sources = makeSourceTally(config);
  const lengths: Array<number> = [];
  const prepared: Tally = { rows: 0, tokens: 0, trained: 0 };
  const windows = { count: 0, tokens: 0 };
  const texts: Array<string> = [];
  const samples: Array<Sample> = [];
  const shown = new Set<CheckName>();
  let held: Array<Labelled> = [];
  let shownWindows = 0;
  let rowsRead = 0;
  let recognised: FormatReport | undefined;
  let unrecognised: FormatReport | undefined;

  const release = (): void => {
    const packed = pack(held);
    windows.count += packed.length;
    windows.tokens += packed.reduce((sum, { inputIds }) => sum + inputIds.length, 0);
    if (packing) {
      count(prepared, packed);
      for (const row of packed.slice(0, Math.max(0, wanted - shownWindows))) {
        samples.push({ title: `window ${shownWindows++}`, row });
      }
    }
    held = [];
  };

  const understand = (raw: unknown): void => {
    const value = isSourced(raw) ? ('value' in raw ? raw.value : undefined) : raw;
    const report =
      options.formattingFunc === undefined
        ? recogniseFormat(
            value,
            config.datasetTextField === undefined ? {} : { datasetTextField: config.datasetTextField },
          )
        : undefined;
    const format = report?.format ?? 'none';
    formats.set(format, (formats.get(format) ?? 0) + 1);
    if (report?.format === undefined) unrecognised ??= report;
    else recognised ??= report;
  };

  const nameOf = ({ index, place }: RowInspection): string =>
    place.file === undefined ? `row ${index}` : `${place.file}:${place.line ?? index}`;

  const push = (raw: unknown): void => {
    const index = rowsRead++;
    understand(raw);
    sources?.read(raw);
    const inspection = inspect(raw, index);
    for (const code of inspection.warnings) warnings.set(code, (warnings.get(code) ?? 0) + 1);
    for (const name of findings(inspection)) {
      const own = found.get(name);
      if (own === undefined) continue;
      own.rows += 1;
      if (own.examples.length < examplesKept) {
        const why =
          'error' in inspection
            ? { why: `${inspection.error.message.split('\n')[0] ?? ''} [${inspection.error.code}]` }
            : {};
        own.examples.push({ index, ...inspection.place, ...why });
      }
      if (isTaken(inspection) && !shown.has(name) && inspection.row.inputIds.length > 0) {
        shown.add(name);
        samples.push({ title: `${nameOf(inspection)}: ${checkTitles[name]}`, row: inspection.row });
      }
    }
    if ('error' in inspection) {
      const { code } = inspection.error;
      reasons.set(code, (reasons.get(code) ?? 0) + 1);
      return;
    }
    if (!isTaken(inspection)) {
      texts.push(inspection.text);
      return;
    }
    lengths.push(inspection.length);
    if (packing || inspection.trained > 0) sources?.kept(inspection.row);
    if (!packing) {
      count(prepared, [inspection.row]);
      if (inspection.trained > 0 && samples.length < wanted + shown.size) {
        samples.push({ title: nameOf(inspection), row: inspection.row });
      }
    }
    held.push(inspection.row);
    if (held.length >= packedAtOnce) release();
  };

  /** 0.7.10 packs text: its windows are known when all of it is there. */
  const buffered = (): Tally => {
    const { tokenizer } = options;
    const tally: Tally = { rows: 0, tokens: 0, trained: 0 };
    if (texts.length === 0 || tokenizer === undefined) return tally;
    count(tally, packConstantLengthRows(constantLength(config, tokenizer))(texts));
    return tally;
  };

  const report = (): Preflight => {
    release();
    const fromText = buffered();
    const ready = {
      rows: prepared.rows + fromText.rows,
      tokens: prepared.tokens + fromText.tokens,
      trained: prepared.trained + fromText.trained,
    };
    const packedWindows = windows.count + fromText.rows;
    const packedTokens = windows.tokens + fromText.tokens;
    const checks = names.map((name): Check => {
      const { rows = 0, examples = [] } = found.get(name) ?? {};
      const share = rowsRead === 0 ? 0 : rows / rowsRead;
      const limit = limits[name] ?? defaultLimits[name];
      return { name, title: checkTitles[name], rows, share, limit, passed: share <= limit, examples: [...examples] };
    });
    const run = runOf(ready, config);
    return {
      rowsRead,
      rows: ready.rows,
      tokens: ready.tokens,
      trainedTokens: ready.trained,
      formats: Object.fromEntries(formats),
      ...(recognised === undefined ? {} : { recognised }),
      ...(unrecognised === undefined ? {} : { unrecognised }),
      ...(sources === undefined ? {} : { perSource: sources.counts() }),
      refusedByReason: Object.fromEntries(reasons),
      warnings: Object.fromEntries(warnings),
      checks,
      passed: ready.rows > 0 && checks.every(({ passed }) => passed),
      lengths: histogramOf(lengths),
      maxLength,
      packing: {
        active: packing,
        windows: packedWindows,
        efficiency: packedWindows === 0 ? 0 : packedTokens / (packedWindows * maxLength),
      },
      ...(run === undefined ? {} : { run }),
      samples: [...samples],
    };
  };
  return { push, report };
};

const runOf = ({ rows, tokens, trained }: Tally, config: PreflightConfig): Preflight['run'] => {
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

/** The report on rows as they came. */
export const preflight = (rows: Iterable<unknown>, options: PreflightOptions, config: PreflightConfig): Preflight => {
  const fold = foldPreflight(options, config);
  for (const raw of rows) fold.push(raw);
  return fold.report();
};
