/**
 * Arguments of transformers' TrainingArguments, of TRL's SFTConfig and SFTTrainer that are no options here: at which values they ask
 * for nothing that is not so anyway, and what to do instead at others. `null` and absent ask for nothing.
 */

export interface ForeignArgument {
  /** Whether the value changes nothing here. */
  readonly harmless: (value: unknown) => boolean;
  /** Why other values are refused, and the way instead; or, where none is, why it changes nothing. */
  readonly reason: string;
  /** What its flag takes. */
  readonly flag: 'boolean' | 'json';
}

/** Harmless whatever it says. */
const anything = (reason: string): ForeignArgument => ({ harmless: () => true, reason, flag: 'json' });
const eitherWay = (reason: string): ForeignArgument => ({
  harmless: (value) => typeof value === 'boolean',
  reason,
  flag: 'boolean',
});
/** Harmless when it is off, or on. */
const off = (reason: string): ForeignArgument => ({ harmless: (value) => value === false, reason, flag: 'boolean' });
const on = (reason: string): ForeignArgument => ({ harmless: (value) => value === true, reason, flag: 'boolean' });

const isEmpty = (value: unknown): boolean =>
  value === '' ||
  value === false ||
  (Array.isArray(value) && value.length === 0) ||
  (typeof value === 'object' && value !== null && Object.keys(value).length === 0);
const empty = (reason: string): ForeignArgument => ({ harmless: isEmpty, reason, flag: 'json' });
/** Harmless at these values alone. */
const only = (reason: string, ...values: ReadonlyArray<unknown>): ForeignArgument => ({
  harmless: (value) => isEmpty(value) || values.includes(value),
  reason,
  flag: 'json',
});
const wholeNumber = (reason: string): ForeignArgument => ({
  harmless: (value) => Number.isSafeInteger(value) && Number(value) >= -1,
  reason,
  flag: 'json',
});

const oneProcess = 'a run is one process, with the threads that `threads` says; there are no ranks to divide it among';
const compiled = 'kernels are compiled when the engine is built';
const told = 'every log row counts the tokens read, the summary tokens a second';
const loader = 'rows are prepared beside the updates; how many ahead, says prefetch';

const processes = {
  localRank: only(oneProcess, -1, 0),
  ddpBackend: empty(oneProcess),
  ddpFindUnusedParameters: eitherWay(oneProcess),
  ddpBucketCapMb: anything(oneProcess),
  ddpBroadcastBuffers: eitherWay(oneProcess),
  ddpStaticGraph: eitherWay(oneProcess),
  ddpTimeout: anything(oneProcess),
  fsdp: empty(oneProcess),
  fsdpConfig: empty(oneProcess),
  fsdpMinNumParams: only(oneProcess, 0),
  fsdpTransformerLayerClsToWrap: empty(oneProcess),
  deepspeed: empty(oneProcess),
  parallelismConfig: empty(oneProcess),
  acceleratorConfig: empty(oneProcess),
  mpParameters: empty(oneProcess),
  dispatchBatches: off(oneProcess),
  splitBatches: off(oneProcess),
  averageTokensAcrossDevices: eitherWay(oneProcess),
  evalUseGatherObject: off(oneProcess),
  saveOnEachNode: eitherWay(oneProcess),
  logOnEachNode: eitherWay(oneProcess),
  logLevelReplica: anything(oneProcess),
  tpuNumCores: empty('an engine is native, tensorflow, wasm or cpu'),
  tpuMetricsDebug: off('an engine is native, tensorflow, wasm or cpu'),
  rayScope: anything('there is no search of hyperparameters to keep trials of'),
} as const;

