/**
 * Tensors that `torch.save` has written (`pytorch_model.bin`, `adapter_model.bin`): the archive of PyTorch 1.6 and later, and the
 * single stream before it. The pickle that says where they lie is read as data; nothing in it is run.
 */
import type { FileHandle } from 'node:fs/promises';
import * as E from 'fp-ts/lib/Either.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal } from '../../errors.js';
import type { ErrorCode, FatalError } from '../../errors.js';
import { strictUtf8 } from '../files/utf8.js';
import { bytesOfDtype } from '../tensors/safetensorsHeader.js';
import { allocated, readFully, storedTensor, withFile } from '../tensors/storedTensor.js';
import type { StoredTensor, StoredTensors } from '../tensors/storedTensor.js';
import { discard, transientBytes } from '../tensors/transient.js';
import { elementsOf, gather, isContiguous, spanOf, swapBytes } from './strided.js';
import { torchObjects } from './torchObjects.js';
import { unpickle } from './unpickle.js';
import { kindOf, quoted } from './values.js';
import type { PickledStorage, PickledTensor, PickleValue } from './values.js';
import { zipRecords } from './zipRecords.js';

/** A pickle of more bytes is no list of tensors: it would fill the memory. */
const mostPickle = 32 * 1024 * 1024;
/** What a file in the form before PyTorch 1.6 begins with. */
const legacyMagic = 0x1950a86a20f9469cfc6cn;
const legacyVersion = 1001;
const truncated = 'E_PICKLE_TRUNCATED';

/** The way out, for whoever meets a file that is not read here. */
const wayOut = (file: string): string =>
  'convert it once, with Python, which refuses to run anything as well: import torch; from safetensors.torch import save_file; ' +
  `save_file({k: v.contiguous().clone() for k, v in torch.load("${file}", weights_only=True).items()}, ` +
  `"${file.replace(/^.*[/\\]|\.\w+$/g, '').replace(/^pytorch_model/, 'model')}.safetensors", {"format": "pt"})`;

/** Bytes of the file that hold a storage. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/** What the file's frame says: the pickled value, and where the storages lie. */
interface Content {
  readonly root: PickleValue;
  readonly isBigEndian: boolean;
  readonly ranges: ReadonlyMap<string, Range>;
}

const orThrow = <A>(result: E.Either<FatalError, A>): A => {
  if (E.isLeft(result)) throw result.left;
  return result.right;
};

const bytesAt = (handle: FileHandle, file: string, start: number, length: number): Promise<Uint8Array> =>
  readFully(handle, file, { start, length, truncated });

const tooLarge = (file: string, length: number): FatalError =>
  fatal('E_PICKLE_TOO_LARGE', `${file}: its pickle is ${length} bytes long`, {
    file,
    expected: `at most ${mostPickle} bytes`,
    hint: wayOut(file),
  });

