/**
 * `SftConfig`: every option of a run once, with its codec, default and one line of documentation. Command-line flags, help texts
 * and the parity table are generated from it. Names are those of TRL's SFTConfig and transformers' TrainingArguments, camelCased.
 */
import * as E from 'fp-ts/lib/Either.js';
import * as t from 'io-ts';
import {
  boolean,
  fraction,
  json,
  nonEmptyString,
  nonNegativeInteger,
  nonNegativeNumber,
  nullable,
  numberThat,
  oneOf,
  oneOrMore,
  positiveInteger,
  positiveNumber,
  properFraction,
  texts,
} from '../../formats/optionCodecs.js';
import { closed, option, optional } from '../../formats/closed.js';
import type { ClosedInput, ClosedValue } from '../../formats/closed.js';
import { LoraConfig } from '../../model/adapters/lora.js';
import { QuantizationConfig } from '../../model/quantize/config.js';
import { optimizers } from './optimNames.js';

const interval = numberThat('a whole number ≥ 1, or a share of the run between 0 and 1', (x) =>
  x < 1 ? x > 0 : Number.isSafeInteger(x),
);
const textOrIds = json<string | ReadonlyArray<number>>(
  t.union([t.string, t.readonlyArray(t.number)], 'a text or a list of token ids'),
);
const resume = json<boolean | string>(t.union([t.boolean, t.string], 'true, false or a directory'));

const data = {
  datasetTextField: optional(nonEmptyString, 'Column that holds the text of a plain-text row.'),
  maxLength: optional(
    positiveInteger,
    "Tokens a row keeps, or the window when packing. Default: the tokenizer's limit, at most 1024.",
  ),
  packing: option(boolean, false, 'Put several rows into one window of maxLength tokens.'),
  evalPacking: optional(boolean, 'The same for evaluation rows. Default: as packing.'),
  packingStrategy: option(
    oneOf('bfd', 'bfd_split', 'wrapped'),
    'bfd',
    'How rows are packed: best fit decreasing (long rows cut off or split), or wrapped end to end.',
  ),
  paddingFree: option(
    boolean,
    false,
    'Accepted for compatibility: no padding ever reaches the model here, so there is nothing to switch.',
  ),
  numOfSequences: option(positiveInteger, 1024, 'Windows that the text buffer of 0.7.10 packing is sized for.'),
  charsPerToken: option(positiveNumber, 3.6, 'Letters a token is taken to have in that buffer.'),
  appendConcatToken: option(boolean, true, 'Put the end-of-sequence token after every row in 0.7.10 packing.'),
  addSpecialTokens: optional(
    boolean,
    'Whether the tokenizer adds its special tokens. Default: unless a chat template printed them; 0.7.10 parity: always.',
  ),
  completionOnlyLoss: optional(
    boolean,
    'Train on completions only. Default: on when a row has prompt and completion, off under 0.7.10 parity.',
  ),
  promptBorder: option(
    oneOf('offsets', 'prompt_ids'),
    'offsets',
    'Where a completion begins: at the character, or after as many tokens as the prompt alone has, as in TRL.',
  ),
  assistantOnlyLoss: option(boolean, false, 'Train only on what the assistant says in a conversation.'),
  responseTemplate: optional(textOrIds, 'Train only on what follows this text (or token ids) in a row.'),
  instructionTemplate: optional(textOrIds, 'With responseTemplate: what begins the next turn of the user.'),
  chatTemplate: optional(nonEmptyString, "Jinja source, or a file of it, used instead of the tokenizer's template."),
  chatFormat: optional(
    oneOf('chatml'),
    "Set a base model up for conversations: the format's tokens and template, and embedding rows for them.",
  ),
  resizeToMultipleOf: optional(positiveInteger, 'With chatFormat: round the rows of the embedding up to a multiple.'),
  newTokenInit: option(
    oneOf('normal', 'mean'),
    'normal',
    'With chatFormat: new rows are drawn as a new model is, or begin at the mean of the others.',
  ),
  padToMultipleOf: optional(positiveInteger, 'Round batch widths up to a multiple of this.'),
  preparedCache: option(
    boolean,
    true,
    'Keep prepared rows on disk (RXTUNE_CACHE, else ~/.cache/rxtune), and take them from there while data, tokenizer and options stay the same.',
  ),
  preparedCacheSize: option(
    positiveNumber,
    10,
    'GiB that all prepared rows kept may take together; those longest not used go first.',
  ),
  maxRejectRate: option(fraction, 1, 'Share of refused rows above which the run ends.'),
  strict: option(
    boolean,
    false,
    'Refuse to train on a dataset that fails its checks: rows refused, cut, without a token or stop token to train, with BOS doubled.',
  ),
  stoppingStrategy: option(
    oneOf('first_exhausted', 'all_exhausted', 'all_exhausted_without_replacement'),
    'first_exhausted',
    'Where a mixture of weighted sources ends: with the first that ends, or when each has ended once.',
  ),
  evalSplit: optional(
    numberThat(
      'a share of the rows below 1, or a whole number of rows',
      (x) => x > 0 && (x < 1 || Number.isSafeInteger(x)),
    ),
    'Rows (or the share of them) held back from the training data by lot to evaluate on.',
  ),
  streaming: option(
    boolean,
    false,
    'Read and prepare the rows while training, instead of holding them. Needs maxSteps.',
  ),
  datasetNumProc: optional(
    positiveInteger,
    'Threads that prepare rows; 1: the main one alone. Default: all cores, once a data set takes long enough to be worth it.',
  ),
  shuffle: option(boolean, true, 'Draw a new order of the rows for every epoch.'),
  shuffleBuffer: option(positiveInteger, 10_000, 'Rows the shuffle of a streamed dataset chooses from.'),
  groupByLength: option(boolean, false, 'Batch rows of about the same length together.'),
  dataloaderDropLast: option(boolean, false, 'Leave out an incomplete last batch of an epoch.'),
  prefetch: option(positiveInteger, 2, 'Updates prepared ahead of the one that runs.'),
} as const;

