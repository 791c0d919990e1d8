import type { Tensor } from '@tensorflow/tfjs-core';
import { tensor } from '../../tfjs.js';
import { dynamicMap, nearestCode, unsignedDynamicMap } from '../quantize/dynamicMap.js';
import type { AdamWAttrs } from './adamW.js';
import { namedOp } from './namedOp.js';

/** Numbers that share a scale. */
export const momentBlock = 256;

/** Shapes of a moment of `size` numbers: four codes in each int32, the first in the lowest byte, and a scale a block. */
export const momentShapes = (size: number): { readonly codes: number; readonly absmax: number } => ({
  codes: Math.ceil(size / 4),
  absmax: Math.ceil(size / momentBlock),
});

/** What codes stand for: the map of first moments, then that of second ones. */
export const momentMaps: readonly [Float32Array, Float32Array] = [dynamicMap, unsignedDynamicMap];

/** A moment in 8 bits: value i = map[code i] · absmax[⌊i / 256⌋]. */
export interface Moment8bit {
  readonly codes: Uint8Array;
  readonly absmax: Float32Array;
}

type Values = ReadonlyArray<number> | Float32Array;

/** A moment's values again. First moments have the signed map, second ones the unsigned. */
export const dequantizeMoment = ({ codes, absmax }: Moment8bit, map: Float32Array): Float32Array =>
  Float32Array.from(codes, (code, i) => (map[code] ?? 0) * (absmax[Math.floor(i / momentBlock)] ?? 0));

/**
 * The nearest codes of values over their block's largest magnitude. As bitsandbytes has it, a negative value never becomes 0: the
 * direction of an update outlives its size.
 */
export const quantizeMoment = (values: Values, map: Float32Array): Moment8bit => {
  const codes = new Uint8Array(values.length);
  const absmax = new Float32Array(momentShapes(values.length).absmax);
  const zero = map.indexOf(0);
  for (let block = 0; block < absmax.length; block++) {
    const end = Math.min(values.length, (block + 1) * momentBlock);
    let top = 0;
    for (let i = block * momentBlock; i < end; i++) top = Math.max(top, Math.abs(values[i] ?? 0));
    absmax[block] = top;
    for (let i = block * momentBlock; i < end; i++) {
      const value = values[i] ?? 0;
      const code = top === 0 ? zero : nearestCode(map, Math.fround(value / top));
      codes[i] = value < 0 && code === zero ? Math.max(0, zero - 1) : code;
    }
  }
  return { codes, absmax };
};

const bytesOf = ({ buffer, byteOffset }: Int32Array, size: number): Uint8Array =>
  new Uint8Array(buffer, byteOffset, size);

const floats = (of: Tensor): Float32Array => of.dataSync<'float32'>();

/** Codes as a tensor. */
const packed = (codes: Uint8Array): Tensor => {
  const whole = new Uint8Array(4 * Math.ceil(codes.length / 4));
  whole.set(codes);
  return tensor(new Int32Array(whole.buffer), [whole.length / 4], 'int32');
};

/**
 * Inputs: n parameters, n gradients, n first and n second moments' codes, n first and n second moments' scales. Kernels write in
 * place and return nothing.
 */
export const RxAdamW8bit = namedOp(
  'RxAdamW8bit',
  (tensors: ReadonlyArray<Tensor>, attrs: AdamWAttrs & { readonly n: number }): ReadonlyArray<Tensor> => {
    const { n, learningRate, beta1, beta2, epsilon, weightDecay, step, gradScale } = attrs;
    const [firstMap, secondMap] = momentMaps;
    const unbias1 = 1 - beta1 ** step;
    const unbias2 = 1 - beta2 ** step;
    const moved = Array.from({ length: n }, (_, t) => {
      const parts = [0, 1, 2, 3, 4, 5].map((part) => tensors[part * n + t]) as [
        ...[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor],
      ];
      const [p, g, mCodes, vCodes, mAbsmax, vAbsmax] = parts;
      const stored = (codes: Tensor, absmax: Tensor, map: Float32Array): Float32Array =>
        dequantizeMoment({ codes: bytesOf(codes.dataSync<'int32'>(), p.size), absmax: floats(absmax) }, map);
      const m = stored(mCodes, mAbsmax, firstMap);
      const v = stored(vCodes, vAbsmax, secondMap);
      const gradient = floats(g);
      const keep = 1 - learningRate * (weightDecay[t] ?? 0);
      const parameter = floats(p).map((old, i) => {
        const scaled = (gradient[i] ?? 0) * gradScale;
        const first = beta1 * (m[i] ?? 0) + (1 - beta1) * scaled;
        const second = beta2 * (v[i] ?? 0) + (1 - beta2) * scaled * scaled;
        m[i] = first;
        v[i] = second;
        return old * keep - (learningRate * (first / unbias1)) / (Math.sqrt(second / unbias2) + epsilon);
      });
      const first = quantizeMoment(m, firstMap);
      const second = quantizeMoment(v, secondMap);
      return [
        tensor(parameter, p.shape, 'float32'),
        packed(first.codes),
        packed(second.codes),
        tensor(first.absmax),
        tensor(second.absmax),
      ] as const;
    });
    return [0, 1, 2, 3, 4].flatMap((part) => moved.map((of) => of[part])) as ReadonlyArray<Tensor>;
  },
);

export interface AdamW8bitState {
  readonly parameters: ReadonlyArray<Tensor>;
  /** First moments: codes of the signed map, four in each int32. */
  readonly mCodes: ReadonlyArray<Tensor>;
  /** Second moments: codes of the unsigned map. */
  readonly vCodes: ReadonlyArray<Tensor>;
  /** The blocks' scales. */
  readonly mAbsmax: ReadonlyArray<Tensor>;
  readonly vAbsmax: ReadonlyArray<Tensor>;
}

/**
 * The state after one step of AdamW whose moments are held in 8 bits (Dettmers et al. 2022, "8-bit optimizers via block-wise
 * quantization"): they are widened, moved as in `adamW`, the parameter moves by what they are then, and they are narrowed again.
 * Consumes the state given (updating in place where the engine can); borrows the gradients.
 */
export const adamW8bit = (
  state: AdamW8bitState,
  gradients: ReadonlyArray<Tensor>,
  attrs: AdamWAttrs,
): AdamW8bitState => {
  const { parameters, mCodes, vCodes, mAbsmax, vAbsmax } = state;
  const n = parameters.length;
  const moments = [...mCodes, ...vCodes, ...mAbsmax, ...vAbsmax];
  const outputs = RxAdamW8bit.run([...parameters, ...gradients, ...moments], { ...attrs, n });
  if (outputs.length === 0) return state;
  for (const old of [...parameters, ...moments]) old.dispose();
  const part = (i: number): ReadonlyArray<Tensor> => outputs.slice(i * n, (i + 1) * n);
  return { parameters: part(0), mCodes: part(1), vCodes: part(2), mAbsmax: part(3), vAbsmax: part(4) };
};
