/** Makes the native engine a backend of tfjs. */
import { availableParallelism } from 'node:os';
import { basename } from 'node:path';
import type { KernelConfig } from '@tensorflow/tfjs-core';
import { left, right } from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { engine, registerBackend, registerKernel, loadBackend } from '../tfjs.js';
import { cudaKernels, loadAddon, messageOf } from './addon.js';
import type { Addon, AddonStatistics, Device, InstructionSet } from './addon.js';
import { NativeBackend } from './backend.js';
import type { Precision } from './backend.js';
import { backendName } from './kernel.js';
import { activation, activationGrad } from './kernels/activation.js';
import { adamW } from './kernels/adamW.js';
import { adamW8bit } from './kernels/adamW8bit.js';
import { add } from './kernels/add.js';
import { attention, attentionGrad, joinedAttention, joinedAttentionGrad } from './kernels/attention.js';
import { axpy } from './kernels/axpy.js';
import { cachedAttention, writeRows } from './kernels/cachedAttention.js';
import { causalConv, causalConvGrad } from './kernels/causalConv.js';
import { clampedGate, clampedGateGrad } from './kernels/clampedGate.js';
import { concatColumns, splitColumns } from './kernels/columns.js';
import { combineRows, combineRowsGrad } from './kernels/combineRows.js';
import { dropout } from './kernels/dropout.js';
import { addRows, embedding, embeddingGrad } from './kernels/embedding.js';
import { gatedActivation, gatedActivationGrad } from './kernels/gatedActivation.js';
import { gatedDeltaRule, gatedDeltaRuleGrad } from './kernels/gatedDeltaRule.js';
import { gatherRows, gatherRowsAt, scatterRows } from './kernels/gatherRows.js';
import {
  groupedColumnSum,
  groupedLinear,
  groupedLinearGradInput,
  groupedLinearGradWeight,
} from './kernels/groupedLinear.js';
import {
  groupedDropout,
  groupedLoraDown,
  groupedLoraDownGrad,
  groupedLoraGradInput,
  groupedLoraUp,
  groupedLoraUpGrad,
} from './kernels/groupedLora.js';
import { bfloat16Tensor } from './kernels/bfloat16Tensor.js';
import { hold, keep, keepWhatMakes, release } from './kernels/hold.js';
import { int8Activations } from './kernels/int8Activations.js';
import { latentHeads, latentHeadsGrad } from './kernels/latentHeads.js';
import { layerNorm, layerNormGrad } from './kernels/layerNorm.js';
import { columnSum, linear, linearGradInput, linearGradWeight } from './kernels/linear.js';
import { linearCrossEntropy } from './kernels/linearCrossEntropy.js';
import { loraDown, loraDownGrad, loraLinear, loraLinearGrad, loraUp, loraUpGrad } from './kernels/loraLinear.js';
import { quantizedMatrix } from './kernels/quantizedMatrix.js';
import { rmsNorm, rmsNormGrad } from './kernels/rmsNorm.js';
import { rope } from './kernels/rope.js';
import { routes, routesGrad } from './kernels/routes.js';
import { scale } from './kernels/scale.js';
import { squaredNorm } from './kernels/squaredNorm.js';
import { selectiveScan, selectiveScanGrad } from './kernels/selectiveScan.js';
import { stateSpaceScan, stateSpaceScanGrad } from './kernels/stateSpaceScan.js';
import { xielu, xieluGrad } from './kernels/xielu.js';
import { noteInTheData } from './notedData.js';
import { argMax } from './standard/argMax.js';
import { max } from './standard/max.js';
import { softmax } from './standard/softmax.js';
import { elementwise } from './standard/elementwise.js';
import { fill } from './standard/fill.js';
import { expandDims, identity, reshape } from './standard/identity.js';
import { matMul } from './standard/matMul.js';
import { reductions } from './standard/sum.js';
import { remaining } from './standard/viaCpu.js';

export interface NativeInfo {
  readonly isa: InstructionSet | 'cuda';
  readonly threads: number;
  /** Whether `bfloat16` is faster than `float32` here: else products stay in float32. */
  readonly bfloat16: boolean;
  /** One line for people. */
  readonly description: string;
}