const loop = {
  perDeviceTrainBatchSize: option(positiveInteger, 8, 'Rows of a micro-batch.'),
  perDeviceEvalBatchSize: option(positiveInteger, 8, 'Rows of an evaluation batch.'),
  gradientAccumulationSteps: option(positiveInteger, 1, 'Micro-batches whose gradients make one update.'),
  epochRemainder: option(
    oneOf('carry', 'update'),
    'carry',
    'Micro-batches left at the end of an epoch: carried into the next, or made a smaller update of their own.',
  ),
  numTrainEpochs: option(positiveNumber, 3, 'Passes over the data; may be a fraction.'),
  maxSteps: option(
    numberThat('-1 or a whole number ≥ 1', (x) => x === -1 || (Number.isSafeInteger(x) && x >= 1), 'integer'),
    -1,
    'Updates of the run; overrides numTrainEpochs. -1: not set.',
  ),
  seed: option(nonNegativeInteger, 42, 'Seed of every random draw, applied before anything else.'),
  dataSeed: optional(nonNegativeInteger, 'Seed of the order of the rows. Default: seed.'),
  lossMean: optional(
    oneOf('token', 'microBatch'),
    'What the loss of an update is the mean of: its tokens, or the means of its micro-batches. Default: token.',
  ),
  parity: optional(oneOf('trl-0.7.10'), 'Reproduce TRL 0.7.10 where this library does better on purpose.'),
} as const;

