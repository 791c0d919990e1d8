/** Files of torch.save, read without running them. Fixtures: reference/torch_files.py. */
import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { render } from '../../src/errors.js';
import type { FatalError } from '../../src/errors.js';
import { readAdapter } from '../../src/formats/checkpoints/adapterFiles.js';
import { readTorchFile } from '../../src/formats/pickle/torchFile.js';
import { writeSafetensors } from '../../src/formats/tensors/safetensors.js';
import type { StoredTensor } from '../../src/formats/tensors/safetensors.js';
import { readCheckpointTensors } from '../../src/formats/tensors/shards.js';
import { fileIn, temporaryDirectory } from './temporary.js';
import { dict, global, joined, long, pickle, storage, str, tensor, tuple, zip } from './torchWriter.js';

const golden = resolve(import.meta.dirname, '..', 'golden');
const fixture = (name: string): string => join(golden, 'torch', name);
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

interface Told {
  readonly dtype: string;
  readonly shape: ReadonlyArray<number>;
  readonly bytes: string;
}
const { files } = JSON.parse(readFileSync(fixture('contents.json'), 'utf8')) as {
  readonly files: Readonly<Record<string, Readonly<Record<string, Told>>>>;
};

const contentOf = async (tensors: ReadonlyMap<string, StoredTensor>): Promise<Readonly<Record<string, Told>>> =>
  Object.fromEntries(
    await Promise.all(
      Array.from(tensors.values(), async ({ name, dtype, shape, byteLength, readBytes }) => {
        const bytes = await right(readBytes());
        expect(bytes.length).toBe(byteLength);
        return [name, { dtype, shape, bytes: Buffer.from(bytes).toString('hex') }] as const;
      }),
    ),
  );

describe('a file of torch.save', () => {
  it.each(Object.keys(files))('%s holds what torch reads of it', async (name) => {
    const { tensors } = await right(readTorchFile(fixture(name)));
    expect([...tensors.keys()]).toEqual(Object.keys(files[name] ?? {}));
    expect(await contentOf(tensors)).toEqual(files[name]);
  });

  it('gives numbers, transposed ones and those of other machines too', async () => {
    const little = await right(readTorchFile(fixture('views.bin')));
    const big = await right(readTorchFile(fixture('big_endian.bin')));
    const transposed = await right(little.tensors.get('transposed')?.read() ?? (() => Promise.reject(new Error())));
    expect(Array.from(transposed.subarray(0, 3), (x) => Math.round(x * 7))).toEqual([20, 25, 30]);
    for (const [name, stored] of big.tensors) {
      expect([name, await right(stored.read())]).toEqual([
        name,
        await right(little.tensors.get(name)?.read() ?? stored.read()),
      ]);
    }
    const young = await right(readTorchFile(fixture('young.bin')));
    expect((await left(young.tensors.get('f8')?.read() ?? (() => Promise.reject(new Error())))).code).toBe(
      'E_TENSOR_DTYPE',
    );
  });

  it.each(['views.bin', 'big_endian.bin'])('gives parts of the tensors of %s, and parts of those', async (name) => {
    const { tensors } = await right(readTorchFile(fixture(name)));
    for (const stored of tensors.values()) {
      const whole = await right(stored.readBytes());
      const count = stored.shape.reduce((size, n) => size * n, 1);
      const width = whole.length / count;
      if (count < 3) continue;
      const part = stored.part({ name: 'part', shape: [count - 1], from: 1 });
      expect(part).toMatchObject({ name: 'part', dtype: stored.dtype, shape: [count - 1] });
      expect(part.byteLength).toBe(whole.length - width);
      expect(await right(part.readBytes())).toEqual(whole.subarray(width));
      const middle = part.part({ name: 'middle', shape: [1, count - 2], from: 0 });
      expect(await right(middle.readBytes())).toEqual(whole.subarray(width, whole.length - width));
    }
  });

  it('is refused for what is more than tensors, by name, with the way out', async () => {
    const refusals = {
      runs_code: ['E_PICKLE_GLOBAL', 'posix.system'],
      runs_code_legacy: ['E_PICKLE_GLOBAL', 'posix.system'],
      module: ['E_PICKLE_GLOBAL', 'torch.nn.modules.linear.Linear'],
      numpy: ['E_PICKLE_GLOBAL', 'numpy._core.multiarray.scalar'],
      sparse: ['E_PICKLE_GLOBAL', 'torch._utils._rebuild_sparse_tensor'],
      training: ['E_PICKLE_CONTENT', 'model'],
      one_tensor: ['E_PICKLE_CONTENT', undefined],
      numbered: ['E_PICKLE_CONTENT', undefined],
    };
    for (const [name, [code, field]] of Object.entries(refusals)) {
      const file = fixture(`refused_${name}.bin`);
      const error = await left(readTorchFile(file));
      expect([name, error.code, error.details.field]).toEqual([name, code, field]);
      expect(error.details.file).toBe(file);
      expect(error.details.hint).toContain('safetensors');
    }
  });
});

