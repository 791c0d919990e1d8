/** How a kernel of the native backend is written: check the shapes, take the outputs, put the arguments, run. */
import type { KernelConfig, KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from './backend.js';
import { valuesIn } from './values.js';

export const backendName = 'native';

/** tfjs types inputs and attributes loosely: here the kernel's own parameters say what it is given. */
export const kernel = (
  kernelName: string,
  run: (backend: NativeBackend, inputs: never, attrs: never) => TensorInfo | TensorInfo[],
  /** Asks for `normInput`, so that a sum that waits may go on waiting. */
  { takesSums = false }: { readonly takesSums?: boolean } = {},
): KernelConfig => ({
  kernelName,
  backendName,
  kernelFunc: (({ inputs, attrs, backend }: { inputs: never; attrs: never; backend: NativeBackend }) => {
    backend.begin();
    if (!takesSums) backend.settle();
    try {
      return run(backend, inputs, attrs);
    } catch (error) {
      backend.abandon();
      throw error;
    }
  }) as unknown as KernelFunc,
});

const shown = (shape: ReadonlyArray<number>): string => `[${shape.join(', ')}]`;

export const sizeOf = ({ shape }: TensorInfo): number => valuesIn(shape);

/** Rows and columns of a matrix. */
export const rowsOf = (what: string, { shape }: TensorInfo): readonly [number, number] => {
  const [rows, columns] = shape;
  if (shape.length !== 2 || rows === undefined || columns === undefined)
    throw new Error(`${what} has shape ${shown(shape)}, expected a matrix`);
  return [rows, columns];
};

/** Throws unless the tensor, if there is one, is [rows, columns]. */
export const expectMatrix = (what: string, info: TensorInfo | undefined, rows: number, columns: number): void => {
  if (info === undefined) return;
  const { shape } = info;
  if (shape.length !== 2 || shape[0] !== rows || shape[1] !== columns)
    throw new Error(`${what} has shape ${shown(shape)}, expected ${shown([rows, columns])}`);
};

/** Cosines and sines, [N, pairs] each. */
export interface Angles {
  readonly cos: TensorInfo;
  readonly sin: TensorInfo;
}

/** Throws unless the angles are those of `rows` positions at which `turning` entries of a head turn, two by two. */
export const expectAngles = ({ cos, sin }: Angles, rows: number, turning: number): void => {
  expectMatrix('cos', cos, rows, turning / 2);
  expectMatrix('sin', sin, rows, turning / 2);
};

/** Throws unless the tensor, if there is one, is [size]. */
export const expectVector = (what: string, info: TensorInfo | undefined, size: number): void => {
  if (info === undefined) return;
  const { shape } = info;
  if (shape.length !== 1 || shape[0] !== size)
    throw new Error(`${what} has shape ${shown(shape)}, expected ${shown([size])}`);
};

/** Throws unless the shapes are the same. */
export const expectSame = (what: string, a: TensorInfo, b: TensorInfo): void => {
  let same = a.shape.length === b.shape.length;
  for (let i = 0; i < a.shape.length; i++) same &&= a.shape[i] === b.shape[i];
  if (!same) throw new Error(`${what} has shape ${shown(b.shape)}, expected ${shown(a.shape)}`);
};
