/** What a pickle of tensors can hold: plain data. No value is a function of Python's, and none runs. */
import type { Dtype } from '../tensors/safetensorsHeader.js';

/** Bytes somewhere in the file, by their key. */
export interface PickledStorage {
  readonly _tag: 'storage';
  readonly key: string;
  /** Of its elements; absent where tensors say it themselves. */
  readonly dtype?: Dtype;
  readonly byteLength: number;
}

/** A view of a storage; `offset` and `strides` count elements. */
export interface PickledTensor {
  readonly _tag: 'tensor';
  readonly storage: PickledStorage;
  readonly dtype: Dtype;
  readonly offset: number;
  readonly shape: ReadonlyArray<number>;
  readonly strides: ReadonlyArray<number>;
}

/** A name of Python's: one of the few that are known. */
export interface PickledGlobal {
  readonly _tag: 'global';
  readonly name: string;
}

export interface PickledTuple {
  readonly _tag: 'tuple';
  readonly items: ReadonlyArray<PickleValue>;
}

/** Still being filled. */
export interface PickledList {
  readonly _tag: 'list';
  readonly items: Array<PickleValue>;
}

/** Still being filled. */
export interface PickledDict {
  readonly _tag: 'dict';
  readonly entries: Map<PickleValue, PickleValue>;
}

export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | PickledStorage
  | PickledTensor
  | PickledGlobal
  | PickledTuple
  | PickledList
  | PickledDict;

/** For messages: what kind of value it is, without what is in it. */
export const kindOf = (value: PickleValue): string =>
  value === null ? 'None' : typeof value === 'object' ? `a ${value._tag}` : `a ${typeof value}`;

/** A text of the file, as far as a message bears it. */
export const quoted = (text: string): string => JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text);