const optimisation = {
  learningRate: option(nonNegativeNumber, 5e-5, 'Peak learning rate.'),
  lrSchedulerType: option(
    oneOf(
      'linear',
      'cosine',
      'cosine_with_restarts',
      'cosine_with_min_lr',
      'polynomial',
      'constant',
      'constant_with_warmup',
      'inverse_sqrt',
      'warmup_stable_decay',
    ),
    'linear',
    'How the learning rate changes over the run.',
  ),
  lrCycles: optional(
    positiveNumber,
    'Waves of the cosine schedules and of stable decay. Default: 0.5, with restarts 1.',
  ),
  lrPower: optional(positiveNumber, 'Power of the polynomial schedule. Default: 1.'),
  lrEnd: optional(
    nonNegativeNumber,
    'Rate at which polynomial (1e-7), cosine_with_min_lr (0) and stable decay (0, its warm-up begins there too) end.',
  ),
  lrTimescale: optional(positiveNumber, 'Timescale of inverse_sqrt. Default: the warm-up, else 10000.'),
  lrDecaySteps: optional(positiveInteger, 'Updates of the fall of warmup_stable_decay. Default: a tenth of the run.'),
  lrStableSteps: optional(
    nonNegativeInteger,
    'Updates that warmup_stable_decay holds the peak. Default: until the fall that ends with the run.',
  ),
  lrWarmupType: optional(oneOf('linear', 'cosine', '1-sqrt'), 'How warmup_stable_decay rises. Default: linear.'),
  lrDecayType: optional(oneOf('cosine', 'linear', '1-sqrt'), 'How warmup_stable_decay falls. Default: cosine.'),
  warmupSteps: option(
    numberThat(
      'a whole number ≥ 0, or a share of the run below 1',
      (x) => (x >= 0 && x < 1) || Number.isSafeInteger(x),
    ),
    0,
    'Updates over which the rate rises from 0, or a share of the run; goes before warmupRatio.',
  ),
  warmupRatio: option(fraction, 0, 'The same as a share of the run.'),
  optim: option(
    oneOf(...optimizers),
    'adamw_torch',
    'Update rule: AdamW (also with its moments in 8 bits), Adafactor, Lion, or gradient descent with momentum.',
  ),
  weightDecay: option(nonNegativeNumber, 0, 'Decoupled weight decay; never on biases and norm weights.'),
  adamBeta1: option(properFraction, 0.9, 'Decay of the first moment.'),
  adamBeta2: option(properFraction, 0.999, 'Decay of the second moment.'),
  adamEpsilon: option(positiveNumber, 1e-8, 'Added to the root of the second moment.'),
  momentum: option(properFraction, 0, 'Momentum of sgd.'),
  maxGradNorm: option(
    nullable(nonNegativeNumber),
    1,
    'Largest norm of all gradients together; 0 or null: no clipping.',
  ),
  lossType: option(
    oneOf('nll', 'chunked_nll', 'dft'),
    'nll',
    'Loss of a token: -log p, or the dynamic fine-tuning -p·log p.',
  ),
  labelSmoothingFactor: option(properFraction, 0, 'Share of the loss spread evenly over the vocabulary.'),
  routerAuxLossCoef: option(
    nonNegativeNumber,
    0.001,
    'What the load-balancing loss of routed experts counts in the loss, of models that have such; 0 leaves it out.',
  ),
  neftuneNoiseAlpha: optional(positiveNumber, 'Strength of the noise on embeddings while training.'),
  disableDropout: option(boolean, false, "Switch the model's own dropout off while training; the adapter's stays."),
  gradientCheckpointing: option(boolean, false, 'Keep layer inputs only and compute the rest again on the way back.'),
  nonFinite: option(
    oneOf('stop', 'skip'),
    'stop',
    'A loss or gradient that is not finite: end the run naming the rows, or skip the update and count it.',
  ),
} as const;

