/** Calls that no compiler has looked at: a name that an options record does not know is refused by every function that takes one. */
import { describe, expect, test } from '@jest/globals';
import { isObservable, lastValueFrom } from 'rxjs';
import ts from 'typescript';
import { entries, programOf } from '../docs/reference.mjs';
import * as laws from '../src/laws/index.js';
import * as rxtune from '../src/index.js';
import { SftConfig } from '../src/train/options/config.js';

type Call = (...given: ReadonlyArray<unknown>) => unknown;
const exported: Readonly<Record<string, unknown>> = { ...rxtune, ...laws };
const named = (name: string): Call => exported[name] as Call;

interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly hint?: string | undefined;
}

/** What a call answers with, in whichever way it answers: what it throws, a Left, the end of a stream. */
const refusalOf = async (call: () => unknown): Promise<Refusal | undefined> => {
  const told = (error: unknown): Refusal => {
    const { code, message, details, hint } = error as Refusal & { readonly details?: Refusal };
    if (error instanceof TypeError) throw error;
    return { code, message, hint: details?.hint ?? hint };
  };
  try {
    const answer = call();
    if (isObservable(answer)) {
      await lastValueFrom(answer);
      return undefined;
    }
    if (typeof answer === 'object' && answer !== null && Symbol.asyncIterator in answer) {
      await (answer as AsyncIterable<unknown>)[Symbol.asyncIterator]().next();
      return undefined;
    }
    const outcome: unknown = typeof answer === 'function' && answer.length === 0 ? await (answer as Call)() : answer;
    return typeof outcome === 'object' && outcome !== null && 'left' in outcome ? told(outcome.left) : undefined;
  } catch (error) {
    return told(error);
  }
};

