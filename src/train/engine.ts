/** Which engine computes, and why: the one place that knows how each is started. */
import { availableParallelism } from 'node:os';
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import type { IO } from 'fp-ts/lib/IO.js';
import type { Task } from 'fp-ts/lib/Task.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { checked } from '../checked.js';
import type { OptionNames } from '../checked.js';
import { fatal, warning } from '../errors.js';
import type { FatalError, Warning } from '../errors.js';
import { prepareWasm } from '../model/kernels/wasmBackend.js';
import { env, getBackend, loadBackend, ready, setBackend } from '../tfjs.js';

/** What computes; docs/engines.md tells them apart. */
export type EngineName = 'native' | 'tensorflow' | 'wasm' | 'cpu';
/** What products are computed in and frozen weights are held in; docs/engines.md tells what each means. */
export type Precision = 'float32' | 'bfloat16';
/** What an engine computes on: the processor, or an NVIDIA card. */
export type Device = 'cpu' | 'cuda';

/** Which engine is to run, and how. */
export interface EngineOptions {
  /** Absent: the fastest that starts. Given: this one or an error. */
  readonly engine?: EngineName | undefined;
  /** For the native engine. Absent: one a core. */
  readonly threads?: number | undefined;
  /**
   * `cuda`: the native engine's, or TensorFlow's by tfjs-node-gpu; no other engine has it. Absent: the processor, or whatever
   * TensorFlow takes. Chosen once a process.
   */
  readonly device?: Device | undefined;
  /** Of the native engine. Absent: float32 when the engine is started, else as it was. */
  readonly precision?: Precision | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const engineOptionNames: OptionNames<EngineOptions> = {
  engine: 'optional',
  threads: 'optional',
  device: 'optional',
  precision: 'optional',
};

/** What became of the attempt to start an engine. */
export interface EngineTried {
  readonly engine: EngineName;
  readonly started: boolean;
  /** What it runs on, or why it does not run. */
  readonly note: string;
}

/** The engine that runs, and why it is that one. */
export interface EngineReport {
  readonly engine: EngineName;
  readonly precision: Precision;
  /** One sentence for people. */
  readonly reason: string;
  /** In the order tried. */
  readonly tried: ReadonlyArray<EngineTried>;
  readonly warnings: ReadonlyArray<Warning>;
}

/** Starts an engine and makes it the current backend: right, a note on what it runs on; left, why it does not. */
export type Starter = (options: EngineOptions) => Promise<Either<string, string>>;

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));

/** The first line is enough for a report; loaders like to add a screenful. */
const brief = (cause: unknown): string => messageOf(cause).split('\n')[0] ?? '';

/** Asks the card that the native engine runs on what it has left; undefined on the processor. Bytes. */
let askCard: (() => number | undefined) | undefined;

/** Bytes that the engine's own memory has left, where it is a card's; undefined where tensors lie in the process's memory. */
export const cardMemoryLeft = (): number | undefined => (currentEngine() === 'native' ? askCard?.() : undefined);

const startNative: Starter = async ({ threads, precision, device }) => {
  const native = await import('../native/register.js');
  const info = native.registerNative({
    ...(threads === undefined ? {} : { threads }),
    ...(device === undefined ? {} : { device }),
  });
  if (E.isLeft(info)) return E.left(info.left);
  if (!(await setBackend('native'))) return E.left('the backend was registered and did not start');
  native.setPrecision(precision ?? 'float32');
  askCard = info.right.isa === 'cuda' ? () => native.nativeStatistics()?.availableBytes : undefined;
  return E.right(info.right.description);
};

/** tfjs-node 4.22 calls a function of node:util that Node 23 removed (tensorflow/tfjs#8609). */
const mendUtil = (): void => {
  const util: { isNullOrUndefined?: (value: unknown) => boolean } = process.getBuiltinModule('node:util');
  util.isNullOrUndefined ??= (value) => value === undefined || value === null;
};

/** What keeps a binding from loading, told by what its loader says. */
const whyNot = (name: string, cause: unknown): string => {
  const said = messageOf(cause);
  // The package's own folder is there, what its installer fetches or compiles is not.
  if (said.includes('tfjs_binding.node'))
    return `${name} is installed without its compiled part (npm rebuild ${name} --build-addon-from-source makes it)`;
  if (said.includes('Cannot find')) return `${name} is not installed`;
  return `${name}: ${brief(cause)}`;
};

const bindings = { gpu: '@tensorflow/tfjs-node-gpu', cpu: '@tensorflow/tfjs-node' } as const;

