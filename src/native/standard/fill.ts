import type { DataType, KernelConfig, TensorInfo } from '@tensorflow/tfjs-core';
import { tfjs } from '../../tfjs.js';
import type { NativeBackend } from '../backend.js';
import { kernel, sizeOf } from '../kernel.js';
import { viaCpu } from './viaCpu.js';

const { Cast, Fill, OnesLike, ZerosLike } = tfjs();

const filled = (backend: NativeBackend, shape: ReadonlyArray<number>, value: number): TensorInfo => {
  const out = backend.output(shape);
  backend.put(sizeOf(out)).put(value).tensor(out).run(backend.op.fill);
  return out;
};

const like = (name: string, value: number): KernelConfig => {
  const other = viaCpu(name);
  return kernel(name, (backend, inputs: { x: TensorInfo }, attrs: object) =>
    inputs.x.dtype === 'float32' ? filled(backend, inputs.x.shape, value) : other(backend, inputs, attrs),
  );
};

export const fill = (): ReadonlyArray<KernelConfig> => {
  const otherFill = viaCpu(Fill);
  const otherCast = viaCpu(Cast);
  return [
    like(ZerosLike, 0),
    like(OnesLike, 1),
    kernel(Fill, (backend, inputs: object, attrs: { shape: number[]; value: number | string; dtype?: DataType }) =>
      typeof attrs.value === 'number' && (attrs.dtype ?? 'float32') === 'float32'
        ? filled(backend, attrs.shape, attrs.value)
        : otherFill(backend, inputs, attrs),
    ),
    kernel(Cast, (backend, inputs: { x: TensorInfo }, attrs: { dtype: DataType }) =>
      inputs.x.dtype === attrs.dtype ? backend.alias(inputs.x, inputs.x.shape) : otherCast(backend, inputs, attrs),
    ),
  ];
};