/** Given to each function: a record with a misspelt name, the position of that record, and the name that was meant. */
const misspelt: Readonly<Record<string, readonly [record: object, position: number, meant: string]>> = {
  accumulate: [{ droplast: true }, 1, 'dropLast'],
  accumulateRows: [{ droplast: true }, 1, 'dropLast'],
  adafactor: [{ clipTreshold: 1 }, 0, 'clipThreshold'],
  adamw: [{ weight_decay: 1 }, 0, 'weightDecay'],
  adamw8bit: [{ keeps32bits: () => true }, 0, 'keeps32bit'],
  addAdapter: [{ sead: 1 }, 3, 'seed'],
  answerRows: [{ count: 1, maxNewTokens: 4, stopp: 'x' }, 2, 'stop'],
  asyncMapping: [{ concurrency: 1, reject: undefined }, 2, 'rejects'],
  attachLora: [{ sead: 1 }, 2, 'seed'],
  attachSavedLora: [{ isTrainabel: false }, 3, 'isTrainable'],
  batch: [{ sise: 4 }, 0, 'size'],
  batchRows: [{ padTokenID: 4, paddingSite: 'left' }, 0, 'paddingSide'],
  batches: [{ maxToken: 4 }, 0, 'maxTokens'],
  boundedInFlight: [{ windows: 4 }, 3, 'window'],
  chooseEngine: [{ thread: 4 }, 0, 'threads'],
  columnsAligned: [{ numRun: 1 }, 1, 'numRuns'],
  combineAdapters: [{ combinationTypes: 'linear' }, 3, 'combinationType'],
  constant: [{ learningrates: 1 }, 0, 'learningRate'],
  constantWithWarmup: [{ learningRate: 1, warmupstep: 1 }, 0, 'warmupSteps'],
  contamination: [{ maxLength: 8, sise: 1 }, 2, 'size'],
  conversations: [{ maxTurn: 1 }, 0, 'maxTurns'],
  cosineDecay: [{ learningRate: 1, totalSteps: 1, cycle: 1 }, 0, 'cycles'],
  cosineWithMinimum: [{ learningRate: 1, totalSteps: 1, minimun: 1 }, 0, 'minimum'],
  cosineWithRestarts: [{ learningRate: 1, totalSteps: 1, cycle: 1 }, 0, 'cycles'],
  decode: [{ reject: undefined }, 1, 'rejects'],
  decodeExample: [{ datasetTextfields: 'x' }, 2, 'datasetTextField'],
  doctor: [{ thread: 4 }, 0, 'threads'],
  evaluateLoss: [{ labelSmooting: 0.1 }, 3, 'labelSmoothingFactor'],
  evaluateRows: [{ sise: 4 }, 2, 'size'],
  examples: [{ maxTurn: 1 }, 0, 'maxTurns'],
  pushToHub: [{ commitMesage: 'm' }, 2, 'commitMessage'],
  exportGguf: [{ tokenizer: {}, outype: 'f16' }, 2, 'outtype'],
  exportGgufAdapter: [{ outype: 'f16' }, 2, 'outtype'],
  foldPreflight: [{ sampels: 3 }, 0, 'samples'],
  format: [{ tokeniser: {} }, 0, 'tokenizer'],
  formatRow: [{ tokeniser: {} }, 0, 'tokenizer'],
  formattedBy: [{ warm: undefined }, 1, 'warn'],
  generate: [{ maxNewToken: 5 }, 2, 'maxNewTokens'],
  generateIds: [{ maxNewToken: 5 }, 2, 'maxNewTokens'],
  generateText: [{ includestops: true }, 2, 'includeStop'],
  gptqRows: [{ bit: 4 }, 2, 'bits'],
  groupByLength: [{ size: 4, sead: 1 }, 0, 'seed'],
  groupByLengthRows: [{ size: 4, sead: 1 }, 0, 'seed'],
  initState: [{ model: {}, optimiser: {} }, 0, 'optimizer'],
  interleave: [{ seed: 1, stopingStrategy: 'x' }, 1, 'stoppingStrategy'],
  inverseSqrt: [{ learningRate: 1, timescales: 1 }, 0, 'timescale'],
  jsonArray: [{ maxLineByte: 1 }, 1, 'maxLineBytes'],
  jsonl: [{ maxLineByte: 1 }, 1, 'maxLineBytes'],
  labelledRows: [{ maxToken: 4 }, 0, 'maxTokens'],
  law: [{ numRun: 1 }, 2, 'numRuns'],
  learnable: [{ ignoreindexes: 1 }, 0, 'ignoreIndex'],
  learnableRow: [{ ignoreindexes: 1 }, 0, 'ignoreIndex'],
  linearDecay: [{ learningRate: 1, totalStep: 1 }, 0, 'totalSteps'],
  lion: [{ weight_decay: 1 }, 0, 'weightDecay'],
  lmLabels: [{ padTokenIds: 1 }, 0, 'padTokenId'],
  lmLabelsRow: [{ padTokenIds: 1 }, 0, 'padTokenId'],
  load: [{ loadIn4bits: true }, 1, 'loadIn4bit'],
  loadAdapter: [{ isTrainabel: true }, 2, 'isTrainable'],
  loadModel: [{ loadIn4bits: true }, 1, 'loadIn4bit'],
  loadParts: [{ loadIn4bits: true }, 1, 'loadIn4bit'],
  loadTokenizer: [{ hubs: {} }, 1, 'hub'],
  locateModel: [{ parts: 'model' }, 1, 'part'],
  lossAndGradients: [{ seed: 1, step: 0, training: true, dropouts: false }, 3, 'dropout'],
  makeChatTemplate: [{ specialToken: {} }, 1, 'specialTokens'],
  makeGate: [{ prefech: 2 }, 0, 'prefetch'],
  makeRecorder: [{ title: 'x', fact: [] }, 0, 'facts'],
  makeRejects: [{ maxrates: 0.1 }, 0, 'maxRate'],
  makeTokenizer: [{ file: {} }, 2, 'files'],
  mapping: [{ reject: undefined }, 2, 'rejects'],
  maskCompletions: [{ completionOnlyLos: true }, 0, 'completionOnlyLoss'],
  maskCompletionsRow: [{ completionOnlyLos: true }, 0, 'completionOnlyLoss'],
  mergeLora: [{ inplaces: true }, 1, 'inPlace'],
  openDataset: [{ splitt: 'train' }, 1, 'split'],
  operatorLaws: [{ endles: true }, 3, 'endless'],
  orderKept: [{ numRun: 1 }, 3, 'numRuns'],
  pack: [{ maxLength: 8, packingStratagy: 'wrapped' }, 0, 'packingStrategy'],
  packConstantLength: [{ tokenizer: {}, seqLenght: 8 }, 0, 'seqLength'],
  packConstantLengthRows: [{ tokenizer: {}, seqLenght: 8 }, 0, 'seqLength'],
  packRows: [{ maxLength: 8, packingStratagy: 'wrapped' }, 0, 'packingStrategy'],
  pacedIterable: [{ watch: {} }, 2, 'watched'],
  pacedObservable: [{ errors: undefined }, 2, 'error'],
  pad: [{ padTokenId: 0, lenght: 8 }, 0, 'length'],
  padRow: [{ padTokenId: 0, lenght: 8 }, 0, 'length'],
  planSteps: [{ maxStep: 8 }, 1, 'maxSteps'],
  polynomialDecay: [{ learningRate: 1, totalSteps: 1, powers: 1 }, 0, 'power'],
  preflight: [{ sampels: 3 }, 1, 'samples'],
  preflightDataset: [{ maxRow: 3 }, 1, 'maxRows'],
  preflightPage: [{ title: 'x', decode: String, fact: [] }, 1, 'facts'],
  preflightText: [{ colours: false, decode: String, fact: [] }, 1, 'facts'],
  prepare: [{ tokeniser: {} }, 0, 'tokenizer'],
  prepareDataset: [{ core: 1 }, 3, 'cores'],
  prepareRows: [{ tokeniser: {} }, 1, 'tokenizer'],
  promptIsPrefix: [{ conversations: 1 }, 1, 'conversation'],
  promptNeverLabelled: [{ numRun: 1 }, 2, 'numRuns'],
  promptTokens: [{ tokeniser: {} }, 0, 'tokenizer'],
  promptTokensArePrefix: [{ conversations: 1 }, 2, 'conversation'],
  report: [{ title: 'x', fact: [] }, 0, 'facts'],
  resizeTokenEmbeddings: [{ rows: 8, inits: 'mean' }, 1, 'init'],
  restart: [{ warm: undefined }, 0, 'warn'],
  saveAdapters: [{ tokeniser: {} }, 2, 'tokenizer'],
  saveGptq: [{ tokeniser: {} }, 2, 'tokenizer'],
  saveModel: [{ tokeniser: {} }, 2, 'tokenizer'],
  serveDashboard: [{ ports: 1 }, 1, 'port'],
  setupChatFormat: [{ newTokenInits: 'mean' }, 1, 'newTokenInit'],
  sgd: [{ weight_decay: 1 }, 0, 'weightDecay'],
  shuffle: [{ seed: 1, buffersizes: 4 }, 0, 'bufferSize'],
  shuffleRows: [{ seed: 1, buffersizes: 4 }, 0, 'bufferSize'],
  textFile: [{ rowAre: 'lines' }, 1, 'rowsAre'],
  tokenize: [{ tokeniser: {} }, 0, 'tokenizer'],
  tokenizeRow: [{ tokeniser: {} }, 0, 'tokenizer'],
  tokenizedRows: [{ maxToken: 4 }, 0, 'maxTokens'],
  tokensKept: [{ orderd: true }, 1, 'ordered'],
  truncate: [{ maxLenght: 8 }, 0, 'maxLength'],
  truncateRow: [{ maxLenght: 8 }, 0, 'maxLength'],
  warmupStableDecay: [{ learningRate: 1, totalSteps: 1, decaySteps: 1, stableStep: 1 }, 0, 'stableSteps'],
  windowed: [{ reject: undefined }, 2, 'rejects'],
  withAddedTokens: [{ token: [] }, 1, 'tokens'],
  withChatFormat: [{ formats: 'chatml' }, 1, 'format'],
  wordTokenizer: [{ addBoss: true }, 0, 'addBos'],
  writeAdapter: [{ configs: {}, tensors: [] }, 1, 'config'],
  writeCheckpointTensors: [{ maxShardByte: 1 }, 2, 'maxShardBytes'],
  writeSafetensors: [{ metadatas: {} }, 2, 'metadata'],
};