/** `<name>/data.pkl`, `<name>/byteorder`, and `<name>/data/<key>` for each storage. */
const readArchive = async (handle: FileHandle, file: string, size: number): Promise<Content> => {
  const records = await zipRecords(handle, file, size);
  const names = [...records.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  const [name] = names;
  const pickle = name === undefined ? undefined : records.get(name);
  if (name === undefined || pickle === undefined || names.length > 1) {
    throw fatal('E_PICKLE_ARCHIVE', `${file} is a zip archive, but not one that torch.save has written`, {
      file,
      expected: 'one record called …/data.pkl',
      actual: records.size === 0 ? 'an empty archive' : [...records.keys()].slice(0, 8).map(quoted).join(', '),
    });
  }
  const folder = name.slice(0, name.lastIndexOf('/'));
  const length = pickle.end - pickle.start;
  if (length > mostPickle) throw tooLarge(file, length);
  const { building, storages } = torchObjects(file, wayOut(file));
  const { value } = orThrow(unpickle(await bytesAt(handle, file, pickle.start, length), 0, building));
  const order = records.get(`${folder}/byteorder`);
  const told =
    order === undefined
      ? 'little'
      : (strictUtf8(await bytesAt(handle, file, order.start, Math.min(16, order.end - order.start))) ?? '');
  if (told !== 'little' && told !== 'big') {
    throw fatal('E_PICKLE_ARCHIVE', `${file}: its bytes are in no known order`, {
      file,
      expected: 'little or big',
      actual: quoted(told),
    });
  }
  const ranges = new Map<string, Range>();
  for (const key of storages.keys()) {
    const record = records.get(`${folder}/data/${key}`);
    if (record !== undefined) ranges.set(key, record);
  }
  return { root: value, isBigEndian: told === 'big', ranges };
};

interface Streamed {
  readonly values: ReadonlyArray<PickleValue>;
  readonly storages: ReadonlyMap<string, PickledStorage>;
  readonly end: number;
}

/** Several pickles one after another, from the first byte of the file. */
const pickles = (file: string, bytes: Uint8Array, count: number): E.Either<FatalError, Streamed> => {
  const { building, storages } = torchObjects(file, wayOut(file));
  const values: Array<PickleValue> = [];
  let end = 0;
  for (let i = 0; i < count; i++) {
    const read = unpickle(bytes, end, building);
    if (E.isLeft(read)) return read;
    values.push(read.right.value);
    end = read.right.end;
  }
  return E.right({ values, storages, end });
};

/** How long they are is not told before they are read: more of the file is taken until they end in it. */
const readPickles = async (handle: FileHandle, file: string, size: number, count: number): Promise<Streamed> => {
  const most = Math.min(size, mostPickle);
  for (let length = Math.min(most, 1 << 18); ; length = Math.min(most, length * 4)) {
    const read = pickles(file, await bytesAt(handle, file, 0, length), count);
    if (E.isRight(read)) return read.right;
    if (read.left.code !== truncated || length === size) throw read.left;
    if (length === most) throw tooLarge(file, size);
  }
};

/** Magic number, version, the machine's types, the value, the keys of its storages; then these, each after its length. */
const readLegacy = async (handle: FileHandle, file: string, size: number): Promise<Content> => {
  const foreign = (expected: string, actual: string): FatalError =>
    fatal('E_PICKLE_FORMAT', `${file} is not a file that torch.save has written`, {
      file,
      expected,
      actual,
      hint: wayOut(file),
    });
  const [magic = null] = (await readPickles(handle, file, size, 1)).values;
  if (magic !== legacyMagic) throw foreign('the magic number of torch.save', kindOf(magic));
  const { values, storages, end } = await readPickles(handle, file, size, 5);
  const [, version, , root = null, keys = null] = values;
  if (version !== legacyVersion) throw foreign(`version ${legacyVersion}`, 'another one');
  if (typeof keys !== 'object' || keys?._tag !== 'list') throw foreign('a list of storages', kindOf(keys));
  const ranges = new Map<string, Range>();
  let at = end;
  for (const key of keys.items) {
    const storage = typeof key === 'string' ? storages.get(key) : undefined;
    if (storage === undefined) throw foreign('storages that tensors have', kindOf(key));
    const width = storage.dtype === undefined ? 1 : bytesOfDtype[storage.dtype];
    const cut = at + 8 > size ? undefined : await bytesAt(handle, file, at, 8);
    const count = cut === undefined ? 0n : new DataView(cut.buffer, cut.byteOffset).getBigUint64(0, true);
    const stop = at + 8 + storage.byteLength;
    if (cut !== undefined && count * BigInt(width) !== BigInt(storage.byteLength)) {
      throw foreign(`storage ${quoted(storage.key)} of ${storage.byteLength} bytes`, `${count} elements`);
    }
    if (cut === undefined || stop > size) {
      throw fatal(truncated, `${file} ends in the middle of its tensors`, {
        file,
        expected: `at least ${stop} bytes`,
        actual: `${size} bytes`,
        hint: 'copy or download the file again: it is incomplete',
      });
    }
    ranges.set(storage.key, { start: at + 8, end: stop });
    at = stop;
  }
  // torch.save writes little-endian storages here on every machine.
  return { root, isBigEndian: false, ranges };
};

const wrongTensor = (file: string, name: string, what: string, expected: string, actual: string): FatalError =>
  fatal('E_PICKLE_TENSOR', `${file}: tensor ${quoted(name)} ${what}`, {
    file,
    field: name.slice(0, 120),
    expected,
    actual,
    hint: 'copy or download the file again: it is damaged',
  });

const tensorIn = (
  file: string,
  size: number,
  name: string,
  tensor: PickledTensor,
  { ranges, isBigEndian }: Content,
): StoredTensor => {
  const { storage, dtype, offset, shape } = tensor;
  const width = bytesOfDtype[dtype];
  const count = elementsOf(tensor);
  const span = spanOf(tensor);
  const needed = (span === 0 ? 0 : offset + span) * width;
  const range = ranges.get(storage.key) ?? (storage.byteLength === 0 ? { start: 0, end: 0 } : undefined);
  if (range === undefined)
    throw wrongTensor(file, name, 'has no bytes in the file', `a record data/${storage.key}`, 'nothing of that name');
  if (storage.byteLength > range.end - range.start)
    throw wrongTensor(file, name, 'is cut off', `${storage.byteLength} bytes`, `${range.end - range.start} bytes`);
  if (needed > storage.byteLength)
    throw wrongTensor(file, name, 'reaches beyond its storage', `at most ${storage.byteLength} bytes`, `${needed}`);
  // A stride of 0 repeats elements: so a few bytes could be said to be many.
  if (count * width > size)
    throw wrongTensor(file, name, 'is larger than the file', `at most ${size} bytes`, `${count * width} bytes`);
  const start = range.start + offset * width;
  return storedTensor({ name, dtype, shape, byteLength: count * width, file }, async (handle, asked, allocate) => {
    if (asked.length === 0) return allocated(file, 0, allocate);
    if (isContiguous(tensor)) {
      const bytes = await readFully(
        handle,
        file,
        { start: start + asked.start, length: asked.length, truncated },
        allocate,
      );
      if (isBigEndian) swapBytes(bytes, dtype === 'C64' ? 4 : width);
      return bytes;
    }
    const bytes = await readFully(handle, file, { start, length: span * width, truncated }, transientBytes);
    if (isBigEndian) swapBytes(bytes, dtype === 'C64' ? 4 : width);
    const isAll = asked.length === count * width;
    const out = allocated(file, count * width, isAll ? allocate : transientBytes);
    gather(tensor, width, bytes, out);
    discard(bytes);
    if (isAll) return out;
    const part = allocated(file, asked.length, allocate);
    part.set(out.subarray(asked.start, asked.start + asked.length));
    discard(out);
    return part;
  });
};

/** Tensors by name, as a state dict has them; `E_PICKLE_CONTENT` for anything else. */
const tensorsIn = (file: string, size: number, content: Content): ReadonlyMap<string, StoredTensor> => {
  const { root } = content;
  const other = (what: string, actual: string, field?: string): FatalError =>
    fatal('E_PICKLE_CONTENT', `${file} holds ${what}`, {
      file,
      ...(field === undefined ? {} : { field }),
      expected: 'tensors by name, as torch.save(model.state_dict(), …) leaves them',
      actual,
      hint: "save the model's state_dict by itself, best with safetensors",
    });
  if (typeof root !== 'object' || root?._tag !== 'dict') throw other('no dict', kindOf(root));
  return new Map(
    Array.from(root.entries, ([name, value]) => {
      if (typeof name !== 'string') throw other('something that has no name', `${kindOf(name)} for a key`);
      if (typeof value !== 'object' || value?._tag !== 'tensor')
        throw other(`more than tensors: ${quoted(name)} is none`, kindOf(value), name.slice(0, 120));
      return [name, tensorIn(file, size, name, value, content)] as const;
    }),
  );
};

const startOf = (first: Uint8Array): string => Buffer.from(first).toString('latin1');

/**
 * What a file of PyTorch holds: a dict of tensors, each read when it is wanted, views and transposed ones too. Nothing of it is
 * run and none of it is read that is larger than the file. Left: `E_PICKLE_GLOBAL` and `E_PICKLE_OPCODE` for what tensors do not need, `E_PICKLE_CONTENT`
 * for what is no dict of them, `E_PICKLE_FORMAT`, `E_PICKLE_ARCHIVE`, `E_PICKLE_DAMAGED`, `E_PICKLE_TENSOR`,
 * `E_PICKLE_TRUNCATED`, `E_PICKLE_TOO_LARGE`.
 */
export const readTorchFile = (file: string): TaskEither<FatalError, StoredTensors> =>
  withFile(file, async (handle) => {
    const { size } = await handle.stat();
    const first = startOf(await bytesAt(handle, file, 0, Math.min(size, 4)));
    const code: ErrorCode = 'E_PICKLE_FORMAT';
    if (!first.startsWith('PK') && !first.startsWith('\x80')) {
      throw fatal(code, `${file} is not a file that torch.save has written`, {
        file,
        expected: 'a zip archive, or a pickle of protocol 2 to 4',
        actual: size === 0 ? 'an empty file' : `first bytes ${quoted(first)}`,
        hint: first.startsWith('vers')
          ? 'fetch the file itself: this is only a pointer to it (git lfs pull)'
          : wayOut(file),
      });
    }
    const content = await (first.startsWith('PK') ? readArchive : readLegacy)(handle, file, size);
    return { tensors: tensorsIn(file, size, content), metadata: {} };
  });