export interface NativeOptions {
  /** Default: one a core. */
  readonly threads?: number;
  /** Default: the environment's RXTUNE_ISA, else the best the processor has. */
  readonly isa?: InstructionSet;
  /**
   * A library whose `cblas_sgemm` computes large float32 products, or 'none'. Default: the environment's RXTUNE_BLAS, else Accelerate on
   * macOS and none elsewhere.
   */
  readonly blas?: string;
  /** Chosen once a process, before the first tensor. Absent: as it was, at first the processor. */
  readonly device?: Device;
}

/** The named ops. */
const named: ReadonlyArray<KernelConfig> = [
  activation,
  activationGrad,
  adamW,
  adamW8bit,
  add,
  attention,
  attentionGrad,
  axpy,
  cachedAttention,
  causalConv,
  causalConvGrad,
  writeRows,
  columnSum,
  concatColumns,
  dropout,
  embedding,
  embeddingGrad,
  addRows,
  clampedGate,
  clampedGateGrad,
  gatedActivation,
  gatedActivationGrad,
  gatedDeltaRule,
  gatedDeltaRuleGrad,
  combineRows,
  combineRowsGrad,
  gatherRows,
  gatherRowsAt,
  groupedColumnSum,
  groupedLinear,
  groupedLinearGradInput,
  groupedLinearGradWeight,
  groupedDropout,
  groupedLoraDown,
  groupedLoraDownGrad,
  groupedLoraGradInput,
  groupedLoraUp,
  groupedLoraUpGrad,
  hold,
  int8Activations,
  joinedAttention,
  joinedAttentionGrad,
  keep,
  keepWhatMakes,
  latentHeads,
  latentHeadsGrad,
  layerNorm,
  layerNormGrad,
  linear,
  linearCrossEntropy,
  linearGradInput,
  linearGradWeight,
  loraDown,
  loraDownGrad,
  loraLinear,
  loraLinearGrad,
  loraUp,
  loraUpGrad,
  bfloat16Tensor,
  quantizedMatrix,
  release,
  rmsNorm,
  rmsNormGrad,
  rope,
  routes,
  routesGrad,
  scale,
  scatterRows,
  splitColumns,
  squaredNorm,
  stateSpaceScan,
  stateSpaceScanGrad,
  selectiveScan,
  selectiveScanGrad,
  xielu,
  xieluGrad,
];

interface Registered {
  readonly addon: Addon;
  readonly backend: NativeBackend;
}

let registered: Registered | undefined;

/**
 * A second copy of this library in a program (some runners and bundlers load one for `import` and one for `require`) goes on with the
 * backend of the first: tfjs keeps one of a name, and the engine takes its arguments from one place.
 */
const registeredBefore = (addon: Addon): Registered | undefined => {
  // Typed as if it were always there, and by whichever copy registered it.
  const backend = engine().findBackend(backendName) as unknown as NativeBackend | null;
  return backend === null ? undefined : { addon, backend };
};

const register = (addon: Addon): Registered => {
  const backend = new NativeBackend(addon);
  registerBackend(backendName, () => backend, 4);
  noteInTheData();
  // The slow path runs kernels on it; tfjs makes it on first use.
  loadBackend('cpu');
  engine().findBackend('cpu');
  const fast = [
    ...named,
    identity,
    reshape,
    expandDims,
    matMul,
    argMax(),
    max(),
    softmax(),
    ...reductions(),
    ...fill(),
    ...elementwise(),
  ];
  for (const config of fast) registerKernel(config);
  for (const config of remaining(new Set(fast.map(({ kernelName }) => kernelName)))) registerKernel(config);
  return { addon, backend };
};

/** For people. */
export const isaNames: Readonly<Record<InstructionSet | 'cuda', string>> = {
  cuda: 'CUDA',
  portable: 'portable vectors',
  avx2: 'AVX2',
  avx512: 'AVX-512',
  amx: 'AVX-512 and AMX',
  neon: 'NEON',
};