/** Records that are no options: what a function works on, or what it makes a value of. */
const worked = new Set([
  'AdapterConfig',
  'Architecture',
  'Batch',
  'CausalLM',
  'ChatTemplate',
  'ErrorDetails',
  'FatalDetails',
  'FourBitBlocks',
  'Gate',
  'GptqModel',
  'GradientTransform',
  'Int8Rows',
  'Labelled',
  'ModelConfig',
  'NestedScales',
  'Place',
  'Preflight',
  'Recorder',
  'RowNames',
  'Sequence',
  'Targets',
  'Tokenizer',
  'TrainState',
  'Watched',
]);

/** What decodes its options by codecs, which refuse likewise: LoraConfig, QuantizationConfig, SftConfig. */
const decoded = new Set(['LoraOptions', 'QuantizationOptions', 'SftOptions', 'SftSetup']);

const program = programOf();
const checker = program.getTypeChecker();

interface Taken {
  readonly position: number;
  /** Names that must be given. */
  readonly required: ReadonlyArray<string>;
}

/** The records of options that each exported function takes. */
const taken = new Map<string, ReadonlyArray<Taken>>();
for (const entry of entries) {
  const source = program.getSourceFile(entry);
  const module = source === undefined ? undefined : checker.getSymbolAtLocation(source);
  for (const symbol of module === undefined ? [] : checker.getExportsOfModule(module)) {
    const meant = (symbol.flags & ts.SymbolFlags.Alias) === 0 ? symbol : checker.getAliasedSymbol(symbol);
    const [declaration] = meant.declarations ?? [];
    if (declaration === undefined || (meant.flags & ts.SymbolFlags.Value) === 0) continue;
    const [signature] = checker.getTypeOfSymbolAtLocation(meant, declaration).getCallSignatures();
    const records = (signature?.parameters ?? []).flatMap((parameter, position): ReadonlyArray<Taken> => {
      const type = checker.getNonNullableType(checker.getTypeOfSymbolAtLocation(parameter, declaration));
      const name = type.aliasSymbol?.name ?? type.getSymbol()?.name ?? '';
      const members = type.getProperties();
      const isOurs = members.every(({ declarations = [] }) =>
        declarations.every((one) => one.getSourceFile().fileName.includes('/src/')),
      );
      const isPart = /^(Pick<Tokenizer|Readonly<Record|Iterable<)/.test(checker.typeToString(type));
      if (members.length === 0 || !isOurs || isPart || worked.has(name) || decoded.has(name)) return [];
      if (type.getCallSignatures().length > 0) return [];
      const required = members.filter((member) => {
        const isOptional = (member.flags & ts.SymbolFlags.Optional) !== 0;
        const of = checker.getTypeOfSymbolAtLocation(member, declaration);
        return (
          !isOptional &&
          checker
            .typeToString(of, declaration)
            .split(' | ')
            .every((one) => one !== 'undefined')
        );
      });
      return [{ position, required: required.map((member) => member.name) }];
    });
    if (records.length > 0) taken.set(symbol.name, records);
  }
}

