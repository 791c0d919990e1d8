/** What a run tells, as it stands in its record: pure functions of an event, and of the time where that counts. */
import { withoutSecrets } from '../../errors.js';
import type { StepResult } from '../../records.js';
import type { Groups } from '../evaluating/groupSums.js';
import { SftConfig } from '../options/config.js';
import type { Begun, Evaluation, RunSummary } from '../run/run.js';
import { shownFacts } from './record.js';
import type { EvaluationEntry, HardEntry, RunRecord } from './record.js';
import type { StepEntry } from './stepColumns.js';

const count = (value: number): string => value.toLocaleString('en-US');

const finite = (value: number | undefined): number | null =>
  value !== undefined && Number.isFinite(value) ? value : null;

/** The options that are not at their defaults. */
const givenOptions = (config: SftConfig): Readonly<Record<string, unknown>> => {
  const defaults: Readonly<Record<string, unknown>> = SftConfig.defaults;
  const given = Object.fromEntries(
    Object.entries(config).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(defaults[name])),
  );
  return JSON.parse(withoutSecrets(JSON.stringify(given))) as Readonly<Record<string, unknown>>;
};

/** What is known once the run is about to begin; `facts` stand before those of the run. */
export const begunFields = (
  { plan, config, trainSummary, trainableParameters, totalParameters }: Begun,
  facts: RunRecord['facts'],
): Partial<RunRecord> => ({
  totalSteps: plan.totalSteps,
  maxGradNorm: config.maxGradNorm,
  options: givenOptions(config),
  state: 'training',
  facts: [
    ...shownFacts(facts),
    ['parameters', `${count(trainableParameters)} of ${count(totalParameters)} trained`],
    ...(trainSummary.rows === 0
      ? []
      : ([
          ['rows', `${count(trainSummary.rows)} (${count(trainSummary.rejected)} refused)`],
          ['tokens', `${count(trainSummary.trainedTokens)} of ${count(trainSummary.tokens)} trained`],
        ] as const)),
  ],
});

/** A step: `seconds` since the run was begun, `took` milliseconds of them its own, `memory` bytes held by the process. */
export const stepEntry = (
  { step, epoch, loss, learningRate, gradNorm, numTokens, meanTokenAccuracy, entropy }: StepResult,
  { seconds, took, memory }: { readonly seconds: number; readonly took: number; readonly memory: number },
): StepEntry => ({
  step,
  epoch,
  seconds,
  loss: finite(loss),
  learningRate: finite(learningRate),
  gradNorm: finite(gradNorm),
  tokensPerSecond: took > 0 ? finite((numTokens * 1000) / took) : null,
  accuracy: finite(meanTokenAccuracy),
  entropy: finite(entropy),
  memory: finite(memory),
});

const lossesOf = (groups: Groups): Readonly<Record<string, number>> =>
  Object.fromEntries(Object.entries(groups).map(([name, { loss }]) => [name, loss]));

/** An evaluation, told `seconds` after the run was begun. */
export const evaluationEntry = (evaluation: Evaluation, seconds: number): EvaluationEntry => ({
  name: evaluation.name ?? '',
  step: evaluation.step,
  epoch: evaluation.epoch,
  seconds,
  loss: evaluation.loss,
  tokenLoss: evaluation.tokenLoss,
  perplexity: evaluation.perplexity,
  accuracy: evaluation.meanTokenAccuracy,
  entropy: evaluation.entropy,
  roles: lossesOf(evaluation.roles),
  sources: lossesOf(evaluation.sources),
  metrics: evaluation.metrics,
});

/** The hardest rows with those of an evaluation in the place of its set's earlier ones. */
export const hardestAfter = (
  hardest: ReadonlyArray<HardEntry>,
  { name: set = '', hardest: found }: Evaluation,
): ReadonlyArray<HardEntry> => [
  ...hardest.filter(({ name }) => name !== set),
  ...found.map(({ index, file, line, loss, numTokens, tokens }) => ({
    name: set,
    loss,
    numTokens,
    place: file === undefined ? `row ${index}` : `${file}:${line ?? index + 1}`,
    tokens: tokens.map((token) => [token.text, token.loss ?? null] as const),
  })),
];

/** How a run ended that did not come to its end. */
export const endings: Readonly<Record<Exclude<RunSummary['ended'], 'finished'>, string>> = {
  stopped: 'stopped',
  early: 'stopped early',
  left: 'left to be resumed',
};

/** How and where the run ended, among the facts. */
export const endedFact = (
  how: string,
  { totalSteps }: Pick<RunRecord, 'totalSteps'>,
  stepsDone: number,
): RunRecord['facts'][number] => [
  'ended',
  totalSteps === null
    ? `${how} before the first step`
    : `${how} after step ${count(stepsDone)} of ${count(totalSteps)}`,
];