const startTensorflow: Starter = async ({ device }) => {
  mendUtil();
  const reasons: Array<string> = [];
  const { gpu, cpu } = bindings;
  for (const name of device === 'cuda' ? [gpu] : device === 'cpu' ? [cpu] : [gpu, cpu]) {
    try {
      await import(name);
      await setBackend('tensorflow');
      await ready();
      return E.right(name);
    } catch (cause) {
      reasons.push(whyNot(name, cause));
    }
  }
  return E.left(reasons.join('; '));
};

const onProcessorAlone = E.left('it computes on the processor alone');

const startWasm: Starter = async ({ device }) => {
  if (device === 'cuda') return onProcessorAlone;
  const started = await prepareWasm()();
  return E.isLeft(started) ? E.left(started.left.message) : E.right('WebAssembly with SIMD, one thread, 4 GB at most');
};

const startCpu: Starter = async ({ device }) => {
  if (device === 'cuda') return onProcessorAlone;
  loadBackend('cpu');
  if (!(await setBackend('cpu'))) return E.left('the backend did not start');
  return E.right('plain JavaScript, one thread: for reference, not for speed');
};

const starters: Readonly<Record<EngineName, Starter>> = {
  native: startNative,
  tensorflow: startTensorflow,
  wasm: startWasm,
  cpu: startCpu,
};

/** Fastest first. */
const order: ReadonlyArray<EngineName> = ['native', 'tensorflow', 'wasm', 'cpu'];

const orderOn = (device: Device | undefined): ReadonlyArray<EngineName> =>
  device === 'cuda' ? ['native', 'tensorflow'] : order;

const attempt = async (
  engine: EngineName,
  options: EngineOptions,
  known: Readonly<Record<EngineName, Starter>>,
): Promise<EngineTried> => {
  // Otherwise the cpu backend recommends tfjs-node on its first use, whoever uses it. (IS_TEST would quieten it too, and then tfjs
  // keeps a number for every kernel that ever ran.)
  env().set('PROD', true);
  try {
    const started = await known[engine](options);
    return E.isRight(started)
      ? { engine, started: true, note: started.right }
      : { engine, started: false, note: started.left };
  } catch (cause) {
    return { engine, started: false, note: brief(cause) };
  }
};

const precisionIgnored = (engine: string): Warning =>
  warning('W_PRECISION_IGNORED', `the ${engine} engine computes in float32`, {
    field: 'precision',
    hint: 'build the native engine, or leave precision out',
  });

const isaIgnored = (isa: string, note: string): Warning =>
  warning('W_ISA_IGNORED', `RXTUNE_ISA=${isa} has no effect: the native engine does not start`, {
    actual: note,
    hint: 'unset it, for the best instructions that the processor has',
  });

/** What was asked for and is not so. */
const ignored = (
  { precision }: EngineOptions,
  { engine }: EngineTried,
  tried: ReadonlyArray<EngineTried>,
): ReadonlyArray<Warning> => {
  const isa = process.env['RXTUNE_ISA'];
  const native = tried.find((one) => one.engine === 'native' && !one.started);
  return [
    ...(precision === 'bfloat16' && engine !== 'native' ? [precisionIgnored(engine)] : []),
    ...(isa !== undefined && native !== undefined ? [isaIgnored(isa, native.note)] : []),
  ];
};

const report = (options: EngineOptions, chosen: EngineTried, tried: ReadonlyArray<EngineTried>): EngineReport => {
  const failed = tried.filter(({ started }) => !started);
  const why =
    options.engine !== undefined
      ? 'as asked'
      : failed.length === 0
        ? 'the fastest there is'
        : `because ${failed.map(({ engine, note }) => `${engine} is not there (${note})`).join(', ')}`;
  return {
    engine: chosen.engine,
    precision: options.precision === 'bfloat16' && chosen.engine === 'native' ? 'bfloat16' : 'float32',
    reason: `${chosen.engine} (${chosen.note}), ${why}`,
    tried,
    warnings: ignored(options, chosen, tried),
  };
};

const unavailable = ({ engine, device }: EngineOptions): string =>
  device === 'cuda'
    ? engine === undefined
      ? 'no engine starts on a CUDA card'
      : `the ${engine} engine does not start on a CUDA card`
    : `the ${engine ?? 'cpu'} engine does not start`;

/**
 * Starts the engine asked for, or the first that starts of native, tensorflow, wasm, cpu. Left (`E_ENGINE_UNAVAILABLE`): the one
 * asked for does not start, with the reason.
 */