const devices = {
  useCpu: eitherWay('the processor is the default; device says where else'),
  noCuda: eitherWay('the processor is the default; device says where else'),
  useMpsDevice: off('no engine runs on Metal'),
  useIpex: off('the native engine brings kernels of its own'),
  jitModeEval: off(compiled),
  fp16: off('half precision needs loss scaling; use precision: bfloat16'),
  fp16OptLevel: only('half precision needs loss scaling; use precision: bfloat16', 'O1'),
  fp16Backend: only('half precision needs loss scaling; use precision: bfloat16', 'auto'),
  halfPrecisionBackend: only('half precision needs loss scaling; use precision: bfloat16', 'auto'),
  fp16FullEval: off('evaluation computes as training does: precision'),
  bf16FullEval: off('evaluation computes as training does: precision'),
  tf32: off('products round to what precision says: float32 or bfloat16'),
  torchdynamo: empty(compiled),
  torchCompile: off(compiled),
  torchCompileBackend: empty(compiled),
  torchCompileMode: empty(compiled),
  useLigerKernel: eitherWay('norms, rotary positions, gates and the loss are fused here either way'),
  ligerKernelConfig: anything('norms, rotary positions, gates and the loss are fused here either way'),
  torchEmptyCacheSteps: anything('memory that is given back is taken again; nothing is cached besides'),
  autoFindBatchSize: off('memory is estimated before the first update, and E_MEMORY names the options that fit'),
  activationOffloading: off('activations lie in the memory that there is; gradientCheckpointing keeps fewer'),
  useCache: eitherWay('training reads whole rows; generation always keeps keys and values'),
  skipMemoryMetrics: eitherWay('the report and the dashboard show memory either way'),
  debug: empty('E_NON_FINITE names the rows; the doctor says what runs where'),
} as const;

const rows = {
  dataloaderNumWorkers: wholeNumber(loader),
  dataloaderPinMemory: eitherWay(loader),
  dataloaderPersistentWorkers: eitherWay(loader),
  dataloaderPrefetchFactor: wholeNumber(loader),
  dataloaderMultiprocessingContext: anything(loader),
  dataloaderInOrder: on('batches come in the order that the seeds say'),
  datasetBatchSize: anything('rows are tokenised one by one, which gives the same'),
  removeUnusedColumns: eitherWay('further columns never reach the model, and never matter'),
  labelNames: {
    harmless: (value: unknown) => isEmpty(value) || JSON.stringify(value) === '["labels"]',
    reason: 'labels are called labels',
    flag: 'json',
  },
  lengthColumnName: anything('lengths are counted: groupByLength'),
  trainSamplingStrategy: only('shuffle false keeps the order; groupByLength batches rows of like length', 'random'),
  shuffleDataset: off('shuffle draws a new order every epoch; the order before packing is that of the data'),
  truncationMode: only('rows keep their beginning; cut them in an operator of your own', 'keep_start'),
  chatTemplatePath: empty('chatTemplate takes the template, or a file of it'),
  eosToken: empty("the tokenizer's own; set it in tokenizer_config.json"),
  padToken: empty('padding never reaches the model; the tokenizer needs no such token'),
  trustRemoteCode: off('no code of a repository is run'),
  mlm: off('masked-language training is not what a causal model learns from'),
  infinite: off('a packed run goes on for as many epochs as it needs; set maxSteps'),
  pastIndex: only('rows are whole documents; nothing is carried over from batch to batch', -1),
} as const;

const optimising = {
  adafactor: off('optim: adafactor'),
  optimArgs: empty("the optimizers' settings are options: adamBeta1, adamBeta2, adamEpsilon, momentum, weightDecay"),
  optimTargetModules: empty('GaLore and APOLLO are not offered: optim adamw_8bit or adafactor need less memory'),
  gradientCheckpointingKwargs: {
    harmless: (value: unknown) =>
      isEmpty(value) ||
      (typeof value === 'object' && value !== null && Object.keys(value).every((key) => /^use_?reentrant$/i.test(key))),
    reason: 'use_reentrant alone: layers run again the same way whatever it says',
    flag: 'json',
  },
  loggingNanInfFilter: eitherWay('a loss that is not finite ends the run or is counted: nonFinite'),
  fullDeterminism: eitherWay('the same options, seed, threads and processor give the same bits either way'),
  prepareInInt8Kwargs: empty('a quantised model is prepared when it is loaded; gradientCheckpointing is an option'),
  numTrainSteps: empty('the name is maxSteps'),
} as const;

const evaluating = {
  predictionLossOnly: eitherWay('logits are never kept; computeMetrics is asked where there is one'),
  evalAccumulationSteps: anything('logits are never kept, so nothing piles up'),
  evalDoConcatBatches: on('preprocessLogitsForMetrics says what is kept of each batch'),
  batchEvalMetrics: off('preprocessLogitsForMetrics says what is kept of each batch'),
  includeForMetrics: empty('computeMetrics is given the evaluation and the model'),
  includeInputsForMetrics: off('computeMetrics is given the evaluation and the model'),
  useLegacyPredictionLoop: off('there is one evaluation loop'),
} as const;

