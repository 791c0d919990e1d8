/** Combinations of options that no single field can refuse. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { initFault } from '../../model/adapters/initLora.js';
import { quantizationOf } from '../../model/quantize/config.js';
import type { SftConfig } from './config.js';
import { isParity } from './parity.js';

/** Says what is wrong with the options together, if that is. */
type Rule = (config: SftConfig) => FatalError | undefined;

const wrong = (field: keyof SftConfig, message: string, hint: string): FatalError =>
  usage('E_OPTIONS', message, { field, hint });

const templates: Rule = (config) => {
  const { packing, responseTemplate, instructionTemplate, chatFormat, chatTemplate } = config;
  if (packing && responseTemplate !== undefined && isParity(config))
    return usage(
      'E_COMPLETION_COLLATOR_WITH_PACKING',
      'responseTemplate cannot be used with packing under 0.7.10 parity',
      { field: 'responseTemplate', hint: 'leave out parity: rows are masked before they are packed then' },
    );
  if (instructionTemplate !== undefined && responseTemplate === undefined)
    return wrong('instructionTemplate', 'instructionTemplate needs responseTemplate', 'give both, or neither');
  if (chatFormat !== undefined && chatTemplate !== undefined)
    return wrong('chatTemplate', 'chatFormat brings a template of its own', 'give one of the two');
  return undefined;
};

const streamed: Rule = ({ streaming, strict, maxSteps, evalSplit }) => {
  if (!streaming) return undefined;
  if (strict)
    return wrong(
      'strict',
      'strict looks at a whole dataset before training',
      'leave out streaming, or run rxtune inspect --strict',
    );
  if (maxSteps <= 0)
    return usage('E_MAX_STEPS_REQUIRED', 'a streamed dataset has no length to count epochs by', {
      field: 'maxSteps',
      hint: 'set maxSteps',
    });
  if (evalSplit !== undefined && evalSplit >= 1)
    return wrong(
      'evalSplit',
      'a streamed dataset can be divided by a share only',
      'give a share below 1, or a file of its own',
    );
  return undefined;
};

const reports: Rule = ({ reportTo, loggingDir, outputDir }) =>
  reportTo.some((name) => name !== 'none') && loggingDir === undefined && outputDir === undefined
    ? wrong('loggingDir', 'reportTo needs a place for its files', 'set loggingDir or outputDir')
    : undefined;

const uploads: Rule = ({ pushToHub, outputDir }) =>
  pushToHub && outputDir === undefined
    ? wrong('outputDir', 'pushToHub uploads what is written, and nothing is', 'set outputDir')
    : undefined;

const schedule: Rule = ({ lrSchedulerType, lrEnd = 1e-7, learningRate }) =>
  lrSchedulerType === 'polynomial' && lrEnd >= learningRate
    ? wrong('lrEnd', 'lrEnd must lie below learningRate', 'lower lrEnd or raise learningRate')
    : undefined;

/** What chooses by evaluations, by name. */
const judging = (config: SftConfig): ReadonlyArray<string> => [
  ...(config.loadBestModelAtEnd ? ['loadBestModelAtEnd'] : []),
  ...(config.earlyStoppingPatience === undefined ? [] : ['earlyStoppingPatience']),
  ...(config.saveStrategy === 'best' ? ['saveStrategy best'] : []),
];

const evaluated: Rule = (config) => {
  const [judge] = judging(config);
  return judge !== undefined && config.evalStrategy === 'no'
    ? wrong('evalStrategy', `${judge} needs evaluation`, 'set evalStrategy to steps or epoch')
    : undefined;
};

/** Of the best model there must be a checkpoint. */
const bestIsSaved: Rule = (config) => {
  const { loadBestModelAtEnd, saveStrategy, saveSteps, evalStrategy, evalSteps = config.loggingSteps } = config;
  if (!loadBestModelAtEnd || saveStrategy === 'best') return undefined;
  if (evalStrategy !== saveStrategy)
    return wrong(
      'saveStrategy',
      'loadBestModelAtEnd needs evaluation and checkpoints at the same times',
      `evalStrategy is ${evalStrategy}, saveStrategy is ${saveStrategy}`,
    );
  const multiple = saveSteps / evalSteps;
  return evalStrategy === 'steps' && Math.abs(multiple - Math.round(multiple)) > 1e-9
    ? wrong(
        'saveSteps',
        'loadBestModelAtEnd needs saveSteps to be a multiple of evalSteps',
        `evalSteps is ${evalSteps}, saveSteps is ${saveSteps}`,
      )
    : undefined;
};

const rules: ReadonlyArray<Rule> = [
  (config) =>
    E.match(
      (fault: FatalError) => fault,
      () => undefined,
    )(quantizationOf(config)),
  ({ initLoraWeights }) => initFault(initLoraWeights),
  templates,
  streamed,
  reports,
  uploads,
  schedule,
  evaluated,
  bestIsSaved,
];

/** The options, if none of them contradict each other; else the first contradiction. */
export const consistent = (config: SftConfig): Either<FatalError, SftConfig> => {
  for (const rule of rules) {
    const fault = rule(config);
    if (fault !== undefined) return E.left(fault);
  }
  return E.right(config);
};