export const chooseEngine = checked(
  'chooseEngine',
  TE.left,
  { 0: engineOptionNames },
  (
    options: EngineOptions = {},
    known: Readonly<Record<EngineName, Starter>> = starters,
  ): TaskEither<FatalError, EngineReport> =>
    async () => {
      const tried: Array<EngineTried> = [];
      for (const engine of options.engine === undefined ? orderOn(options.device) : [options.engine]) {
        const result = await attempt(engine, options, known);
        tried.push(result);
        if (result.started) return E.right(report(options, result, tried));
      }
      return E.left(
        fatal('E_ENGINE_UNAVAILABLE', unavailable(options), {
          field: options.device === 'cuda' ? 'device' : 'engine',
          actual: tried.map(({ engine, note }) => `${engine}: ${note}`).join('; '),
          hint:
            options.device === 'cuda'
              ? '`rxtune doctor` says what a card needs; leave the option out to compute on the processor'
              : options.engine === 'native'
                ? '`rxtune doctor` says how to get it; leave the option out for the fastest engine there is'
                : options.engine === 'tensorflow'
                  ? 'npm install @tensorflow/tfjs-node, or leave the option out'
                  : 'leave the option out',
        }),
      );
    },
);

/** What `doctor` found. */
export interface Doctor {
  /** Version of Node.js. */
  readonly node: string;
  /** System and processor. */
  readonly platform: string;
  /** Every engine, whether or not it would be chosen. */
  readonly engines: ReadonlyArray<EngineTried>;
  /** The engine that would run. */
  readonly chosen: EngineReport;
}

/** Tries every engine and says which would run and why. The chosen one is the current backend afterwards. */
export const doctor = checked(
  'doctor',
  TE.left,
  { 0: engineOptionNames },
  (
    options: EngineOptions = {},
    known: Readonly<Record<EngineName, Starter>> = starters,
  ): TaskEither<FatalError, Doctor> =>
    async () => {
      const engines: Array<EngineTried> = [];
      for (const engine of order) engines.push(await attempt(engine, options, known));
      const chosen = await chooseEngine(options, known)();
      if (E.isLeft(chosen)) return chosen;
      return E.right({
        node: process.version,
        platform: `${process.platform} ${process.arch}`,
        engines,
        chosen: chosen.right,
      });
    },
);

/** What the native engine runs on here. */
export interface NativeDetails {
  /** Instructions of its kernels, for people. */
  readonly instructions: string;
  readonly threads: number;
  /** Threads that this machine runs at once. */
  readonly cores: number;
  /** Whether the processor multiplies bfloat16 numbers itself, with the instructions in use. */
  readonly bfloat16: boolean;
}

/** A line on the CUDA card that the native engine would use, or what is missing for it. Starts nothing. */
export const cudaCard: Task<Either<string, string>> = async () => (await import('../native/register.js')).cudaCard();

/** Left: why there is no native engine. */
export const nativeDetails =
  ({ threads }: Pick<EngineOptions, 'threads'> = {}): Task<Either<string, NativeDetails>> =>
  async () => {
    const native = await import('../native/register.js');
    return E.Functor.map(native.registerNative(threads === undefined ? {} : { threads }), (info) => ({
      instructions: native.isaNames[info.isa],
      threads: info.threads,
      cores: availableParallelism(),
      bfloat16: info.bfloat16,
    }));
  };

/** The engine that computes now; undefined before one was chosen. */
export const currentEngine = (): string | undefined => {
  try {
    return getBackend();
  } catch {
    return undefined;
  }
};

/** The precision that a run computes in. */
export interface PrecisionUsed {
  readonly precision: Precision;
  readonly warnings: ReadonlyArray<Warning>;
  /** Sets it again, should another run, or a model that was loaded, have set another: the engine has one. */
  readonly engage: IO<void>;
}

/**
 * The precision of the engine that runs, after `asked` was set on it: bfloat16 on the native engine alone. Absent: as it was.
 */
export const usePrecision =
  (asked: Precision | undefined): Task<PrecisionUsed> =>
  async () => {
    const current = currentEngine();
    if (current !== 'native') {
      const ignored = asked === 'bfloat16' ? [precisionIgnored(current ?? 'unknown')] : [];
      return { precision: 'float32', warnings: ignored, engage: () => undefined };
    }
    const native = await import('../native/register.js');
    if (asked !== undefined) native.setPrecision(asked);
    const precision = native.precisionSet();
    return {
      precision,
      warnings: [],
      engage: () => {
        if (native.precisionSet() !== precision) native.setPrecision(precision);
      },
    };
  };
