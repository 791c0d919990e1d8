/** Values kept for the way back. At bfloat16 they lie so, once for all who keep the same data; a gated activation is made again. */
import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { Addon } from './addon.js';
import type { Call } from './call.js';
import type { Memory } from './memory.js';
import { bare, NativeData } from './nativeData.js';
import type { NativeInfo } from './nativeData.js';
import type { PassingCopies } from './passingCopies.js';

/** Kept values, and the number of the tensor of theirs that is yet to be written; 0: none. */
interface Later {
  readonly kept: TensorInfo;
  readonly copy: number;
}

export interface Keeping {
  /** The values for later. At bfloat16 that is a tensor which lies so, one for all who keep the same data. */
  readonly keep: (info: TensorInfo) => TensorInfo;
  /** The same, but that a gated activation is not kept: it is made again of what it was made of, which is kept in any case. */
  readonly keepWhatMakes: (info: TensorInfo) => TensorInfo;
  /** Says what the gated activation was made of. */
  readonly madeOf: (made: NativeInfo, kind: number, gate: TensorInfo, up: TensorInfo) => void;
  /** The values for later, that the caller's operation writes. */
  readonly later: (info: TensorInfo) => Later;
}

export interface KeepingParts {
  readonly addon: Addon;
  readonly call: Call;
  /** The operation's code. */
  readonly narrow: number;
  readonly memory: Memory;
  readonly passing: PassingCopies;
  /** Whether values are kept as bfloat16 now. */
  readonly rounds: () => boolean;
}

export const makeKeeping = ({ addon, call, narrow, memory, passing, rounds }: KeepingParts): Keeping => {
  const later = (info: TensorInfo): Later => {
    const data = memory.float(info);
    const { shape, dtype } = info;
    if (!rounds() || data.held !== undefined) return { kept: memory.alias(info, shape), copy: 0 };
    if (data.kept !== undefined && data.kept.references > 0) {
      data.kept.references++;
      return { kept: { dataId: data.kept, shape, dtype }, copy: 0 };
    }
    const kept = memory.halfOutput(shape);
    data.kept = kept.dataId;
    return { kept, copy: kept.dataId.id };
  };
  const keep = (info: TensorInfo): TensorInfo => {
    const { kept, copy } = later(info);
    if (copy === 0) return kept;
    const data = memory.float(info);
    for (const value of [data.size, passing.wide(data), copy]) call.put(value);
    call.run(narrow);
    passing.forget();
    return kept;
  };
  return {
    keep,
    keepWhatMakes: (info) => {
      const { recipe, size, dtype } = memory.float(info);
      if (recipe === undefined || recipe.gate.references === 0 || recipe.up.references === 0) return keep(info);
      const data = new NativeData(addon.take(1), size, dtype, 1);
      data.held = bare;
      data.recipe = recipe;
      data.absent = true;
      recipe.gate.references++;
      recipe.up.references++;
      return memory.born(data, info.shape);
    },
    madeOf: (made, kind, gate, up) => {
      made.dataId.recipe = { kind, gate: memory.float(gate), up: memory.float(up) };
    },
    later,
  };
};
