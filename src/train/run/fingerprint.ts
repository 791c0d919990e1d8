/** What tells runs that make the same updates from those that do not. */
import { createHash } from 'node:crypto';
import type { CausalLM } from '../../model/model.js';
import { QuantizationConfig } from '../../model/quantize/config.js';
import type { Labelled } from '../../records.js';
import type { SftConfig } from '../options/config.js';

/** What decides the updates of a run; changing any of it makes another run. */
const decisive: ReadonlyArray<keyof SftConfig> = [
  'perDeviceTrainBatchSize',
  'gradientAccumulationSteps',
  'epochRemainder',
  'numTrainEpochs',
  'maxSteps',
  'seed',
  'dataSeed',
  'shuffle',
  'groupByLength',
  'streaming',
  'stoppingStrategy',
  'evalSplit',
  'shuffleBuffer',
  'dataloaderDropLast',
  'parity',
  'lossMean',
  'learningRate',
  'lrSchedulerType',
  'lrCycles',
  'lrPower',
  'lrEnd',
  'lrTimescale',
  'lrDecaySteps',
  'lrDecayType',
  'warmupSteps',
  'warmupRatio',
  'optim',
  'weightDecay',
  'adamBeta1',
  'adamBeta2',
  'adamEpsilon',
  'momentum',
  'maxGradNorm',
  'lossType',
  'labelSmoothingFactor',
  'neftuneNoiseAlpha',
  'disableDropout',
  'nonFinite',
  'precision',
  'loraplusLrRatio',
  'loraplusLrEmbedding',
  ...(Object.keys(QuantizationConfig.fields) as ReadonlyArray<keyof QuantizationConfig>),
];

/** The same, added since: told only where they are given, so that checkpoints of earlier versions stay those of the same run. */
const addedSince: ReadonlyArray<keyof SftConfig> = ['lrStableSteps', 'lrWarmupType', 'ropeScaling'];

/** What decides the rows of a streamed run, whose rows are not at hand to be looked at. */
const preparing: ReadonlyArray<keyof SftConfig> = [
  'datasetTextField',
  'maxLength',
  'packing',
  'packingStrategy',
  'numOfSequences',
  'charsPerToken',
  'appendConcatToken',
  'addSpecialTokens',
  'completionOnlyLoss',
  'promptBorder',
  'assistantOnlyLoss',
  'responseTemplate',
  'instructionTemplate',
  'chatTemplate',
  'chatFormat',
];

/** A hash of the options and rows that decide a run's updates. */
export const fingerprintOf = (
  config: SftConfig,
  rows: ReadonlyArray<Labelled> | undefined,
  { trainable, lora, config: shape }: Pick<CausalLM, 'trainable' | 'lora'> & Partial<Pick<CausalLM, 'config'>>,
): string => {
  const hash = createHash('sha256');
  hash.update(JSON.stringify(decisive.map((name) => config[name] ?? null)));
  for (const name of addedSince) if (config[name] !== undefined) hash.update(JSON.stringify([name, config[name]]));
  // Earlier versions grouped the rows of a micro-batch.
  if (config.groupByLength && config.gradientAccumulationSteps > 1) hash.update('lengths of an update');
  if (shape?.experts !== undefined) hash.update(JSON.stringify(['routerAuxLossCoef', config.routerAuxLossCoef]));
  hash.update(JSON.stringify(trainable));
  hash.update(JSON.stringify(lora ?? null));
  if (rows === undefined) hash.update(JSON.stringify(preparing.map((name) => config[name] ?? null)));
  for (const row of rows ?? []) {
    hash.update(row.inputIds);
    hash.update(row.labels);
    hash.update(JSON.stringify(row.seqLengths));
    if (row.lossWeights !== undefined) hash.update(row.lossWeights);
  }
  return hash.digest('hex');
};
