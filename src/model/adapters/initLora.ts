/** How adapters begin, by the names that `initLoraWeights` has for it in PEFT. */
import * as E from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../errors.js';
import { usage } from '../../errors.js';
import { random } from '../../seed.js';
import type { Random } from '../../seed.js';
import { orthonormal } from './orthonormal.js';
import type { Columns } from './orthonormal.js';
import { largestSingular, roughSingular, timesTransposed } from './singularVectors.js';
import type { Matrix } from './singularVectors.js';

/** Ways that need more than the weights and a seed, and what. */
const refused: Readonly<Record<string, string>> = {
  eva: 'EVA needs activations of training rows before the adapter is made',
  corda: 'CorDA needs covariances of training rows before the adapter is made',
  lora_ga: 'LoRA-GA needs gradients of training rows before the adapter is made',
  loftq: 'LoftQ quantises the base once more for the adapter, which then fits no other base',
  mica: 'MiCA trains one half only',
};

/** Repetitions of `pissa_niter_N`. */
const iterationsOf = (init: string): number | undefined => {
  const [, n] = /^pissa_niter_(\d+)$/.exec(init) ?? [];
  return n === undefined ? undefined : Number(n);
};

/** Whether such an adapter begins with a part of the weight, which the base then lacks. */
export const takesFromBase = (init: boolean | string): boolean =>
  typeof init === 'string' && (init === 'pissa' || init === 'olora' || iterationsOf(init) !== undefined);

/** `E_LORA_INIT` for a way to begin that is not offered, with the reason. */
export const initFault = (init: boolean | string): FatalError | undefined => {
  if (typeof init === 'boolean' || takesFromBase(init) || init === 'gaussian' || init === 'orthogonal')
    return undefined;
  const reason = Object.hasOwn(refused, init) ? refused[init] : undefined;
  return usage('E_LORA_INIT', `initLoraWeights "${init}" is not offered`, {
    field: 'initLoraWeights',
    expected: 'true, false, gaussian, orthogonal, olora, pissa or pissa_niter_N',
    ...(reason === undefined ? {} : { hint: reason }),
  });
};

export interface Halves {
  /** [r, inputs] */
  readonly a: Float32Array;
  /** [outputs, r] */
  readonly b: Float32Array;
}

/** Rows aᵢ and columns bᵢ laid out as halves. */
const laidOut = (rows: Columns, columns: Columns, outputs: number): Halves => {
  const r = rows.length;
  const a = new Float32Array(r * (rows[0]?.length ?? 0));
  rows.forEach((row, i) => a.set(row, i * row.length));
  const b = new Float32Array(outputs * r);
  columns.forEach((column, i) => column.forEach((x, o) => (b[o * r + i] = x)));
  return { a, b };
};

const streams = (seed: number, module: string): Random =>
  random(seed, 'init', 2, ...Array.from(module, (letter) => letter.charCodeAt(0)));

/**
 * What an adapter takes of its weight [outputs, inputs], so that s·B·A is that part of it. PiSSA (Meng et al. 2024): its r largest
 * singular triplets, A = √(Σ/s)·Vᵀ, B = U·√(Σ/s). OLoRA (Büyükakyüz 2024): Q and R of its QR decomposition cut to r, not divided by
 * the scaling: B·A then counts s times, as in PEFT.
 */
export const takenHalves = (
  init: string,
  matrix: Matrix,
  {
    rank,
    scaling,
    seed,
    module,
  }: { readonly rank: number; readonly scaling: number; readonly seed: number; readonly module: string },
): Halves => {
  if (init === 'olora') {
    const first = Array.from({ length: rank }, (_, j) =>
      Float64Array.from({ length: matrix.rows }, (__, i) => matrix.values[i * matrix.columns + j] ?? 0),
    );
    const q = orthonormal(first);
    return laidOut(
      q.map((column) => timesTransposed(matrix, column)),
      q,
      matrix.rows,
    );
  }
  const iterations = iterationsOf(init);
  const stream = streams(seed, module);
  const { u, values, v } =
    iterations === undefined ? largestSingular(matrix, rank, stream) : roughSingular(matrix, rank, iterations, stream);
  const root = (i: number): number => Math.sqrt((values[i] ?? 0) / scaling);
  return laidOut(
    v.map((row, i) => row.map((x) => root(i) * x)),
    u.map((column, i) => column.map((x) => root(i) * x)),
    matrix.rows,
  );
};

/**
 * Halves of numbers drawn so that B·A = 0 and neither is zero: rows of an orthogonal r × r matrix span A and B in turn. r is even.
 * (https://datta0.github.io/posts/rethink-lora-init/)
 */
export const orthogonalHalves = (
  {
    module,
    inputs,
    outputs,
    rank,
  }: { readonly module: string; readonly inputs: number; readonly outputs: number; readonly rank: number },
  seed: number,
): Halves => {
  const { normal } = streams(seed, module);
  const drawn = (length: number): Float64Array => Float64Array.from({ length }, normal);
  const q = orthonormal(Array.from({ length: rank }, () => drawn(rank)));
  /** Σ over every second of q, from `start` on, times rows of numbers drawn: [rank, length], as rows. */
  const spread = (start: number, length: number): Columns => {
    const rows = Array.from({ length: rank }, () => new Float64Array(length));
    for (let k = start; k < rank; k += 2) {
      const numbers = drawn(length);
      rows.forEach((row, i) => numbers.forEach((x, j) => (row[j] = (row[j] ?? 0) + ((q[k]?.[i] ?? 0) * x) / 10)));
    }
    return rows;
  };
  const a = spread(0, inputs);
  return laidOut(a, spread(1, outputs), outputs);
};

/** `E_LORA_INIT` for a rank that the way to begin cannot have. */
export const rankFault = (
  init: boolean | string,
  {
    module,
    inputs,
    outputs,
    rank,
  }: { readonly module: string; readonly inputs: number; readonly outputs: number; readonly rank: number },
): E.Either<FatalError, void> => {
  const wrong =
    init === 'orthogonal' && rank % 2 !== 0
      ? 'an even rank'
      : takesFromBase(init) && rank > Math.min(inputs, outputs)
        ? `a rank of at most ${Math.min(inputs, outputs)}`
        : undefined;
  return wrong === undefined
    ? E.right(undefined)
    : E.left(
        usage('E_LORA_INIT', `initLoraWeights "${init}" cannot make the adapter of "${module}"`, {
          expected: wrong,
          actual: String(rank),
        }),
      );
};
