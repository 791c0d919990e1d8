/** The names in PyTorch's pickles that stand for tensors; every other one is refused. */
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { bytesOfDtype } from '../tensors/safetensorsHeader.js';
import type { Dtype } from '../tensors/safetensorsHeader.js';
import type { Building } from './unpickle.js';
import { kindOf, quoted } from './values.js';
import type { PickledStorage, PickledTensor, PickleValue } from './values.js';

const storages: Readonly<Record<string, Dtype>> = {
  'torch.FloatStorage': 'F32',
  'torch.DoubleStorage': 'F64',
  'torch.HalfStorage': 'F16',
  'torch.BFloat16Storage': 'BF16',
  'torch.LongStorage': 'I64',
  'torch.IntStorage': 'I32',
  'torch.ShortStorage': 'I16',
  'torch.CharStorage': 'I8',
  'torch.ByteStorage': 'U8',
  'torch.BoolStorage': 'BOOL',
  'torch.ComplexFloatStorage': 'C64',
};
const untypedStorage = 'torch.storage.UntypedStorage';

/** Dtypes younger than the storages' names. */
const dtypes: Readonly<Record<string, Dtype>> = {
  'torch.float8_e4m3fn': 'F8_E4M3',
  'torch.float8_e5m2': 'F8_E5M2',
  'torch.uint16': 'U16',
  'torch.uint32': 'U32',
  'torch.uint64': 'U64',
};

/** Calls, by the name of what is called; each value it gives is plain data. */
type Calls = Readonly<Record<string, (args: ReadonlyArray<PickleValue>) => PickleValue>>;

const isCount = (value: PickleValue | undefined): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;

/** As many dimensions as a tensor of PyTorch can have. */
const mostDimensions = 64;

const countsIn = (value: PickleValue | undefined): ReadonlyArray<number> | undefined =>
  typeof value === 'object' && value?._tag === 'tuple' && value.items.length <= mostDimensions
    ? value.items.every(isCount)
      ? value.items
      : undefined
    : undefined;

const isStorage = (value: PickleValue | undefined): value is PickledStorage =>
  typeof value === 'object' && value?._tag === 'storage';
const isTensor = (value: PickleValue | undefined): value is PickledTensor =>
  typeof value === 'object' && value?._tag === 'tensor';

const nameOf = (value: PickleValue | undefined): string =>
  typeof value === 'object' && value?._tag === 'global' ? value.name : '';

/** The fault of a part: what it is, what stands there, and what should. */
type Wrong = (what: string, value: PickleValue | undefined, expected: string) => FatalError;

const wrongIn =
  (file: string): Wrong =>
  (what, value, expected) =>
    fatal('E_PICKLE_TENSOR', `${file}: ${what} is not what torch.save writes`, {
      file,
      expected,
      actual: value === undefined ? 'nothing' : typeof value === 'string' ? quoted(value) : kindOf(value),
      hint: 'copy or download the file again: it is damaged',
    });

/** The tensor of the arguments of one of PyTorch's `_rebuild_tensor`s. */
const tensorOf = (
  wrong: Wrong,
  [storage, offset, size, stride]: ReadonlyArray<PickleValue>,
  dtype: Dtype | undefined = isStorage(storage) ? storage.dtype : undefined,
): PickledTensor => {
  if (!isStorage(storage)) throw wrong('the storage of a tensor', storage, 'a storage');
  if (dtype === undefined) throw wrong('the dtype of a tensor', null, 'a dtype');
  if (!isCount(offset)) throw wrong('the offset of a tensor', offset, 'a whole number ≥ 0');
  const [shape, strides] = [countsIn(size), countsIn(stride)];
  if (shape === undefined) throw wrong('the shape of a tensor', size, 'a tuple of whole numbers ≥ 0');
  if (strides?.length !== shape.length)
    throw wrong('the strides of a tensor', stride, `a tuple of ${shape.length} whole numbers ≥ 0`);
  return { _tag: 'tensor', storage, dtype, offset, shape, strides };
};

const parameterOf = (wrong: Wrong, [data]: ReadonlyArray<PickleValue>): PickledTensor => {
  if (!isTensor(data)) throw wrong('the value of a parameter', data, 'a tensor');
  return data;
};