const watching = {
  outputDir: optional(
    nonEmptyString,
    'Directory of the final model, the log and the checkpoints. Absent: nothing is written.',
  ),
  runName: optional(nonEmptyString, 'Name of the run in reports. Default: the model and the dataset.'),
  reportTo: option(
    oneOrMore(oneOf('none', 'all', 'tensorboard')),
    ['none'],
    'Where numbers go besides log.jsonl: event files of TensorBoard.',
  ),
  loggingDir: optional(nonEmptyString, "Directory of TensorBoard's event files. Default: runs in outputDir."),
  loggingStrategy: option(oneOf('steps', 'epoch', 'no'), 'steps', 'When a log row is written.'),
  loggingSteps: option(interval, 1, 'Updates between log rows, or a share of the run.'),
  loggingFirstStep: option(boolean, false, 'Log the first update whatever loggingSteps says.'),
  evalStrategy: option(oneOf('no', 'steps', 'epoch'), 'no', 'When evaluation runs. Setting evalSteps means steps.'),
  evalSteps: optional(interval, 'Updates between evaluations, or a share of the run. Default: loggingSteps.'),
  evalDelay: option(nonNegativeNumber, 0, 'Updates (or epochs, with that strategy) before the first evaluation.'),
  evalOnStart: option(boolean, false, 'Evaluate once before the first update.'),
  evalSamples: option(
    nonNegativeInteger,
    0,
    'Held-out prompts of each evaluation set that are answered greedily with every evaluation.',
  ),
  evalSampleTokens: option(positiveInteger, 64, 'Tokens that such an answer may have.'),
  evalSampleStop: optional(
    texts,
    'Texts before which such an answer ends, beside its stop tokens. As they stand; on a command line again for each.',
  ),
  evalHardest: option(nonNegativeInteger, 10, 'Rows of the highest loss that an evaluation tells.'),
  saveStrategy: option(
    oneOf('steps', 'epoch', 'no', 'best'),
    'steps',
    'When a checkpoint is written. best: whenever an evaluation is the best yet.',
  ),
  saveSteps: option(interval, 500, 'Updates between checkpoints, or a share of the run.'),
  saveTotalLimit: optional(positiveInteger, 'Checkpoints kept; the best one is kept besides the newest.'),
  pushToHub: option(
    boolean,
    false,
    'Upload the model to the Hub at the end, and before as hubStrategy says. HF_TOKEN says who uploads.',
  ),
  hubModelId: optional(
    nonEmptyString,
    "Repository to upload to: owner/name, or the name of one of one's own. Default: the name of outputDir.",
  ),
  hubStrategy: option(
    oneOf('end', 'every_save', 'checkpoint', 'all_checkpoints'),
    'every_save',
    'What is uploaded before the end: nothing; the model of each checkpoint; also the newest whole, to go on from; or all of them.',
  ),
  hubPrivateRepo: optional(
    boolean,
    "Whether a repository made for it is to be seen by nobody else. Default: as its owner's settings have it.",
  ),
  hubAlwaysPush: option(
    boolean,
    false,
    'Wait for an upload that is under way when the next is due, instead of passing that one over.',
  ),
  hubRevision: optional(nonEmptyString, 'Branch to upload to, made where it is not there. Default: main.'),
  saveOnlyModel: option(boolean, false, 'Leave optimizer state out of checkpoints; they cannot be resumed from.'),
  resumeFromCheckpoint: optional(
    resume,
    'true: go on from the newest sound checkpoint in outputDir; or its directory.',
  ),
  ignoreDataSkip: option(boolean, false, 'When resuming, begin the epoch anew instead of at the place left.'),
  loadBestModelAtEnd: option(boolean, false, 'Save the best checkpoint as the final model.'),
  metricForBestModel: optional(nonEmptyString, 'Metric that makes a checkpoint the best. Default: loss.'),
  greaterIsBetter: optional(boolean, 'Whether a larger metric is better. Default: unless its name ends with loss.'),
  earlyStoppingPatience: optional(positiveInteger, 'Evaluations without improvement after which training ends.'),
  earlyStoppingThreshold: option(nonNegativeNumber, 0, 'Change that counts as an improvement.'),
} as const;

const anObject = json<Readonly<Record<string, unknown>>>(t.record(t.string, t.unknown, 'an object'));