test('every exported function with a record of options is tried', () => {
  expect(Object.keys(misspelt).sort()).toEqual([...taken.keys()].sort());
});

const placed = (record: unknown, position: number): ReadonlyArray<unknown> =>
  Array.from({ length: position + 1 }, (_, i) => (i === position ? record : undefined));

describe('a misspelt name is refused', () => {
  test.each(Object.entries(misspelt))('by %s', async (name, [record, position, meant]) => {
    const refusal = await refusalOf(() => named(name)(...placed(record, position)));
    expect(refusal?.code).toBe('E_OPTIONS');
    const wrong = Object.keys(record).find((key) => refusal?.message.includes(`"${key}"`)) ?? '';
    // The pure half of a stage calls itself by the stage's name.
    expect([name, name.replace(/Rows?$/, '')]).toContain(refusal?.message.split(':')[0]);
    expect(refusal?.message).toContain(`unknown option "${wrong}"`);
    expect(`${refusal?.message ?? ''} ${refusal?.hint ?? ''}`).toContain(`did you mean "${meant}"?`);
  });
});

describe('a missing name is told', () => {
  const needing = [...taken].flatMap(([name, records]) =>
    records.filter(({ required }) => required.length > 0).map((record) => [name, record] as const),
  );
  test.each(needing)('by %s', async (name, { position, required }) => {
    for (const record of [undefined, {}]) {
      const refusal = await refusalOf(() => named(name)(...placed(record, position)));
      expect(refusal?.code).toBe('E_OPTIONS');
      for (const one of required) expect(refusal?.message).toContain(`option "${one}" is required`);
    }
  });
});

