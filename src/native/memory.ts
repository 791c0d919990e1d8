/** Which tensors there are in the engine's memory, who refers to them, and when they go. */
import type { BackendValues, DataType, KernelBackend, TensorInfo } from '@tensorflow/tfjs-core';
import { engine } from '../tfjs.js';
import type { Addon } from './addon.js';
import { bare, NativeData } from './nativeData.js';
import type { NativeInfo } from './nativeData.js';
import { valuesIn, typed, width } from './values.js';
import type { WaitingSum } from './waitingSum.js';
import type { WeightCopies } from './weightCopies.js';

export interface Memory {
  /** How many there are. */
  readonly count: () => number;
  /** The data of a tensor, brought here from another backend if it must be. Throws where the tensor was disposed of. */
  readonly data: (dataId: object) => NativeData;
  /** The data of a float32 tensor. */
  readonly float: (info: TensorInfo) => NativeData;
  /** The data of an int32 tensor. */
  readonly integers: (dataId: object) => NativeData;
  /** The data if it is here. */
  readonly known: (dataId: object) => NativeData | undefined;
  /** A tensor of the engine as an output of the kernel that runs. */
  readonly born: (data: NativeData, shape: ReadonlyArray<number>) => NativeInfo;
  /** A new tensor whose values are whatever the memory held. */
  readonly output: (shape: ReadonlyArray<number>, dtype: DataType) => NativeInfo;
  /** The same, but that its values lie as bfloat16. */
  readonly halfOutput: (shape: ReadonlyArray<number>) => NativeInfo;
  /** The same data under another shape. */
  readonly alias: (info: TensorInfo, shape: ReadonlyArray<number>) => TensorInfo;
  readonly write: (values: BackendValues, shape: ReadonlyArray<number>, dtype: DataType) => NativeData;
  /** From here on another backend's dataId means this data. */
  readonly move: (dataId: object, data: NativeData) => void;
  /** Refers to it once less; true when the data is gone, at once or before. */
  readonly dispose: (dataId: object, force?: boolean) => boolean;
  /** Gives back the memory of the values and of what lies beside them. */
  readonly giveUp: (data: NativeData) => void;
  /** What absent values are made of is needed once less. */
  readonly forgetRecipe: (data: NativeData) => void;
  /** A kernel starts: it has no outputs. */
  readonly begin: () => void;
  /** It threw: its outputs are nobody's. */
  readonly abandon: () => void;
}

export interface MemoryParts {
  readonly addon: Addon;
  readonly sum: WaitingSum;
  readonly copies: WeightCopies;
  /** Whose memory it is, for tfjs. */
  readonly backend: KernelBackend;
}

export const makeMemory = ({ addon, sum, copies, backend }: MemoryParts): Memory => {
  /** Tensors that were born on another backend keep their dataId. */
  const moved = new WeakMap<object, NativeData>();
  /** Outputs of the kernel that runs: what a kernel that throws leaves behind. */
  const fresh: NativeData[] = [];
  let count = 0;

  const data = (dataId: object): NativeData => {
    if (dataId instanceof NativeData && dataId.id !== 0) return dataId;
    const there = moved.get(dataId);
    if (there !== undefined && there.id !== 0) return there;
    if (dataId instanceof NativeData && dataId.strings !== undefined) return dataId;
    engine().moveData(backend, dataId);
    const brought = moved.get(dataId);
    if (brought === undefined) throw new Error('a tensor that was disposed of');
    return brought;
  };
  const dataOf = (dataId: object, dtype: DataType): NativeData => {
    const found = data(dataId);
    if (found.dtype !== dtype) throw new Error(`a tensor of ${found.dtype}, expected ${dtype}`);
    return found;
  };
  const known = (dataId: object): NativeData | undefined => {
    const there = moved.get(dataId);
    if (there !== undefined) return there;
    return dataId instanceof NativeData && dataId.references > 0 ? dataId : undefined;
  };

  const allocate = (size: number, dtype: DataType): NativeData => {
    const made = new NativeData(addon.take(size * width(dtype)), size, dtype, 1);
    count++;
    return made;
  };
  const output = (shape: ReadonlyArray<number>, dtype: DataType): NativeInfo => {
    const dataId = allocate(valuesIn(shape), dtype);
    fresh.push(dataId);
    return { dataId, shape: shape as number[], dtype };
  };
  const born = (dataId: NativeData, shape: ReadonlyArray<number>): NativeInfo => {
    count++;
    fresh.push(dataId);
    return { dataId, shape: shape as number[], dtype: dataId.dtype };
  };

  const giveUp = ({ id, held }: NativeData): void => {
    if (!sum.givesBack(id) && id !== 0) addon.give(id);
    for (const part of [held?.scale ?? 0, held?.code ?? 0]) if (part !== 0) addon.give(part);
  };
  const forgetRecipe = ({ recipe, absent }: NativeData): void => {
    if (!absent || recipe === undefined) return;
    for (const part of [recipe.gate, recipe.up]) if (dispose(part)) engine().removeDataId(part, backend);
  };
  const dispose = (dataId: object, force = false): boolean => {
    const gone = known(dataId);
    if (gone === undefined) return true;
    gone.references--;
    if (gone.references > 0 && !force) return false;
    gone.references = 0;
    sum.dropped(gone);
    count--;
    copies.forget(gone);
    giveUp(gone);
    forgetRecipe(gone);
    gone.id = 0;
    gone.held = undefined;
    gone.kept = undefined;
    gone.recipe = undefined;
    moved.delete(dataId);
    return true;
  };

  return {
    count: () => count,
    data,
    float: ({ dataId }) => dataOf(dataId, 'float32'),
    integers: (dataId) => dataOf(dataId, 'int32'),
    known,
    born,
    output,
    halfOutput: (shape) => {
      const size = valuesIn(shape);
      const dataId = new NativeData(addon.take(size * 2), size, 'float32', 1);
      dataId.held = bare;
      return born(dataId, shape);
    },
    alias: ({ dataId, dtype }, shape) => {
      data(dataId).references++;
      return { dataId, shape: shape as number[], dtype };
    },
    write: (values, shape, dtype) => {
      if (dtype === 'string') {
        count++;
        return new NativeData(0, valuesIn(shape), dtype, 1, values);
      }
      const written = allocate(valuesIn(shape), dtype);
      addon.write(written.id, typed(values, dtype));
      return written;
    },
    move: (dataId, here) => {
      moved.set(dataId, here);
    },
    dispose,
    giveUp,
    forgetRecipe,
    begin: () => {
      fresh.length = 0;
    },
    abandon: () => {
      for (const output of fresh) dispose(output, true);
      fresh.length = 0;
    },
  };
};
