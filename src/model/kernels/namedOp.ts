/**
 * A named op is one numerical step that an engine may run as one kernel. Engines register fast kernels under its name; where
 * the current backend has none, the reference runs, written in plain tfjs ops, which is also what fast kernels are tested
 * against.
 *
 * Ops borrow their inputs and return new tensors that the caller owns; those that say so (`adamW`, `axpy`, `addRows`, …) consume.
 */
import type { KernelFunc, NamedAttrMap, NamedTensorMap, Tensor, TensorContainer } from '@tensorflow/tfjs-core';
import { engine, getKernel, tidy } from '../../tfjs.js';

export interface NamedOp<Inputs, Attrs, Outputs extends ReadonlyArray<Tensor>> {
  readonly name: string;
  /** The definition: outputs in the order in which every kernel returns them. */
  readonly reference: (inputs: Inputs, attrs: Attrs) => Outputs;
  /** The current backend's kernel, which is looked up once, or the reference. */
  readonly run: (inputs: Inputs, attrs: Attrs) => Outputs;
}

type Engine = ReturnType<typeof engine>;

/** Whether tfjs takes note of what runs: for a gradient, a profile, or to look for values and leaks that should not be. */
const watches = ({ state, ENV }: Engine): boolean =>
  state.gradientDepth > 0 || state.profiling || ENV.getBool('DEBUG') || ENV.getBool('IS_TEST');

/** Absent optional inputs as absent keys, for tfjs: it walks the inputs. Kernels take undefined for absent. */
const withoutAbsent = (inputs: object): object =>
  Array.isArray(inputs)
    ? inputs
    : Object.fromEntries(Object.entries(inputs).filter(([, value]) => value !== undefined));

const listed = <A>(values: A | ReadonlyArray<A>): ReadonlyArray<A> => (Array.isArray(values) ? values : [values as A]);

export const namedOp = <Inputs extends object, Attrs extends object, Outputs extends ReadonlyArray<Tensor>>(
  name: string,
  definition: (inputs: Inputs, attrs: Attrs) => Outputs,
): NamedOp<Inputs, Attrs, Outputs> => {
  const reference = (inputs: Inputs, attrs: Attrs): Outputs =>
    tidy(name, () => definition(inputs, attrs) as unknown as TensorContainer) as unknown as Outputs;
  const known = new Map<string, KernelFunc>();
  const kernelOn = (backend: string): KernelFunc | undefined => {
    const before = known.get(backend);
    if (before !== undefined) return before;
    // getKernel is typed as total and is not.
    const found = (getKernel(name, backend) as { readonly kernelFunc: KernelFunc } | undefined)?.kernelFunc;
    if (found !== undefined) known.set(backend, found);
    return found;
  };
  const run = (inputs: Inputs, attrs: Attrs): Outputs => {
    const tfjs = engine();
    const kernel = kernelOn(tfjs.backendName);
    if (kernel === undefined) return reference(inputs, attrs);
    const given = inputs as NamedTensorMap;
    const options = attrs as unknown as NamedAttrMap;
    if (watches(tfjs))
      return listed(
        tfjs.runKernel<Tensor | Tensor[]>(name, withoutAbsent(given) as NamedTensorMap, options),
      ) as unknown as Outputs;
    // As runKernel does, without what it does for those who watch: a step of a model calls a thousand kernels.
    const outputs = listed(kernel({ inputs: given, attrs: options, backend: tfjs.backend })).map((info) =>
      'rank' in info ? (info as Tensor) : tfjs.makeTensorFromTensorInfo(info),
    );
    return outputs as ReadonlyArray<Tensor> as Outputs;
  };
  return { name, reference, run };
};
