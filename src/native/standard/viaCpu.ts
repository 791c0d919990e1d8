/**
 * The slow path: a kernel of the cpu backend, given copies of the tensors. For what no training step runs often; every
 * call waits for the engine and copies both ways.
 */
import type { KernelBackend, KernelConfig, KernelFunc, NamedAttrMap, TensorInfo } from '@tensorflow/tfjs-core';
import { engine, getKernel, getKernelsForBackend } from '../../tfjs.js';
import type { NativeBackend } from '../backend.js';
import { kernel } from '../kernel.js';

type Inputs = Readonly<Record<string, TensorInfo | undefined>> | ReadonlyArray<TensorInfo>;

const cpuBackend = (): KernelBackend => engine().findBackend('cpu');

export const viaCpu = (
  name: string,
): ((backend: NativeBackend, inputs: object, attrs: object) => TensorInfo | TensorInfo[]) => {
  const run: KernelFunc = getKernel(name, 'cpu').kernelFunc;
  return (backend, inputs, attrs) => {
    backend.handedOn.set(name, (backend.handedOn.get(name) ?? 0) + 1);
    const cpu = cpuBackend();
    const lent: TensorInfo[] = [];
    const buffers: ArrayBufferLike[] = [];
    const lend = (info: TensorInfo): TensorInfo => {
      const values = backend.readSync(info.dataId);
      const copy = { ...info, dataId: cpu.write(values, info.shape, info.dtype) };
      lent.push(copy);
      if (ArrayBuffer.isView(values)) buffers.push(values.buffer);
      return { dataId: copy.dataId, shape: info.shape, dtype: info.dtype };
    };
    const given = inputs as Inputs;
    const copies = Array.isArray(given)
      ? given.map((info: TensorInfo) => lend(info))
      : Object.fromEntries(
          Object.entries(given as Readonly<Record<string, TensorInfo | undefined>>).map(([key, info]) => [
            key,
            info === undefined ? undefined : lend(info),
          ]),
        );
    const results: TensorInfo[] = [];
    try {
      const out = run({
        inputs: copies as Record<string, TensorInfo>,
        backend: cpu,
        attrs: attrs as unknown as NamedAttrMap,
      });
      results.push(...(Array.isArray(out) ? out : [out]));
      const back = results.map(({ dataId, shape, dtype }) => ({
        dataId: backend.write(cpu.readSync(dataId), shape, dtype),
        shape,
        dtype,
      }));
      return Array.isArray(out) ? back : (back[0] ?? []);
    } finally {
      for (const { dataId } of [...results, ...lent]) if (cpu.refCount(dataId) > 0) cpu.disposeData(dataId, true);
      // Large copies made often would lie about until the collector comes by.
      for (const buffer of buffers) if (buffer instanceof ArrayBuffer) backend.addon.release(buffer);
    }
  };
};

/** Every kernel of the cpu backend that `native` does not have by then. */
export const remaining = (taken: ReadonlySet<string>): ReadonlyArray<KernelConfig> =>
  getKernelsForBackend('cpu')
    .filter(({ kernelName }) => !taken.has(kernelName))
    .map(({ kernelName }) => {
      const run = viaCpu(kernelName);
      return kernel(kernelName, (backend, inputs: object, attrs: object) => run(backend, inputs, attrs));
    });