describe('what is no record is refused', () => {
  test.each([...taken].flatMap(([name, records]) => records.map(({ position }) => [name, position] as const)))(
    'by %s (%i)',
    async (name, position) => {
      for (const record of [null, 3, 'x', [1]])
        expect((await refusalOf(() => named(name)(...placed(record, position))))?.code).toBe('E_OPTIONS');
    },
  );
});

test('options within options are looked at, too', async () => {
  for (const call of [
    () => rxtune.load('x', { hub: { ofline: true } as object }),
    () => rxtune.loadTokenizer('x', { hub: { ofline: true } as object }),
    () => rxtune.openDataset('x', { hub: { ofline: true } as object }),
  ]) {
    const refusal = await refusalOf(call);
    expect(refusal).toMatchObject({ code: 'E_OPTIONS', hint: 'did you mean "offline"?' });
    expect(refusal?.message).toContain('unknown option "hub.ofline"');
  }
});

test('all that is wrong with a record is told at once', async () => {
  const refusal = await refusalOf(() => named('pack')({ maxlength: 8, strategy: 'bfd', rejects: undefined }));
  expect(refusal?.message.split('\n')).toEqual([
    'pack: unknown option "maxlength"',
    expect.stringContaining('  also unknown option "strategy" (did you mean "packingStrategy"?'),
    '  also option "maxLength" is required',
  ]);
});

test.each(
  ['format', 'maskCompletions', 'truncate', 'learnable', 'batchRows', 'adamw', 'adafactor', 'lion', 'sgd', 'constant']
    .map((name) => [name, {}] as const)
    .concat([
      ['pack', { maxLength: 8 }],
      ['batch', { size: 4 }],
      ['shuffle', { bufferSize: 4 }],
      ['groupByLength', { size: 4 }],
      ['pad', { padTokenId: 0 }],
      ['lmLabels', { padTokenId: 0 }],
      ['tokenize', { tokenizer: laws.wordTokenizer() }],
      ['packConstantLength', { tokenizer: laws.wordTokenizer() }],
      ['linearDecay', { totalSteps: 3 }],
      ['polynomialDecay', { totalSteps: 3 }],
      ['cosineWithMinimum', { totalSteps: 3 }],
      ['inverseSqrt', { totalSteps: 3 }],
    ] as ReadonlyArray<readonly [string, object]>),
)('the options of a run fit %s as they are', (name, own) => {
  const all = Object.fromEntries(Object.keys(SftConfig.fields).map((key) => [key, undefined]));
  expect(() => named(name)({ ...all, ...SftConfig.defaults, ...own })).not.toThrow();
  // Nor does a misspelt name among them pass.
  const wrong = {
    ...SftConfig.defaults,
    ...own,
    ignoreindexx: 1,
    lerningRate: 1,
    maxLenght: 1,
    tokeniser: 1,
    warmupstep: 1,
    sise: 1,
    seeed: 1,
  };
  expect(() => named(name)(wrong)).toThrow(`${name}: unknown option`);
});

test('what is missing of the options of a run is found by decoding some', async () => {
  const refusal = await refusalOf(() => named('planSteps')(3, { maxSteps: 8 }));
  expect(refusal?.hint).toBe('decodeSftConfig gives all options, with their defaults');
});

test('what is no gate is refused where one is due', async () => {
  for (const call of [
    () => named('pull')([1], { prefetch: 2 }),
    () => (named('drain')(() => Promise.resolve(1), { prefetch: 2 }) as Call)(rxtune.pull([1])),
  ])
    expect(await refusalOf(call)).toMatchObject({ code: 'E_OPTIONS', hint: 'const gate = makeGate({ prefetch: 2 })' });
});
