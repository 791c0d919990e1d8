/** The compiled engine (native/build/rxtune.node) as its C++ side exposes it, and how it is found. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { left, right } from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { moduleUrl } from '../moduleUrl.js';

/** `amx`: AVX-512, and Intel's matrix tiles for large products and for attention at bfloat16. */
export type InstructionSet = 'portable' | 'avx2' | 'avx512' | 'amx' | 'neon';

/** Where tensors lie and operations run: the processor, or a CUDA card. */
export type Device = 'cpu' | 'cuda';

export interface AddonInfo {
  readonly isa: InstructionSet | 'cuda';
  readonly threads: number;
  /** Whether the processor multiplies bfloat16 numbers itself. */
  readonly bfloat16: boolean;
  /** Whether kernels read and write activations that lie as bfloat16. */
  readonly halves: boolean;
}

export interface AddonStatistics {
  readonly tensors: number;
  readonly bytes: number;
  readonly peakBytes: number;
  /** Taken from the system for tensors, used or not. */
  readonly reservedBytes: number;
  /** Work space of the kernels. */
  readonly scratchBytes: number;
  /** What a card has left for tensors; 0 on the processor. */
  readonly availableBytes: number;
  /** Operations that JavaScript has called. */
  readonly operations: number;
  /** Kernels and matrix products started on a card; 0 on the processor. */
  readonly launches: number;
  /** Of the products on a card, those that cublasLt does not support: they run by plain kernels, slowly; 0 on the processor. */
  readonly refusedProducts: number;
  /** Time the engine's thread has spent in operations; the rest of a step it waited for JavaScript. */
  readonly busySeconds: number;
}

/**
 * Tensors are known by number, 0 meaning none. Operations are enqueued and run later, in order, on the engine's own thread;
 * what goes wrong there is thrown by the next read.
 */
export interface Addon {
  readonly info: () => AddonInfo;
  /** `blas`: a library whose `cblas_sgemm` computes large float32 products; none where it is empty. Throws where it does not open. */
  readonly configure: (threads: number, isa: string, blas: string) => AddonInfo;
  /**
   * One line on the card, opened with the kernels of this file; empty names of libraries are the system's. `use` is 1: tensors lie
   * and operations run there from now on, until the process ends; there must be none yet. `attention`: mma, wgmma, or empty for what
   * the card shows to be right. Throws what is missing.
   */
  readonly cuda: (image: string, driver: string, blas: string, card: number, use: number, attention: string) => string;
  /** Where `op` finds its numbers. */
  readonly attach: (args: Float64Array) => void;
  readonly code: (operation: string) => number;
  readonly op: (code: number, ...arrays: ReadonlyArray<Int32Array | Float32Array>) => void;
  readonly take: (bytes: number) => number;
  readonly give: (id: number) => void;
  readonly write: (id: number, values: ArrayBufferView) => void;
  readonly read: (id: number, bytes: number) => Promise<ArrayBuffer>;
  readonly readSync: (id: number, bytes: number) => ArrayBuffer;
  /** A number for `arrived`, once. The bytes are on their way from now on: operations that follow run while somebody waits for them. */
  readonly readSoon: (id: number, bytes: number) => number;
  readonly arrived: (number: number) => ArrayBuffer;
  /** Gives a buffer's bytes back at once. Nobody may read it any more. */
  readonly release: (buffer: ArrayBuffer) => void;
  /** Returns when everything enqueued has run. */
  readonly wait: () => void;
  /** Once everything enqueued has run. */
  readonly statistics: () => AddonStatistics;
  readonly resetPeak: () => void;
}

/** Not by `instanceof`: errors of the addon belong to another realm where modules run in a context of their own. */
export const messageOf = (cause: unknown): string =>
  typeof cause === 'object' && cause !== null && 'message' in cause ? String(cause.message) : String(cause);

/** Next to the sources (src/native or dist/native), or in the package for this platform. */
const native = join(dirname(fileURLToPath(moduleUrl(import.meta))), '..', '..', 'native');
const builtAs = (name: string): string => join(native, 'build', name);
const packagedAs = (name: string): string => `@rxtune/native-${platform()}-${arch()}/${name}`;

/** The kernels for CUDA cards, compiled beforehand: where they are, or where they would be built. */
export const cudaKernels = (): string => {
  const built = builtAs('rxtune.fatbin');
  if (existsSync(built)) return built;
  try {
    return createRequire(moduleUrl(import.meta)).resolve(packagedAs('rxtune.fatbin'));
  } catch {
    return built;
  }
};

/** The addon, or why there is none. */
export const loadAddon = (): Either<string, Addon> => {
  const require = createRequire(moduleUrl(import.meta));
  const built = builtAs('rxtune.node');
  const packaged = packagedAs('rxtune.node');
  const path = existsSync(built) ? built : packaged;
  try {
    return right(require(path) as Addon);
  } catch (cause) {
    if (path === packaged) return left(`not built (node ${relative('.', join(native, 'build.mjs'))} compiles it)`);
    return left(`${path} does not load: ${messageOf(cause).split('\n')[0] ?? ''}`);
  }
};
