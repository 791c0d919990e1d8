/** What tfjs holds as a dataId: the number of a tensor in the engine, and how its values lie there. */
import type { BackendValues, DataType, TensorInfo } from '@tensorflow/tfjs-core';
import type { engine } from '../tfjs.js';

/** Ways in which float32 values can lie in the engine, with the numbers that kernel_table.h gives them. */
export const kinds = { float32: 0, bfloat16: 1, int8: 2, fourBit: 3 } as const;

/** How values lie that do not lie as float32. */
interface Held {
  readonly storage: Exclude<keyof typeof kinds, 'float32'>;
  /** Length of a row of the matrix that the values are. */
  readonly columns: number;
  /** Numbers of the tensors beside the values, 0 where the storage has none. */
  readonly scale: number;
  readonly code: number;
  /** Values that share a scale; 0 where the storage has no blocks. */
  readonly block: number;
}

/** Held as bfloat16, which has no rows, scales or codes. */
export const bare: Held = { storage: 'bfloat16', columns: 0, scale: 0, code: 0, block: 0 };

/** A gated activation whose values are computed again whenever they are read. */
interface Recipe {
  readonly kind: number;
  readonly gate: NativeData;
  readonly up: NativeData;
}

/** A tensor of the engine with copies of weights as bfloat16, one after the other. */
export interface Copies {
  readonly id: number;
  /** How many of them are in use: with none the tensor goes. */
  used: number;
}

/** The copy of some weights, which kernels that would round them read. */
interface Copy {
  readonly of: Copies;
  /** Numbers before it. */
  readonly first: number;
  /** Whether it is what the weights would be rounded to now. */
  current: boolean;
}

/** What tfjs notes of the data of tensors. */
export type Noted = NonNullable<ReturnType<ReturnType<typeof engine>['state']['tensorInfo']['get']>>;

export class NativeData {
  /** Absent: the values lie as the dtype says. */
  held: Held | undefined;
  /** What the values, which lie as bfloat16, were made of. */
  recipe: Recipe | undefined;
  /** There are no values but what that makes, again for each kernel. */
  absent = false;
  /** Whether all values and this offset make numbers that others can be divided by, once that was asked. */
  divides: { readonly offset: number; readonly safely: boolean } | undefined;
  /** What was made to keep these values for later, in a smaller storage. */
  kept: NativeData | undefined;
  /** On a card, where these are weights that products round. */
  copy: Copy | undefined;
  /** What tfjs notes of it, where tensors have it. */
  noted: Noted | undefined;

  constructor(
    /** Number of the tensor in the engine; 0 once freed. */
    public id: number,
    public readonly size: number,
    public readonly dtype: DataType,
    public references: number,
    /** Strings stay in JavaScript. */
    public readonly strings?: BackendValues,
  ) {}
}

/** What kernels are given as output: a tensor that is not tracked yet. */
export interface NativeInfo extends TensorInfo {
  readonly dataId: NativeData;
}
