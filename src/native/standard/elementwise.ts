/** Elementwise kernels on float32; what they do not cover is handed on. */
import type { KernelConfig, TensorInfo } from '@tensorflow/tfjs-core';
import { tfjs } from '../../tfjs.js';
import { kernel, sizeOf } from '../kernel.js';
import { drop, spread } from './spread.js';
import { viaCpu } from './viaCpu.js';

const {
  Abs,
  Add,
  backend_util,
  Exp,
  Log,
  Maximum,
  Minimum,
  Multiply,
  Neg,
  RealDiv,
  Relu,
  Rsqrt,
  Sigmoid,
  Sign,
  Sqrt,
  Square,
  Sub,
  Tanh,
} = tfjs();

const product = (shape: ReadonlyArray<number>): number => shape.reduce((size, length) => size * length, 1);

/**
 * Of `of` elements that `shape` broadcasts to `full`, how many repeat as one run: all of them, one, or a trailing block.
 * Undefined when the elements repeat in any other way.
 */
const repeating = (shape: ReadonlyArray<number>, full: ReadonlyArray<number>): number | undefined => {
  const size = product(shape);
  const trailing = shape.slice(shape.findIndex((length) => length !== 1));
  if (size === 1 || size === product(full)) return size;
  return trailing.every((length, i) => length === full[full.length - trailing.length + i]) ? size : undefined;
};

/**
 * How often each of the elements of `shape` repeats in `full`, one after the other: where its last axes are 1, and those before them
 * `full`'s. Undefined when they repeat in any other way.
 */
const alongRows = (shape: ReadonlyArray<number>, full: ReadonlyArray<number>): number | undefined => {
  if (shape.length !== full.length) return undefined;
  const differs = shape.findIndex((length, i) => length !== full[i]);
  return differs > 0 && shape.slice(differs).every((length) => length === 1) ? product(full.slice(differs)) : undefined;
};

/** In the order of the engine's numbers. */
export const binaryKernels: ReadonlyArray<string> = [Add, Sub, Multiply, RealDiv, Maximum, Minimum];
export const unaryKernels: ReadonlyArray<string> = [Neg, Exp, Log, Sqrt, Rsqrt, Square, Tanh, Sigmoid, Relu, Abs, Sign];

const binary = (name: string, number: number): KernelConfig => {
  const other = viaCpu(name);
  return kernel(name, (backend, inputs: { a: TensorInfo; b: TensorInfo }, attrs: object) => {
    const { a, b } = inputs;
    const shape = backend_util.assertAndGetBroadcastShape(a.shape, b.shape);
    const size = product(shape);
    const made: TensorInfo[] = [];
    /** The operand, and after how many of its elements it repeats. */
    const operand = (x: TensorInfo): readonly [TensorInfo, number | undefined] => {
      const own = repeating(x.shape, shape);
      const columns = own === undefined ? alongRows(x.shape, shape) : undefined;
      if (columns === undefined) return [x, own];
      const whole = spread(backend, x, columns, shape);
      made.push(whole);
      return [whole, size];
    };
    if (a.dtype !== 'float32' || b.dtype !== 'float32') return other(backend, inputs, attrs);
    const [[ofA, everyA], [ofB, everyB]] = [operand(a), operand(b)];
    if (everyA === undefined || everyB === undefined || (everyA !== size && everyB !== size)) {
      drop(backend, ...made);
      return other(backend, inputs, attrs);
    }
    const out = backend.output(shape);
    if (size > 0)
      backend.put(size).put(number).put(everyA).put(everyB).tensor(ofA).tensor(ofB).tensor(out).run(backend.op.binary);
    drop(backend, ...made);
    return out;
  });
};

const unary = (name: string, number: number): KernelConfig => {
  const other = viaCpu(name);
  return kernel(name, (backend, inputs: { x: TensorInfo }, attrs: object) => {
    const { x } = inputs;
    if (x.dtype !== 'float32') return other(backend, inputs, attrs);
    const y = backend.output(x.shape);
    backend.put(sizeOf(x)).put(number).tensor(x).tensor(y).run(backend.op.unary);
    return y;
  });
};

/** Made late, since the kernels of the cpu backend must have been registered before. */
export const elementwise = (): ReadonlyArray<KernelConfig> => [
  ...binaryKernels.map(binary),
  ...unaryKernels.map(unary),
];