const running = {
  engine: optional(oneOf('native', 'tensorflow', 'wasm', 'cpu'), 'What computes. Default: the fastest that is there.'),
  maxMemory: optional(
    nonNegativeNumber,
    'GiB a run may take; one that is estimated to need more is refused before it starts. 0: no check. Default: what is free.',
  ),
  threads: optional(positiveInteger, 'Threads of the native engine. Default: one a core.'),
  modelInitKwargs: optional(
    anObject,
    'Options of loading as transformers calls them (torch_dtype, attn_implementation, rope_scaling, load_in_4bit, …).',
  ),
  attnImplementation: option(
    oneOf('fused', 'eager'),
    'fused',
    'Attention as one kernel, or step by step with all scores in memory: the same numbers, more slowly.',
  ),
  ropeScaling: optional(anObject, "In place of config.json's rope_scaling: how positions are stretched."),
  device: optional(
    oneOf('cpu', 'cuda'),
    'cuda: compute on an NVIDIA card (native or tensorflow engine). Default: on the processor.',
  ),
  precision: optional(
    oneOf('float32', 'bfloat16'),
    'bfloat16: matrix products round to it and weights that do not train are held in it; what trains stays float32. Default: as the engine runs, float32.',
  ),
} as const;

const adapter = {
  usePeft: option(boolean, false, 'Train a LoRA adapter, not the whole model. Any option below switches it on.'),
  loraplusLrRatio: optional(positiveNumber, 'LoRA+: how many times the rate of A the rate of B is. Default: the same.'),
  loraplusLrEmbedding: option(positiveNumber, 1e-6, 'With loraplusLrRatio: learning rate of adapters of embeddings.'),
  ...LoraConfig.fields,
} as const;

const quantisation = { ...QuantizationConfig.fields } as const;

/**
 * All options of a run, each with its codec, default and what it is for. `decodeSftConfig` decodes them as `sftTrainer` does:
 * `decode` of this alone knows no other names for them, and no contradictions between them.
 */
export const SftConfig = closed(
  'SftConfig',
  {
    ...data,
    ...loop,
    ...optimisation,
    ...watching,
    ...running,
    ...quantisation,
    ...adapter,
  },
  'docs/parity.md has all options, and rxtune sft --help',
);
/** The options as decoded: defaults are filled in. */
export type SftConfig = ClosedValue<typeof SftConfig>;
/** The options as a caller gives them: all may be left out. */
export type SftOptions = ClosedInput<typeof SftConfig>;

/** Option names by topic, in the order in which help and documentation show them. */
export const sftTopics = {
  data: Object.keys(data) as ReadonlyArray<keyof typeof data>,
  loop: Object.keys(loop) as ReadonlyArray<keyof typeof loop>,
  optimisation: Object.keys(optimisation) as ReadonlyArray<keyof typeof optimisation>,
  'logging, evaluation, saving': Object.keys(watching) as ReadonlyArray<keyof typeof watching>,
  running: Object.keys(running) as ReadonlyArray<keyof typeof running>,
  quantisation: Object.keys(quantisation) as ReadonlyArray<keyof typeof quantisation>,
  adapter: Object.keys(adapter) as ReadonlyArray<keyof typeof adapter>,
} as const satisfies Readonly<Record<string, ReadonlyArray<keyof SftConfig>>>;
export type SftTopic = keyof typeof sftTopics;
export const sftTopicNames = Object.keys(sftTopics) as ReadonlyArray<SftTopic>;

/** The adapter asked for, as the model knows it; undefined where the whole model trains. */
export const loraOf = (config: SftConfig): LoraConfig | undefined => {
  if (!config.usePeft) return undefined;
  const given: Readonly<Record<string, unknown>> = config;
  const fields = Object.keys(LoraConfig.fields).flatMap((name) =>
    given[name] === undefined ? [] : [[name, given[name]]],
  );
  const decoded = LoraConfig.decode(Object.fromEntries(fields));
  return E.isRight(decoded) ? decoded.right : undefined;
};
