/** Views of a storage: which elements of it a tensor has, and in which order. */
import type { PickledTensor } from './values.js';

export type View = Pick<PickledTensor, 'shape' | 'strides'>;

export const elementsOf = ({ shape }: View): number => shape.reduce((product, size) => product * size, 1);

/** Elements from the first to the last that the view reaches; 0 for an empty one. */
export const spanOf = ({ shape, strides }: View): number =>
  shape.includes(0) ? 0 : shape.reduce((last, size, i) => last + (size - 1) * (strides[i] ?? 0), 1);

/** Whether the elements lie one after another, row-major. */
export const isContiguous = ({ shape, strides }: View): boolean => {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    const size = shape[i] ?? 1;
    if (size !== 1 && strides[i] !== expected) return false;
    expected *= size;
  }
  return true;
};

const words = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array } as const;
type Width = keyof typeof words;

/** Copies the view's elements, `width` bytes each, from `span` (which begins with its first) to `out`, row-major. */
export const gather = (view: View, width: Width, span: Uint8Array<ArrayBuffer>, out: Uint8Array<ArrayBuffer>): void => {
  const { shape, strides } = view;
  const Words = words[width];
  const wordsOf = ({ buffer, byteOffset, byteLength }: Uint8Array<ArrayBuffer>) =>
    new Words(buffer, byteOffset, byteLength / width);
  const [from, to] = [wordsOf(span), wordsOf(out)];
  const index = shape.map(() => 0);
  let source = 0;
  for (let i = 0; i < to.length; i++) {
    to[i] = from[source] ?? 0;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const [size, stride, now] = [shape[axis] ?? 1, strides[axis] ?? 0, index[axis] ?? 0];
      if (now + 1 < size) {
        index[axis] = now + 1;
        source += stride;
        break;
      }
      index[axis] = 0;
      source -= now * stride;
    }
  }
};

/** Turns the bytes of every element round. */
export const swapBytes = (bytes: Uint8Array, width: Width): void => {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (width === 2) buffer.swap16();
  if (width === 4) buffer.swap32();
  if (width === 8) buffer.swap64();
};
