/**
 * A named op is one numerical step that an engine may run as one kernel. Engines register fast kernels under its name; where
 * the current backend has none, the reference runs, written in plain tfjs ops, which is also what fast kernels are tested
 * against.
 *
 * Ops borrow their inputs and return new tensors that the caller owns; those that say so (`adamW`, `axpy`, `addRows`, …) consume.
 */
import { engine, getBackend, getKernel, tidy } from '@tensorflow/tfjs-core';
import type { NamedAttrMap, NamedTensorMap, Tensor, TensorContainer } from '@tensorflow/tfjs-core';

export interface NamedOp<Inputs, Attrs, Outputs extends ReadonlyArray<Tensor>> {
  readonly name: string;
  /** The definition: outputs in the order in which every kernel returns them. */
  readonly reference: (inputs: Inputs, attrs: Attrs) => Outputs;
  /** The current backend's kernel, or the reference. */
  readonly run: (inputs: Inputs, attrs: Attrs) => Outputs;
}

/** Absent optional inputs are absent keys: a kernel never sees undefined. */
const withoutAbsent = (inputs: object): object =>
  Array.isArray(inputs)
    ? inputs
    : Object.fromEntries(Object.entries(inputs).filter(([, value]) => value !== undefined));

export const namedOp = <Inputs extends object, Attrs extends object, Outputs extends ReadonlyArray<Tensor>>(
  name: string,
  definition: (inputs: Inputs, attrs: Attrs) => Outputs,
): NamedOp<Inputs, Attrs, Outputs> => {
  const reference = (inputs: Inputs, attrs: Attrs): Outputs =>
    tidy(name, () => definition(inputs, attrs) as unknown as TensorContainer) as unknown as Outputs;
  const run = (inputs: Inputs, attrs: Attrs): Outputs =>
    // getKernel is typed as total and is not.
    (getKernel(name, getBackend()) as unknown) === undefined
      ? reference(inputs, attrs)
      : (engine().runKernel(
          name,
          withoutAbsent(inputs) as NamedTensorMap,
          attrs as unknown as NamedAttrMap,
        ) as unknown as Outputs);
  return { name, reference, run };
};