const zeros = (count: number): Uint8Array => new Uint8Array(4 * count);
const archive = (value: Uint8Array, ...[options, more]: [Parameters<typeof zip>[1]?, Record<string, Uint8Array>?]) =>
  zip({ 'a/data.pkl': value, 'a/data/0': zeros(8), ...more }, options);
const one = (parts: Omit<Parameters<typeof tensor>[0], 'storage'>, of = storage('0', 8)): Uint8Array =>
  pickle(dict([[str('w'), tensor({ ...parts, storage: of })]]));
const codeOf = async (bytes: Uint8Array): Promise<string> => {
  const result = await readTorchFile(fileIn(dir, 'made.bin', bytes))();
  if (E.isLeft(result)) return result.left.code;
  await contentOf(result.right.tensors);
  return 'read';
};

describe('a file that was put together by a stranger', () => {
  const whole = { shape: [2, 4], strides: [4, 1] };

  it('is read when it is in order, with 64-bit fields and a comment at its end too', async () => {
    expect(await codeOf(archive(one(whole)))).toBe('read');
    expect(await codeOf(archive(one(whole), { wide: true }))).toBe('read');
    const end = archive(one(whole));
    expect(await codeOf(joined(end.subarray(0, -2), [5, 0], 'hello'))).toBe('read');
  });

  it('makes no tensor that is larger than the file or lies outside its storage', async () => {
    expect(await codeOf(archive(one({ shape: [1_000_000, 1_000_000], strides: [0, 0] })))).toBe('E_PICKLE_TENSOR');
    expect(await codeOf(archive(one({ shape: [3, 4], strides: [4, 1] })))).toBe('E_PICKLE_TENSOR');
    expect(await codeOf(archive(one({ ...whole, offset: 1 })))).toBe('E_PICKLE_TENSOR');
    expect(await codeOf(archive(one({ shape: [2 ** 52], strides: [2 ** 52] })))).toBe('E_PICKLE_TENSOR');
    expect(await codeOf(archive(one({ shape: [2 ** 63], strides: [1] })))).toBe('E_PICKLE_TENSOR');
    expect(await codeOf(archive(one({ shape: [2, 4], strides: [4] })))).toBe('E_PICKLE_TENSOR');
    expect(await codeOf(archive(one(whole, storage('0', 1_000_000))))).toBe('E_PICKLE_TENSOR');
    expect(await codeOf(archive(one(whole, storage('1', 8))))).toBe('E_PICKLE_TENSOR');
    expect(await codeOf(archive(one(whole, storage('0', 8, 'QInt8Storage'))))).toBe('E_PICKLE_GLOBAL');
    const twice = pickle(
      dict([
        [str('a'), tensor({ ...whole, storage: storage('0', 8) })],
        [str('b'), tensor({ ...whole, storage: storage('0', 8, 'IntStorage') })],
      ]),
    );
    expect(await codeOf(archive(twice))).toBe('E_PICKLE_TENSOR');
    expect(await codeOf(archive(one({ shape: Array<number>(65).fill(1), strides: Array<number>(65).fill(1) })))).toBe(
      'E_PICKLE_TENSOR',
    );
  });

  it('builds nothing but what is known', async () => {
    const refusing = (value: Uint8Array): Promise<string> => codeOf(archive(pickle(value)));
    expect(await refusing(joined(global('builtins', 'eval'), tuple(str('1')), 'R'))).toBe('E_PICKLE_GLOBAL');
    expect(await refusing(joined('\x8c\x02os', '\x8c\x06system', '\x93'))).toBe('E_PICKLE_GLOBAL');
    expect(await refusing(global('torch', '__proto__'))).toBe('E_PICKLE_GLOBAL');
    expect(await refusing(joined(global('torch', 'FloatStorage'), ')R'))).toBe('E_PICKLE_TENSOR');
    // INST, OBJ, EXT1, NEWOBJ and a persistent id as a line.
    for (const opcode of ['(ios\nsystem\n', '(o', '\x82\x01', ')\x81', 'P0\n', '2', '\x92'])
      expect([opcode, await refusing(joined(']', opcode))]).toEqual([opcode, 'E_PICKLE_OPCODE']);
    expect(await codeOf(archive(joined('\x80\x05', one(whole).subarray(2))))).toBe('E_PICKLE_OPCODE');
    // Attributes are for dicts alone.
    expect(await refusing(joined(']', '}', 'b'))).toBe('E_PICKLE_DAMAGED');
    expect(await refusing(joined('\xff'))).toBe('E_PICKLE_DAMAGED');
    expect(await refusing(joined('t'))).toBe('E_PICKLE_DAMAGED');
    expect(await refusing(joined('X', [255, 255, 255, 127]))).toBe('E_PICKLE_TRUNCATED');
    expect(await refusing(joined('X', [1, 0, 0, 0], '\xff'))).toBe('E_PICKLE_DAMAGED');
    expect(await refusing(joined('(', ')'.repeat(2_000_001), 't'))).toBe('E_PICKLE_TOO_LARGE');
    const names = ['__proto__', 'constructor', 'a"b'];
    const odd = pickle(dict(names.map((name) => [str(name), tensor({ ...whole, storage: storage('0', 8) })])));
    const { tensors } = await right(readTorchFile(fileIn(dir, 'odd.bin', archive(odd))));
    expect([...tensors.keys()]).toEqual(names);
  });

  it('is an archive whose records lie in it as they are', async () => {
    const good = archive(one(whole));
    expect(await codeOf(archive(one(whole), { method: 8 }))).toBe('E_PICKLE_ARCHIVE');
    expect(await codeOf(good.subarray(0, -1))).toBe('E_PICKLE_ARCHIVE');
    expect(await codeOf(good.subarray(0, 40))).toBe('E_PICKLE_ARCHIVE');
    expect(await codeOf(zip({ 'a/b': zeros(1) }))).toBe('E_PICKLE_ARCHIVE');
    expect(await codeOf(zip({}))).toBe('E_PICKLE_ARCHIVE');
    expect(await codeOf(archive(one(whole), {}, { 'a/byteorder': joined('middle') }))).toBe('E_PICKLE_ARCHIVE');
    expect(await codeOf(zip({ 'a/data.pkl': one(whole), 'a/data/0': zeros(7) }))).toBe('E_PICKLE_TENSOR');
  });

  it('of the older kind is read to its end, and no further', async () => {
    const legacy = readFileSync(fixture('views_legacy.bin'));
    expect(await codeOf(legacy)).toBe('read');
    expect(await codeOf(legacy.subarray(0, -1))).toBe('E_PICKLE_TRUNCATED');
    expect(await codeOf(legacy.subarray(0, 100))).toBe('E_PICKLE_TRUNCATED');
    expect(await codeOf(pickle(long(1)))).toBe('E_PICKLE_FORMAT');
    expect(await codeOf(joined('pickle'))).toBe('E_PICKLE_FORMAT');
    expect(await codeOf(joined())).toBe('E_PICKLE_FORMAT');
    const pointer = fileIn(dir, 'lfs.bin', 'version https://git-lfs.github.com/spec/v1\n');
    expect((await left(readTorchFile(pointer))).details.hint).toContain('git lfs pull');
    expect((await left(readTorchFile(join(dir, 'nowhere.bin')))).code).toBe('E_NO_FILE');
  });
});

