/** An op of the native engine and what it is given: on no backend until a test puts it on one. */
import { tensor1d } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { bfloat16ToFloat32, float32ToBfloat16 } from '../../../src/formats/tensors/float16.js';
import { hold } from '../../../src/model/kernels/hold.js';
import { tensorOf } from '../../../test/native.js';
import type { Values } from '../../../test/native.js';

/** An op and what it is given, on no backend yet. */
export interface Trial {
  readonly name: string;
  readonly inputs: Readonly<Record<string, Values | undefined>> | ReadonlyArray<Values>;
  readonly attrs: unknown;
  /** Of the op, by name, so that ops of different types fit one list. */
  readonly reference: (inputs: never, attrs: never) => ReadonlyArray<Tensor>;
  readonly run: (inputs: never, attrs: never) => ReadonlyArray<Tensor>;
  readonly tolerance?: number;
  /** The tolerance is a share of an output's largest number, before terms of its sums cancel each other. */
  readonly rough?: boolean;
  /** The kernel writes into these inputs instead of returning outputs. */
  readonly inPlace?: ReadonlyArray<number | string>;
}

interface AnyOp {
  readonly name: string;
  readonly reference: (inputs: never, attrs: never) => ReadonlyArray<Tensor>;
  readonly run: (inputs: never, attrs: never) => ReadonlyArray<Tensor>;
}

export const trial = (op: AnyOp, inputs: Trial['inputs'], attrs: unknown, more: Partial<Trial> = {}): Trial => ({
  name: op.name,
  reference: op.reference,
  run: op.run,
  inputs,
  attrs,
  ...more,
});

/** An op that is given an int32 tensor of this name, which trials pass as an attribute: their inputs are float32. */
export const withIntegers = (op: AnyOp, name: string): AnyOp => {
  const given =
    (how: 'reference' | 'run') =>
    (inputs: Readonly<Record<string, Tensor>>, attrs: Readonly<Record<string, unknown>>): ReadonlyArray<Tensor> => {
      const { [name]: integers, ...rest } = attrs;
      if (integers === undefined) return op[how](inputs as never, rest as never);
      const lent = tensor1d(integers as Int32Array, 'int32');
      try {
        return op[how]({ ...inputs, [name]: lent } as never, rest as never);
      } finally {
        lent.dispose();
      }
    };
  return { name: op.name, reference: given('reference'), run: given('run') };
};

export const onBackend = (inputs: Trial['inputs']): ReadonlyArray<Tensor> | Record<string, Tensor> =>
  Array.isArray(inputs)
    ? inputs.map((values: Values) => tensorOf(values))
    : Object.fromEntries(
        Object.entries(inputs as Readonly<Record<string, Values | undefined>>).flatMap(([key, values]) =>
          values === undefined ? [] : [[key, tensorOf(values)]],
        ),
      );

export const listed = (tensors: ReadonlyArray<Tensor> | Record<string, Tensor>): ReadonlyArray<Tensor> =>
  Array.isArray(tensors) ? (tensors as ReadonlyArray<Tensor>) : Object.values(tensors);

export const dispose = (tensors: ReadonlyArray<Tensor>): void => tensors.forEach((tensor) => tensor.dispose());

export const nothing: Values = { shape: [], values: new Float32Array() };

/** The value that bfloat16 keeps of a float32 one. */
const rounded = ({ shape, values }: Values): Values => ({
  shape,
  values: bfloat16ToFloat32(float32ToBfloat16(values)),
});

/** The same trial with inputs that bfloat16 can hold, those that the kernel writes to left out. */
export const holdable = (t: Trial): Trial => {
  const entries = Object.entries(t.inputs).map(([key, values]: readonly [string, Values | undefined]) => [
    key,
    values === undefined || t.inPlace?.map(String).includes(key) === true ? values : rounded(values),
  ]);
  const inputs: unknown = Array.isArray(t.inputs) ? entries.map(([, values]) => values) : Object.fromEntries(entries);
  return { ...t, inputs: inputs as Trial['inputs'] };
};

export const holdAll = (t: Trial, inputs: ReturnType<typeof onBackend>): void => {
  for (const [key, lent] of Object.entries(inputs))
    if (t.inPlace?.map(String).includes(key) !== true) hold(lent, 'bfloat16');
};
