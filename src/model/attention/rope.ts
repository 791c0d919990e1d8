/** The angles of a sequence's positions, and heads that turn by them. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { tensor2d } from '../../tfjs.js';
import { rope as turn } from '../kernels/rope.js';
import type { RopeAttrs } from '../kernels/rope.js';
import type { Layer } from '../layers/layer.js';
import { inactive, landedOn, passed } from '../layers/layer.js';
import type { Sequence } from '../sequence.js';
import { inverseFrequencies } from './inverseFrequencies.js';
import type { QueryGrowth, RopeConfig } from './ropeConfig.js';
import { tableOf, writeAngles } from './rotaryTable.js';

/** cos and sin of every position's angles, [N, rotaryDim / 2] each. */
export interface RotaryAngles extends Readonly<Record<string, Tensor>> {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** The angles, and the same times what queries grow by, which turns and grows them at once. */
export interface GrowingAngles extends RotaryAngles {
  readonly queryCos: Tensor;
  readonly querySin: Tensor;
}

/** What a query counts at its position. */
export const growthAt = ({ beta, every, ahead = 0 }: QueryGrowth, position: number): number =>
  1 + beta * Math.log(1 + Math.floor((position + ahead) / every));

const grow = (angles: Float32Array, growth: QueryGrowth, positions: Int32Array): Float32Array => {
  const half = angles.length / positions.length;
  return angles.map((angle, i) => angle * growthAt(growth, positions[Math.floor(i / half)] ?? 0));
};

/** The angles by which queries turn. */
export const queryAngles = (angles: RotaryAngles): RotaryAngles => {
  const { queryCos: cos, querySin: sin } = angles;
  return cos === undefined || sin === undefined ? angles : { cos, sin };
};

/** Cosines and sines of a sequence's positions, [N, rotaryDim / 2] each. */
const written = (config: RopeConfig, positionIds: Int32Array, cuSeqlens: Int32Array): Pick<Written, 'cos' | 'sin'> => {
  const half = config.rotaryDim / 2;
  const cos = new Float32Array(positionIds.length * half);
  const sin = new Float32Array(positionIds.length * half);
  cuSeqlens.subarray(1).forEach((end, d) => {
    const start = cuSeqlens[d] ?? 0;
    const length = positionIds.subarray(start, end).reduce((longest, position) => Math.max(longest, position + 1), 0);
    const own = inverseFrequencies(config, length);
    // A few tokens far out, as when generating beyond what was trained, are worth no table.
    const far = length > config.maxPositions && length > 4 * (end - start);
    const table = far ? undefined : tableOf(config, own, length);
    for (let row = start; row < end; ) {
      const first = positionIds[row] ?? 0;
      // Positions that follow each other are written together.
      let next = row + 1;
      while (next < end && positionIds[next] === first + next - row) next++;
      const rows = next - row;
      if (table === undefined) writeAngles(own, first, { cos, sin, row, rows });
      else {
        cos.set(table.cos.subarray(first * half, (first + rows) * half), row * half);
        sin.set(table.sin.subarray(first * half, (first + rows) * half), row * half);
      }
      row = next;
    }
  });
  return { cos, sin };
};

interface Written {
  readonly positionIds: Int32Array;
  readonly cuSeqlens: Int32Array;
  readonly cos: Float32Array;
  readonly sin: Float32Array;
}

/** Of each configuration what was asked for last: rows that are cut to one length have the same positions in every step. */
const latest = new WeakMap<RopeConfig, Written>();

const equal = (a: Int32Array, b: Int32Array): boolean => {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
};

const latestOf = (config: RopeConfig, positionIds: Int32Array, cuSeqlens: Int32Array): Written => {
  const before = latest.get(config);
  if (before !== undefined && equal(before.positionIds, positionIds) && equal(before.cuSeqlens, cuSeqlens))
    return before;
  // Copies: what the caller does with its arrays later changes nothing here.
  const now = {
    positionIds: positionIds.slice(),
    cuSeqlens: cuSeqlens.slice(),
    ...written(config, positionIds, cuSeqlens),
  };
  latest.set(config, now);
  return now;
};

/**
 * The angles of a sequence. Where a scaling depends on the length, each document has its own, so that packing changes nothing
 * (transformers takes the longest row of the batch).
 */
export const rotaryAngles = (
  config: RopeConfig,
  { positionIds, cuSeqlens }: Sequence,
): RotaryAngles | GrowingAngles => {
  const { cos, sin } = latestOf(config, positionIds, cuSeqlens);
  const shape: [number, number] = [positionIds.length, config.rotaryDim / 2];
  const angles = { cos: tensor2d(cos, shape), sin: tensor2d(sin, shape) };
  const { growth } = config;
  if (growth === undefined) return angles;
  return {
    ...angles,
    queryCos: tensor2d(grow(cos, growth, positionIds), shape),
    querySin: tensor2d(grow(sin, growth, positionIds), shape),
  };
};

/**
 * Turns each head of x [N, heads · headDim] by its position's angles: a pair (a, b) becomes (a·cos - b·sin, b·cos + a·sin) (Su et
 * al. 2021).
 */
export const rotary =
  (
    { cos, sin }: RotaryAngles,
    {
      interleaved = false,
      ...heads
    }: Pick<RopeAttrs, 'heads' | 'headDim' | 'rotaryDim'> & Partial<Pick<RopeAttrs, 'interleaved'>>,
  ): Layer<Tensor, Tensor> =>
  (_weights, x, wanted) => {
    const attrs = { ...heads, interleaved };
    const y = turn({ x, cos, sin }, { ...attrs, inverse: false });
    if (!wanted.input) return inactive(y);
    return passed(y, [], (dy, onto) => {
      const dx = turn({ x: dy, cos, sin }, { ...attrs, inverse: true });
      dy.dispose();
      return [{}, landedOn(dx, onto)];
    });
  };