describe('a directory', () => {
  const model = (name: string): string => {
    const to = join(dir, name);
    cpSync(join(golden, 'models', name), to, { recursive: true });
    return to;
  };

  it('is read from pytorch_model.bin, alone or in shards, and safetensors go first', async () => {
    const gpt2 = model('gpt2');
    const stored = await contentOf((await right(readCheckpointTensors(gpt2))).tensors);
    copyFileSync(fixture('gpt2.bin'), join(gpt2, 'pytorch_model.bin'));
    expect((await right(readCheckpointTensors(gpt2))).files.map((path) => basename(path))).toEqual([
      'model.safetensors',
    ]);
    rmSync(join(gpt2, 'model.safetensors'));
    const pickled = await right(readCheckpointTensors(gpt2));
    expect(pickled.files.map((path) => basename(path))).toEqual(['pytorch_model.bin']);
    expect(await contentOf(pickled.tensors)).toMatchObject(stored);

    const llama = model('llama');
    const whole = await contentOf((await right(readCheckpointTensors(llama))).tensors);
    rmSync(join(llama, 'model.safetensors'));
    copyFileSync(fixture('llama.index.json'), join(llama, 'pytorch_model.bin.index.json'));
    expect((await left(readCheckpointTensors(llama))).code).toBe('E_MISSING_SHARD');
    for (const i of [1, 2])
      copyFileSync(fixture(`pytorch_model-0000${i}-of-00002.bin`), join(llama, `pytorch_model-0000${i}-of-00002.bin`));
    expect(await contentOf((await right(readCheckpointTensors(llama))).tensors)).toEqual(whole);
  });

  it('of an adapter is read from adapter_model.bin, and safetensors go first', async () => {
    const home = join(dir, 'adapter');
    mkdirSync(home);
    const from = join(golden, 'adapters', 'llama-dora');
    copyFileSync(join(from, 'adapter_config.json'), join(home, 'adapter_config.json'));
    copyFileSync(fixture('adapter.bin'), join(home, 'adapter_model.bin'));
    const tensorsIn = async (path: string) => {
      const { tensors } = await right(readAdapter(path));
      return [await contentOf(tensors), [...tensors.keys()].sort()] as const;
    };
    expect(await tensorsIn(home)).toEqual(await tensorsIn(from));
    await right(writeSafetensors(join(home, 'adapter_model.safetensors'), []));
    expect((await right(readAdapter(home))).tensors.size).toBe(0);
  });
});