const telling = {
  includeNumInputTokensSeen: anything(told),
  includeTokensPerSecond: eitherWay(told),
  logLevel: anything('the library prints nothing: warnings are a stream'),
  disableTqdm: eitherWay('a bar is drawn by the command line alone, on a terminal'),
  project: only('reportTo: tensorboard', 'huggingface'),
  trackioSpaceId: empty('reportTo: tensorboard'),
  trackioBucketId: empty('reportTo: tensorboard'),
  trackioStaticSpaceId: empty('reportTo: tensorboard'),
} as const;

const saving = {
  saveSafetensors: on('safetensors is the only format written'),
  overwriteOutputDir: eitherWay("a run's files take the place of those of the same names; checkpoints are numbered"),
  enableJitCheckpoint: eitherWay(
    'the command line leaves a checkpoint on SIGTERM, SIGINT and SIGHUP; in code, stop({ checkpoint: true })',
  ),
  restoreCallbackStatesFromCheckpoint: off('callbacks keep their own state'),
  pushToHubModelId: empty('the name is hubModelId'),
  pushToHubOrganization: empty('the name is hubModelId: organization/name'),
  pushToHubToken: empty('a token among options would be written down: HF_TOKEN says it, or hub beside the model'),
  hubToken: empty('a token among options would be written down: HF_TOKEN says it, or hub beside the model'),
} as const;

const scripts = {
  doTrain: eitherWay('a flag of example scripts: the command says what is done'),
  doEval: eitherWay('a flag of example scripts: evalStrategy says when'),
  doPredict: off('rxtune generate, or rxtune evaluate'),
} as const;

const otherAdapter = 'LoRA, DoRA and rows of tokens are the adapters that there are';
const needsData = 'initLoraWeights names what is offered';

/** Of PEFT's LoraConfig and of adapter_config.json. */
const adapters = {
  taskType: only('a causal language model is what is trained', 'CAUSAL_LM'),
  loraTaskType: only('a causal language model is what is trained', 'CAUSAL_LM'),
  peftType: only(otherAdapter, 'LORA'),
  peftVersion: anything('it tells who wrote the file'),
  autoMapping: anything('it names classes of Python'),
  baseModelNameOrPath: anything('the model is the one that is given'),
  revision: only('name it with the model: owner/name@revision', 'main'),
  inferenceMode: eitherWay('what is trained trains, and what is generated with does not'),
  megatronConfig: empty('a run is one process'),
  megatronCore: anything('it names a module of Python'),
  runtimeConfig: anything('it says where PEFT computes'),
  loftqConfig: empty(needsData),
  evaConfig: empty(needsData),
  cordaConfig: empty(needsData),
  loraGaConfig: empty(needsData),
  veloraConfig: empty(otherAdapter),
  montecloraConfig: empty(otherAdapter),
  arrowConfig: empty(otherAdapter),
  kasaConfig: empty(otherAdapter),
  aloraInvocationTokens: empty(otherAdapter),
  useQalora: off(otherAdapter),
  qaloraGroupSize: anything('it has no meaning without useQalora'),
  useBdlora: empty(otherAdapter),
  layerReplication: empty('a model has the layers of its config.json'),
  targetParameters: empty('targetModules names linear maps; experts are such here'),
  loraTargetParameters: empty('targetModules names linear maps; experts are such here'),
  ensureWeightTying: off('a tied head has an adapter for itself'),
} as const;

const placed = 'name it with the data: owner/name[@revision][:config[:split]]';

/** Of the arguments of TRL's own script that are not the trainer's. */
const trlScript = {
  modelRevision: only('name it with the model: owner/name@revision', 'main'),
  datasetConfig: empty(placed),
  datasetTrainSplit: only(placed, 'train'),
  datasetTestSplit: only(placed, 'test'),
  ignoreBiasBuffers: off('a run is one process'),
  bnb4bitQuantStorage: anything('packed numbers are bytes here'),
} as const;

/** By topic, as docs/parity.md has them. */
const foreignTopics: Readonly<Record<string, Readonly<Record<string, ForeignArgument>>>> = {
  'processes and devices': { ...processes, ...devices },
  rows,
  optimising,
  evaluating,
  telling,
  saving,
  scripts: { ...scripts, ...trlScript },
  adapters,
};

/** By name, camelCased. */
export const foreignArguments: Readonly<Record<string, ForeignArgument>> = Object.assign(
  {},
  ...Object.values(foreignTopics),
) as Readonly<Record<string, ForeignArgument>>;
