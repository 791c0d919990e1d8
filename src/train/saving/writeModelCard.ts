/** The model card of a run, beside what it saved. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../../errors.js';
import { cardMark, modelCard } from '../../formats/checkpoints/modelCard.js';
import type { ModelCard } from '../../formats/checkpoints/modelCard.js';
import type { Field } from '../../formats/closed.js';
import { writeTextAtomically } from '../../formats/files/atomicFile.js';
import { fileError } from '../../formats/files/byteSource.js';
import type { CausalLM } from '../../model/model.js';
import type { GptqOptions } from '../../model/quantize/gptq.js';
import { SftConfig } from '../options/config.js';
import type { Run, RunSummary } from '../run/run.js';

const file = 'README.md';

/** owner/name of `owner/name@revision:config:split`, where no directory of that name is here. */
const hubName = (name: string): string | undefined =>
  existsSync(name) ? undefined : /^([\w-][\w.-]*\/[\w-][\w.-]*)(?:[@:].*)?$/.exec(name)?.[1];

/** A name as a card tells it: where a file lies is nobody's business. */
const told = (name: string): { readonly name: string; readonly onHub: boolean } => {
  const onHub = hubName(name);
  return { name: onHub ?? basename(resolve(name)), onHub: onHub !== undefined };
};

/** Options that say where things are or on what they run, not what was done. */
const untold: ReadonlySet<string> = new Set([
  ...['outputDir', 'resumeFromCheckpoint', 'chatTemplate', 'engine', 'threads', 'maxMemory', 'prefetch'],
  ...['pushToHub', 'hubModelId', 'hubStrategy', 'hubPrivateRepo', 'hubAlwaysPush', 'hubRevision'],
  ...['datasetNumProc', 'preparedCache', 'preparedCacheSize'],
  ...['loggingSteps', 'loggingStrategy', 'loggingFirstStep', 'saveStrategy', 'saveSteps', 'saveTotalLimit'],
]);

const changedOptions = (config: SftConfig): Readonly<Record<string, unknown>> => {
  const given: Readonly<Record<string, unknown>> = config;
  return Object.fromEntries(
    Object.entries<Field>(SftConfig.fields).flatMap(([name, field]) => {
      const value = given[name];
      const usual: unknown = 'default' in field ? field.default : undefined;
      return untold.has(name) || value === undefined || JSON.stringify(value) === JSON.stringify(usual)
        ? []
        : [[name, value] as const];
    }),
  );
};

/** The numbers of the last evaluation, as the log has them. */
const lastEvaluation = ({ history }: Run['state']): Readonly<Record<string, number>> => {
  const last = history.findLast((row) => Object.keys(row).some((key) => key.startsWith('eval_')));
  return Object.fromEntries(
    Object.entries(last ?? {}).flatMap(([key, value]) =>
      key.startsWith('eval_') && typeof value === 'number' && !/runtime|per_second|seconds/.test(key)
        ? [[key, value] as const]
        : [],
    ),
  );
};

const sizeOf = ({ shape }: { readonly shape: ReadonlyArray<number> }): number => shape.reduce((a, b) => a * b, 1);

/** What a run's card says. */
export const cardOf = (run: Run, summary: RunSummary, outputDir: string): ModelCard => {
  const { setup, config, state, tokenizer, trainSummary } = run;
  const base = setup.modelName ?? (typeof setup.model === 'string' ? setup.model : undefined);
  const found = base === undefined ? undefined : told(base);
  const { model } = state;
  const trainable = new Set(model.trainable);
  const weights = Object.entries(model.weights);
  return {
    name: basename(resolve(outputDir)),
    repoId: run.pusher?.repoId,
    baseModel: found?.name,
    baseOnHub: found?.onHub ?? false,
    datasets: (setup.datasetNames ?? []).map(told),
    adapter: model.lora !== undefined,
    chats: tokenizer?.chatTemplate !== undefined,
    trainableParameters: weights.reduce((sum, [name, weight]) => sum + (trainable.has(name) ? sizeOf(weight) : 0), 0),
    totalParameters: weights.reduce((sum, [, weight]) => sum + sizeOf(weight), 0),
    data:
      trainSummary.rows === 0
        ? {}
        : {
            'rows read': trainSummary.rowsRead,
            'rows refused': trainSummary.rejected,
            'rows cut': trainSummary.truncated,
            'rows trained on': trainSummary.rows,
            tokens: trainSummary.tokens,
            'tokens trained': trainSummary.trainedTokens,
          },
    options: changedOptions(config),
    metrics: {
      steps: summary.steps,
      epochs: summary.epoch,
      'mean training loss': summary.trainLoss,
      'tokens seen': summary.numTokens,
      ...lastEvaluation(state),
      ...(summary.bestStep === undefined ? {} : { 'best step': summary.bestStep }),
    },
  };
};

/** What the card of a quantised model is told besides the model. */
export interface GptqTold {
  readonly modelName: string;
  readonly datasetNames: ReadonlyArray<string>;
  readonly chats: boolean;
  /** Perplexities before and after, and rows they are of, by the names of the command's output. */
  readonly measured: Readonly<Record<string, number>>;
}

/** The card of a model that GPTQ has rounded: perplexities before and after stand among its results. */
export const gptqCard = (
  outputDir: string,
  { weights }: CausalLM,
  { bits, groupSize, descAct, sym, dampPercent }: GptqOptions,
  { modelName, datasetNames, chats, measured }: GptqTold,
): ModelCard => {
  const found = told(modelName);
  const { calibration_rows: calibrationRows = 0, eval_rows: evalRows, ...metrics } = measured;
  return {
    name: basename(resolve(outputDir)),
    baseModel: found.name,
    baseOnHub: found.onHub,
    datasets: datasetNames.map(told),
    adapter: false,
    chats,
    quantization: `GPTQ in ${bits} bits, ${groupSize === -1 ? 'one group a row' : `groups of ${groupSize}`}`,
    trainableParameters: 0,
    totalParameters: Object.values(weights).reduce((sum, weight) => sum + sizeOf(weight), 0),
    data: {
      'calibration rows': calibrationRows,
      ...(evalRows === undefined ? {} : { 'rows held out, of the eval perplexities': evalRows }),
    },
    options: { bits, groupSize, descAct, sym, dampPercent },
    metrics,
  };
};

/** Writes README.md, unless one is there that somebody else has written. */
export const writeModelCard = (dir: string, card: ModelCard): TaskEither<FatalError, void> => {
  const path = join(dir, file);
  const ours: TaskEither<FatalError, boolean> = TE.tryCatch(
    async () => (existsSync(path) ? (await readFile(path, 'utf8')).includes(cardMark) : true),
    (error) => fileError(path, error),
  );
  return pipe(
    ours,
    TE.flatMap((writable) =>
      writable ? writeTextAtomically(path, modelCard(card)) : TE.fromEither(E.right(undefined)),
    ),
  );
};