/** Made of nothing or, as Python 2 left it, of a list of pairs. */
const orderedDict = (wrong: Wrong, [pairs]: ReadonlyArray<PickleValue>): PickleValue => {
  const entries = new Map<PickleValue, PickleValue>();
  if (typeof pairs === 'object' && pairs?._tag === 'list') {
    for (const pair of pairs.items) {
      const isPair = typeof pair === 'object' && pair !== null && (pair._tag === 'list' || pair._tag === 'tuple');
      if (!isPair || pair.items.length !== 2) throw wrong('an OrderedDict', pair, 'pairs');
      entries.set(pair.items[0] ?? null, pair.items[1] ?? null);
    }
  } else if (pairs !== undefined) throw wrong('an OrderedDict', pairs, 'a list of pairs, or nothing');
  return { _tag: 'dict', entries };
};

const callsWith = (wrong: Wrong): Calls => ({
  'collections.OrderedDict': (args) => orderedDict(wrong, args),
  'torch._utils._rebuild_tensor': (args) => tensorOf(wrong, args),
  'torch._utils._rebuild_tensor_v2': (args) => tensorOf(wrong, args),
  'torch._utils._rebuild_tensor_v3': (args) => tensorOf(wrong, args, dtypes[nameOf(args[6])]),
  'torch._utils._rebuild_parameter': (args) => parameterOf(wrong, args),
  'torch._utils._rebuild_parameter_with_state': (args) => parameterOf(wrong, args),
});

/** The storage that a persistent id describes. */
const storageOf = (wrong: Wrong, id: PickleValue): PickledStorage => {
  const items = typeof id === 'object' && id !== null && id._tag === 'tuple' ? id.items : [];
  const [what, type, key, , count, view] = items;
  if (what !== 'storage' || typeof key !== 'string' || !isCount(count))
    throw wrong('a storage', id, "('storage', type, key, location, number of elements)");
  if (view !== undefined && view !== null) throw wrong('a storage that is part of another', view, 'None');
  const typeName = nameOf(type);
  const dtype = Object.hasOwn(storages, typeName) ? storages[typeName] : undefined;
  if (dtype === undefined && typeName !== untypedStorage)
    throw wrong('the type of a storage', typeName, Object.keys(storages).join(', '));
  const byteLength = count * (dtype === undefined ? 1 : bytesOfDtype[dtype]);
  return { _tag: 'storage', key, byteLength, ...(dtype === undefined ? {} : { dtype }) };
};

export interface TorchObjects {
  readonly building: Building;
  /** All that the pickle has named, by key. */
  readonly storages: ReadonlyMap<string, PickledStorage>;
}

/** What a pickle in `file` is built with. `E_PICKLE_GLOBAL` for a name that is not of tensors, `E_PICKLE_TENSOR` for wrong parts of one. */
export const torchObjects = (file: string, hint: string): TorchObjects => {
  const found = new Map<string, PickledStorage>();
  const wrong = wrongIn(file);
  const calls = callsWith(wrong);
  return {
    storages: found,
    building: {
      file,
      hint,
      global: (module, own) => {
        const name = `${module}.${own}`;
        const isKnown = [calls, storages, dtypes].some((names) => Object.hasOwn(names, name));
        if (!isKnown && name !== untypedStorage) {
          throw fatal('E_PICKLE_GLOBAL', `${file} asks for ${quoted(name)}, which reading tensors does not need`, {
            file,
            field: name.slice(0, 120),
            expected: 'tensors alone: nothing of a pickle is run here',
            hint,
          });
        }
        return { _tag: 'global', name };
      },
      reduce: (callable, args) => {
        const name = nameOf(callable);
        const call = Object.hasOwn(calls, name) ? calls[name] : undefined;
        if (call === undefined) throw wrong('what is called', callable, Object.keys(calls).join(', '));
        return call(args);
      },
      persistent: (id) => {
        const storage = storageOf(wrong, id);
        const earlier = found.get(storage.key);
        if (earlier === undefined) {
          found.set(storage.key, storage);
          return storage;
        }
        if (earlier.dtype !== storage.dtype || earlier.byteLength !== storage.byteLength)
          throw wrong('a storage under two types or sizes', storage.key, 'one of each');
        return earlier;
      },
    },
  };
};
