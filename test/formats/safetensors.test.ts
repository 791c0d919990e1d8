import { mkdirSync, readdirSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { render } from '../../src/errors.js';
import type { FatalError } from '../../src/errors.js';
import { readSafetensors, writeSafetensors } from '../../src/formats/tensors/safetensors.js';
import type { TensorToWrite } from '../../src/formats/tensors/safetensors.js';
import { readCheckpointTensors, writeCheckpointTensors } from '../../src/formats/tensors/shards.js';
import { sharedPath } from '../shared.js';
import { fileIn, temporaryDirectory } from './temporary.js';

const dir = temporaryDirectory();

const right = async <A>(task: TaskEither<FatalError, A>): Promise<A> => {
  const result = await task();
  if (E.isLeft(result)) throw new Error(render(result.left));
  return result.right;
};
const left = async (task: TaskEither<FatalError, unknown>): Promise<FatalError> => {
  const result = await task();
  if (E.isRight(result)) throw new Error('no error');
  return result.left;
};
const f32 = (...values: ReadonlyArray<number>): Float32Array => Float32Array.from(values);
const tensor = (name: string, values: Float32Array, shape: ReadonlyArray<number> = [values.length]): TensorToWrite => ({
  name,
  dtype: 'F32',
  shape,
  data: values,
});

/** A file whose header is what it is told, true or not. */
const lying = (name: string, header: unknown, dataBytes: number, length?: bigint): string => {
  const json = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  bytes.set(json, 8);
  return fileIn(dir, name, bytes);
};
const info = (dtype: unknown, shape: unknown, offsets: unknown) => ({ dtype, shape, data_offsets: offsets });

describe('safetensors', () => {
  it('gives back what was written, in every dtype', async () => {
    const path = join(dir, 'all.safetensors');
    const values = f32(0, 1, -2.5, 3);
    const bytes = (view: ArrayBufferView): Uint8Array => new Uint8Array(view.buffer);
    await right(
      writeSafetensors(path, [
        { name: 'bool', dtype: 'BOOL', shape: [4], data: Uint8Array.of(0, 1, 1, 0) },
        { name: 'f64', dtype: 'F64', shape: [4], data: values },
        { name: 'bf16', dtype: 'BF16', shape: [2, 2], data: () => values },
        { name: 'f16', dtype: 'F16', shape: [4], data: () => Promise.resolve(values) },
        { name: 'f32', dtype: 'F32', shape: [4, 1], data: values },
        { name: 'i64', dtype: 'I64', shape: [2], data: bytes(BigInt64Array.of(-5n, 7n)) },
        { name: 'u64', dtype: 'U64', shape: [1], data: bytes(BigUint64Array.of(7n)) },
        { name: 'i32', dtype: 'I32', shape: [1], data: bytes(Int32Array.of(-9)) },
        { name: 'u32', dtype: 'U32', shape: [1], data: bytes(Uint32Array.of(9)) },
        { name: 'i16', dtype: 'I16', shape: [1], data: bytes(Int16Array.of(-3)) },
        { name: 'u16', dtype: 'U16', shape: [1], data: bytes(Uint16Array.of(3)) },
        { name: 'i8', dtype: 'I8', shape: [2], data: bytes(Int8Array.of(-1, 1)) },
        { name: 'u8', dtype: 'U8', shape: [2], data: Uint8Array.of(255, 1) },
        { name: 'f8', dtype: 'F8_E4M3', shape: [2], data: Uint8Array.of(1, 2) },
        { name: 'empty', dtype: 'F32', shape: [0, 3], data: f32() },
        { name: 'scalar', dtype: 'F32', shape: [], data: f32(4) },
      ]),
    );
    const { tensors, metadata } = await right(readSafetensors(path));
    expect(metadata).toEqual({ format: 'pt' });
    const expected: Record<string, ReadonlyArray<number>> = {
      bool: [0, 1, 1, 0],
      f64: [0, 1, -2.5, 3],
      bf16: [0, 1, -2.5, 3],
      f16: [0, 1, -2.5, 3],
      f32: [0, 1, -2.5, 3],
      i64: [-5, 7],
      u64: [7],
      i32: [-9],
      u32: [9],
      i16: [-3],
      u16: [3],
      i8: [-1, 1],
      u8: [255, 1],
      empty: [],
      scalar: [4],
    };
    for (const [name, numbers] of Object.entries(expected)) {
      const stored = tensors.get(name);
      if (stored === undefined) throw new Error(`${name} is missing`);
      expect([name, Array.from(await right(stored.read()))]).toEqual([name, numbers]);
    }
    expect(tensors.get('bf16')).toMatchObject({ dtype: 'BF16', shape: [2, 2], byteLength: 8 });
    const f8 = tensors.get('f8');
    if (f8 === undefined) throw new Error('f8 is missing');
    expect(await right(f8.readBytes())).toEqual(Uint8Array.of(1, 2));
    expect((await left(f8.read())).code).toBe('E_TENSOR_DTYPE');
  });

  it('aligns its data and leaves nothing but the file behind', async () => {
    const home = join(dir, 'aligned');
    mkdirSync(home);
    for (const name of ['x', 'xy', 'longer']) {
      const path = join(home, `${name}.safetensors`);
      await right(writeSafetensors(path, [tensor(name, f32(1, 2))]));
      expect(readFileSync(path).readUInt8(0) % 8).toBe(0);
    }
    expect(readdirSync(home).toSorted()).toEqual(['longer.safetensors', 'x.safetensors', 'xy.safetensors']);
  });

  it('keeps names that objects treat specially', async () => {
    const path = join(dir, 'names.safetensors');
    await right(
      writeSafetensors(
        path,
        ['10', '9', '__proto__', 'constructor', 'ü"\\'].map((name) => tensor(name, f32(1))),
      ),
    );
    const { tensors } = await right(readSafetensors(path));
    expect([...tensors.keys()].toSorted()).toEqual(['10', '9', '__proto__', 'constructor', 'ü"\\'].toSorted());
  });

  it('leaves the old file when writing fails', async () => {
    const path = join(dir, 'kept.safetensors');
    await right(writeSafetensors(path, [tensor('a', f32(1))]));
    const before = readFileSync(path);
    const failing: TensorToWrite = {
      name: 'b',
      dtype: 'F32',
      shape: [1],
      data: () => {
        throw new Error('no data');
      },
    };
    expect((await left(writeSafetensors(path, [tensor('a', f32(2)), failing]))).message).toContain('no data');
    expect(readFileSync(path)).toEqual(before);
    expect(readdirSync(dir).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    expect((await left(writeSafetensors(path, [tensor('a', f32(1, 2), [3])]))).code).toBe('E_TENSOR_SIZE');
    expect((await left(writeSafetensors(path, [tensor('a', f32(1)), tensor('a', f32(1))]))).code).toBe('E_TENSOR_NAME');
    expect((await left(writeSafetensors(path, [tensor('a', f32(1), [1.5])]))).code).toBe('E_TENSOR_SHAPE');
    expect((await left(writeSafetensors(path, [{ ...tensor('a', f32(1)), dtype: 'I32' }]))).code).toBe(
      'E_TENSOR_DTYPE',
    );
    expect((await left(writeSafetensors(join(dir, 'none', 'x.safetensors'), []))).code).toBe('E_NO_FILE');
    expect(readFileSync(path)).toEqual(before);
  });

  it.each<[string, () => string]>([
    ['E_SAFETENSORS_TRUNCATED', () => fileIn(dir, 'e0', '')],
    ['E_SAFETENSORS_TRUNCATED', () => fileIn(dir, 'e1', '1234567')],
    ['E_SAFETENSORS_TRUNCATED', () => lying('e2', {}, 0, 3n)],
    ['E_SAFETENSORS_HEADER_TOO_LONG', () => lying('e3', {}, 0, 100_000_001n)],
    ['E_SAFETENSORS_HEADER_TOO_LONG', () => lying('e4', {}, 0, 2n ** 64n - 1n)],
    ['E_SAFETENSORS_HEADER', () => lying('e5', '{"a":', 0)],
    ['E_SAFETENSORS_HEADER', () => lying('e6', '[]', 0)],
    ['E_SAFETENSORS_HEADER', () => lying('e7', { a: 3 }, 0)],
    ['E_SAFETENSORS_HEADER', () => lying('e8', { __metadata__: { a: 1 } }, 0)],
    ['E_SAFETENSORS_HEADER', () => fileIn(dir, 'e9', Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff))],
    ['E_SAFETENSORS_DTYPE', () => lying('e10', { a: info('F31', [1], [0, 4]) }, 4)],
    ['E_SAFETENSORS_DTYPE', () => lying('e10b', { a: info('toString', [1], [0, 4]) }, 4)],
    ['E_SAFETENSORS_SHAPE', () => lying('e11', { a: info('F32', [-1], [0, 4]) }, 4)],
    ['E_SAFETENSORS_SHAPE', () => lying('e12', { a: info('F32', [0.5], [0, 4]) }, 4)],
    ['E_SAFETENSORS_SHAPE', () => lying('e13', { a: info('F32', 1, [0, 4]) }, 4)],
    ['E_SAFETENSORS_SHAPE', () => lying('e14', { a: info('F32', [2 ** 40, 2 ** 40], [0, 4]) }, 4)],
    ['E_SAFETENSORS_OFFSETS', () => lying('e15', { a: info('F32', [1], [-4, 0]) }, 4)],
    ['E_SAFETENSORS_OFFSETS', () => lying('e16', { a: info('F32', [1], [0, 4.5]) }, 4)],
    ['E_SAFETENSORS_OFFSETS', () => lying('e17', { a: info('F32', [1], [4, 0]) }, 4)],
    ['E_SAFETENSORS_OFFSETS', () => lying('e18', { a: info('F32', [1], [0, 4, 8]) }, 4)],
    ['E_SAFETENSORS_OFFSETS', () => lying('e19', { a: info('F32', [1], '0-4') }, 4)],
    ['E_SAFETENSORS_BEYOND_FILE', () => lying('e20', { a: info('F32', [2], [0, 8]) }, 4)],
    ['E_SAFETENSORS_BEYOND_FILE', () => lying('e21', { a: info('F32', [2 ** 50], [0, 2 ** 52]) }, 4)],
    ['E_SAFETENSORS_SIZE', () => lying('e22', { a: info('F32', [2], [0, 4]) }, 4)],
    ['E_SAFETENSORS_SIZE', () => lying('e23', { a: info('F16', [1], [0, 4]) }, 4)],
    ['E_SAFETENSORS_OVERLAP', () => lying('e24', { a: info('F32', [2], [0, 8]), b: info('F32', [2], [4, 12]) }, 12)],
    ['E_SAFETENSORS_OVERLAP', () => lying('e25', { a: info('F32', [1], [0, 4]), b: info('F32', [1], [0, 4]) }, 4)],
    ['E_SAFETENSORS_HOLE', () => lying('e26', { a: info('F32', [1], [4, 8]) }, 8)],
    ['E_SAFETENSORS_HOLE', () => lying('e27', { a: info('F32', [1], [0, 4]), b: info('F32', [1], [8, 12]) }, 12)],
    ['E_SAFETENSORS_TRAILING', () => lying('e28', { a: info('F32', [1], [0, 4]) }, 5)],
    [
      'E_SAFETENSORS_DUPLICATE',
      () =>
        lying(
          'e29',
          '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
          4,
        ),
    ],
    ['E_NO_FILE', () => join(dir, 'missing.safetensors')],
    ['E_IS_DIRECTORY', () => dir],
  ])('refuses with %s', async (code, make) => {
    const path = make();
    const error = await left(readSafetensors(path));
    expect(error.code).toBe(code);
    expect(render(error)).toContain(path);
  });

  it('notices a file that becomes shorter after its header was read', async () => {
    const path = join(dir, 'shrinks.safetensors');
    await right(writeSafetensors(path, [tensor('a', new Float32Array(100))]));
    const { tensors } = await right(readSafetensors(path));
    truncateSync(path, 200);
    const stored = tensors.get('a');
    if (stored === undefined) throw new Error('no tensor');
    expect((await left(stored.read())).code).toBe('E_SAFETENSORS_TRUNCATED');
  });
});

describe('the weights of a directory', () => {
  const some = [tensor('a', f32(1, 2, 3)), tensor('b', f32(4)), tensor('c', f32(5, 6, 7, 8, 9)), tensor('d', f32())];

  it('lie in one file, or in shards of bounded size', async () => {
    const home = join(dir, 'sharded');
    mkdirSync(home);
    expect(await right(writeCheckpointTensors(home, some, { maxShardBytes: 20 }))).toEqual([
      'model-00001-of-00002.safetensors',
      'model-00002-of-00002.safetensors',
      'model.safetensors.index.json',
    ]);
    expect(JSON.parse(readFileSync(join(home, 'model.safetensors.index.json'), 'utf8'))).toEqual({
      metadata: { total_size: 36 },
      weight_map: {
        a: 'model-00001-of-00002.safetensors',
        b: 'model-00001-of-00002.safetensors',
        c: 'model-00002-of-00002.safetensors',
        d: 'model-00002-of-00002.safetensors',
      },
    });
    const read = await right(readCheckpointTensors(home));
    expect([...read.tensors.keys()].toSorted()).toEqual(['a', 'b', 'c', 'd']);
    const c = read.tensors.get('c');
    expect(c === undefined ? undefined : await right(c.read())).toEqual(f32(5, 6, 7, 8, 9));

    expect(await right(writeCheckpointTensors(home, some))).toEqual(['model.safetensors']);
    expect(readdirSync(home)).toEqual(['model.safetensors']);
    expect((await right(readCheckpointTensors(home))).tensors.size).toBe(4);
    expect((await right(readCheckpointTensors(join(home, 'model.safetensors')))).tensors.size).toBe(4);
  });

  it('are refused when shards are missing, doubled, elsewhere, or not as the index says', async () => {
    const home = join(dir, 'broken');
    mkdirSync(home);
    const index = (map: unknown): string =>
      fileIn(home, 'model.safetensors.index.json', JSON.stringify({ weight_map: map }));
    await right(writeSafetensors(join(home, 's1.safetensors'), [tensor('a', f32(1)), tensor('x', f32(1))]));
    await right(writeSafetensors(join(home, 's2.safetensors'), [tensor('b', f32(1)), tensor('x', f32(1))]));
    await right(writeSafetensors(join(dir, 'outside.safetensors'), [tensor('b', f32(1))]));
    index({ a: 's1.safetensors', b: 's3.safetensors' });
    const missing = await left(readCheckpointTensors(home));
    expect(missing.code).toBe('E_MISSING_SHARD');
    expect(render(missing)).toContain('s3.safetensors');
    for (const name of [
      '../outside.safetensors',
      '/etc/passwd',
      '',
      '.',
      'a/../../outside.safetensors',
      '..\\outside',
    ]) {
      index({ a: name });
      expect([name, (await left(readCheckpointTensors(home))).code]).toEqual([name, 'E_SHARD_PATH']);
    }
    index({ a: 's1.safetensors', b: 's2.safetensors' });
    expect((await left(readCheckpointTensors(home))).code).toBe('E_DUPLICATE_TENSOR');
    index({ a: 's1.safetensors', z: 's1.safetensors' });
    expect((await left(readCheckpointTensors(home))).code).toBe('E_MISSING_TENSOR');
    index({ a: 3 });
    expect(await left(readCheckpointTensors(home))).toMatchObject({
      code: 'E_SHARD_INDEX',
      details: { field: 'weight_map.a' },
    });
    index({ a: 's1.safetensors' });
    expect([...(await right(readCheckpointTensors(home))).tensors.keys()]).toEqual(['a']);
  });

  it('are refused when they are pickled or absent', async () => {
    const home = join(dir, 'pickled');
    mkdirSync(home);
    expect((await left(readCheckpointTensors(home))).code).toBe('E_NO_WEIGHTS');
    fileIn(home, 'pytorch_model.ckpt', 'pickle');
    const error = await left(readCheckpointTensors(home));
    expect(error.code).toBe('E_PICKLE_ONLY');
    expect(render(error)).toContain('save_pretrained');
    expect((await left(readCheckpointTensors(join(dir, 'nowhere')))).code).toBe('E_NO_FILE');
  });
});

const real = [
  ['weights', 'stories260K', 'hf', 'model.safetensors'],
  ['weights', 'gpt-nano-sort', 'hf', 'model.safetensors'],
  ['weights', 'gpt2-lora-adapter', 'adapter_model.safetensors'],
  ['reference', 'neftune-unit-noise.safetensors'],
  ['reference', 'stories260K_lora-final', 'adapter_model.safetensors'],
].map((segments) => [segments.join('/'), sharedPath('data', ...segments)] as const);
describe('files of the reference implementation', () => {
  for (const [name, path] of real) {
    (path === undefined ? it.skip : it)(
      `${name} comes out byte for byte as it went in${path === undefined ? ' (skipped: no folder of shared data)' : ''}`,
      async () => {
        const { tensors, metadata } = await right(readSafetensors(path ?? ''));
        const copy = join(dir, 'copy.safetensors');
        await right(
          writeSafetensors(
            copy,
            [...tensors.values()].map(({ name: own, dtype, shape, read }) => ({
              name: own,
              dtype,
              shape,
              data: () => right(read()),
            })),
            { metadata },
          ),
        );
        expect(readFileSync(copy).equals(readFileSync(path ?? ''))).toBe(true);
      },
    );
  }
});