/** The system's libraries and the kernels of this build, unless the environment names others. Throws what is missing. */
const openCard = (addon: Addon, use: boolean): string => {
  const named = (variable: string): string => process.env[variable] ?? '';
  const kernels = named('RXTUNE_CUDA_KERNELS') === '' ? cudaKernels() : named('RXTUNE_CUDA_KERNELS');
  const [driver, blas, attention] = [
    named('RXTUNE_LIBCUDA'),
    named('RXTUNE_LIBCUBLASLT'),
    named('RXTUNE_CUDA_ATTENTION'),
  ];
  return addon.cuda(kernels, driver, blas, 0, Number(use), attention);
};

/** macOS': its products run on the processor's matrix units, which nothing else gives access to. */
const accelerate = '/System/Library/Frameworks/Accelerate.framework/Accelerate';

/** The library that computes large products, empty for none. The one nobody asked for is left out where it does not open. */
const blasOf = (given: string | undefined): { readonly library: string; readonly asked: boolean } => {
  const asked = given ?? process.env['RXTUNE_BLAS'] ?? '';
  if (asked !== '') return { library: asked === 'none' ? '' : asked, asked: true };
  return { library: process.platform === 'darwin' ? accelerate : '', asked: false };
};

const configure = (addon: Addon, threads: number, isa: string, given: string | undefined) => {
  const { library, asked } = blasOf(given);
  try {
    return { info: addon.configure(threads, isa, library), library };
  } catch (cause) {
    if (asked || library === '') throw cause;
    return { info: addon.configure(threads, isa, ''), library: '' };
  }
};

/** A line on the card that `device: 'cuda'` would use, or what is missing for it, in plain words. Changes nothing. */
export const cudaCard = (): Either<string, string> => {
  const addon = registered === undefined ? loadAddon() : right(registered.addon);
  if (addon._tag === 'Left') return addon;
  try {
    return right(openCard(addon.right, false));
  } catch (cause) {
    return left(messageOf(cause));
  }
};

/**
 * Registers the backend `native` and its kernels; called again, it only changes threads and instruction set. Left: why there
 * is no native engine, or none on that device.
 */
export const registerNative = ({ threads, isa, blas, device }: NativeOptions = {}): Either<string, NativeInfo> => {
  if (registered === undefined) {
    const addon = loadAddon();
    if (addon._tag === 'Left') return addon;
    registered = registeredBefore(addon.right) ?? register(addon.right);
  }
  try {
    if (device === 'cuda') registered.backend.card ??= openCard(registered.addon, true);
    if (device === 'cpu' && registered.backend.card !== undefined)
      return left('tensors lie on the card already: the device is chosen once a process');
    const { info, library } = configure(
      registered.addon,
      threads ?? availableParallelism(),
      isa ?? process.env['RXTUNE_ISA'] ?? '',
      blas,
    );
    registered.backend.takesHalves = info.halves;
    const several = info.threads === 1 ? 'one thread' : `${info.threads} threads`;
    if (registered.backend.card !== undefined)
      return right({ ...info, description: `CUDA: ${registered.backend.card}` });
    return right({
      ...info,
      description: `${isaNames[info.isa]}${info.bfloat16 ? ' with bfloat16' : ''}, ${several}${library === '' ? '' : `, products by ${basename(library)}`}`,
    });
  } catch (cause) {
    return left(messageOf(cause));
  }
};

/**
 * From here on products of the named ops round their operands to bfloat16 (sums stay in float32), where the processor has
 * instructions for it; tensors stay as they are. Does nothing before `registerNative`.
 */
export const setPrecision = (precision: Precision): void => {
  if (registered === undefined) return;
  const { backend } = registered;
  backend.precision = precision;
  backend.begin();
  backend.put(Number(precision === 'bfloat16')).run(backend.op.bfloat16);
};

/** The precision last set; float32 before. */
export const precisionSet = (): Precision => registered?.backend.precision ?? 'float32';

export interface NativeStatistics extends AddonStatistics {
  /** How often operations without a kernel of the engine ran on tfjs's cpu backend instead, by name. */
  readonly handedOn: Readonly<Record<string, number>>;
}

/** Bytes and numbers of the engine's tensors; undefined before `registerNative`. */
export const nativeStatistics = (): NativeStatistics | undefined =>
  registered && { ...registered.addon.statistics(), handedOn: Object.fromEntries(registered.backend.handedOn) };

/** From here on `peakBytes` counts anew. */
export const resetPeak = (): void => registered?.addon.resetPeak();
