/**
 * Arguments of transformers' `from_pretrained` that have no option of their own here: which values change nothing, and what to do
 * instead of the others.
 */

interface Argument {
  /** Values that ask for nothing, or for what is done anyway; null always does. */
  readonly accepts: (value: unknown) => boolean;
  readonly message: string;
  readonly hint: string;
}

/** Whatever their value: how files are read and where tensors lie is the engine's business, and what a model returns is fixed. */
export const ignoredArguments: ReadonlyArray<string> = [
  ...['useCache', 'lowCpuMemUsage', 'deviceMap', 'offloadFolder', 'offloadStateDict', 'offloadBuffers', 'disableMmap'],
  ...['returnDict', 'useSafetensors', 'resumeDownload', 'codeRevision', 'useKernels', 'allowAllKernels'],
  ...['expertsImplementation', 'tqdmClass', 'outputLoadingInfo'],
];

const isOff = (value: unknown): boolean => value === false;
const isOn = (value: unknown): boolean => value === true;
const never = (): boolean => false;
const isEmpty = (value: unknown): boolean =>
  value === '' || (typeof value === 'object' && value !== null && Object.keys(value).length === 0);

const refused = (message: string, hint: string, accepts: (value: unknown) => boolean = never): Argument => ({
  accepts,
  message,
  hint,
});

const inConfig = (name: string): Argument =>
  refused(`${name} belongs to the model`, "set it in the model's config.json");

const outputs = refused('hidden states and attention scores are not kept', 'leave it out', isOff);
const secret = refused(
  'a token is no option of a run, where it would be written down',
  'set HF_TOKEN, or log in with the hf command',
  isOff,
);
const devices = refused('a run has one device', 'leave it out; --device names it', isEmpty);
const otherFramework = refused(
  'weights of other frameworks are not read',
  'save the model as safetensors with transformers first',
  isOff,
);

/** By camelCased name. */
export const loaderArguments: Readonly<Record<string, Argument>> = {
  trustRemoteCode: refused('no code of a repository is run', 'leave it out', isOff),
  revision: refused('a revision is part of the name here', 'owner/name@revision', (value) => value === 'main'),
  token: secret,
  useAuthToken: secret,
  cacheDir: refused('the cache is not an option of a run', 'set HF_HUB_CACHE, or HF_HOME'),
  localFilesOnly: refused('whether the Hub is asked is not an option of a run', 'set HF_HUB_OFFLINE=1', isOff),
  forceDownload: refused('what is in the cache is not fetched again', 'delete it from the cache', isOff),
  proxies: refused('requests go to the Hub directly', 'set HF_ENDPOINT to a mirror', isEmpty),
  mirror: refused('the Hub is not an option of a run', 'set HF_ENDPOINT'),
  subfolder: refused(
    'a model lies at the top of its repository or directory',
    'name the folder itself, downloaded',
    isEmpty,
  ),
  variant: refused('files of a variant are not looked for', 'name a directory where they are called model.safetensors'),
  weightsOnly: refused('nothing of a pickled file is run, whatever is asked', 'leave it out', isOn),
  ignoreMismatchedSizes: refused(
    'weights of other shapes than config.json says are not made up',
    'leave it out',
    isOff,
  ),
  outputAttentions: outputs,
  outputHiddenStates: outputs,
  maxMemory: refused('memory is not divided among devices', 'maxMemory, an option of the run, in GiB'),
  tpPlan: devices,
  tpSize: devices,
  deviceMesh: devices,
  distributedConfig: devices,
  fromTf: otherFramework,
  fromFlax: otherFramework,
  ggufFile: refused('GGUF files are written, not read', 'name the model that it was made from'),
  stateDict: refused('weights do not come by an option', 'give a model: sftTrainer({ model }), or modelInit'),
  config: refused('the configuration lies beside the weights', 'a directory with a config.json of your own'),
  adapterKwargs: refused('an adapter is named by its directory', '--adapter, or adapterDir of load'),
  adapterName: refused('an adapter is named by its directory', '--adapter, or adapterDir of load'),
  keyMapping: refused('tensors are looked for under their own names', 'rename them in the file'),
  generationConfig: refused('how a model is sampled lies beside it', 'write generation_config.json'),
  padTokenId: inConfig('pad_token_id'),
  bosTokenId: inConfig('bos_token_id'),
  eosTokenId: inConfig('eos_token_id'),
  tieWordEmbeddings: inConfig('tie_word_embeddings'),
  maxPositionEmbeddings: inConfig('max_position_embeddings'),
  vocabSize: inConfig('vocab_size'),
  ropeTheta: inConfig('rope_theta'),
  slidingWindow: inConfig('sliding_window'),
  attentionDropout: inConfig('attention_dropout'),
  attnPdrop: inConfig('attn_pdrop'),
  residPdrop: inConfig('resid_pdrop'),
  embdPdrop: inConfig('embd_pdrop'),
};

/** What BitsAndBytesConfig writes beside its options, with the one value that each has here. */
export const quantisationArguments: Readonly<Record<string, Argument>> = {
  quantMethod: refused(
    'weights are quantised at load by bitsandbytes alone',
    'bitsandbytes; for GPTQ: rxtune quantize, and load what it writes',
    (value) => value === 'bitsandbytes',
  ),
  llmInt8EnableFp32CpuOffload: refused('there is nowhere to put weights but in memory', 'false', isOff),
  llmInt8HasFp16Weight: refused('8-bit weights do not train', 'false', isOff),
  bnb4bitQuantStorage: refused(
    '4-bit codes lie in bytes',
    'uint8',
    (value) => value === 'uint8' || value === 'torch.uint8',
  ),
};
