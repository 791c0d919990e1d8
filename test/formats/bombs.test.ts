/** Files from strangers that hold little and ask for much, or that lead elsewhere. */
import { mkdirSync, renameSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import { isFatal, render } from '../../src/errors.js';
import { parseConfig } from '../../src/cli/configFile.js';
import { csv } from '../../src/formats/datasets/csv.js';
import { decodeExample } from '../../src/formats/examples/example.js';
import { jsonArray } from '../../src/formats/datasets/jsonArray.js';
import { readJson } from '../../src/formats/json/json.js';
import { jsonl } from '../../src/formats/datasets/jsonl.js';
import { readCheckpointTensors } from '../../src/formats/tensors/shards.js';
import { writeSafetensors } from '../../src/formats/tensors/safetensors.js';
import { loadTokenizer } from '../../src/formats/tokenizing/loadTokenizer.js';
import { textFile } from '../../src/formats/datasets/textFile.js';
import { decodeRow } from '../../src/operators/decode.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import { collected, fileIn, temporaryDirectory } from './temporary.js';

const dir = temporaryDirectory();

/** The code that reading ends with, or how many rows there were. */
const read = async (rows: AsyncIterable<unknown>): Promise<string | number> => {
  try {
    return (await collected(rows)).length;
  } catch (error) {
    if (isFatal(error)) return error.code;
    throw error;
  }
};

describe('packed files that unpack to far more than they are', () => {
  const limit = { maxLineBytes: 1 << 20 };
  // 64 MiB of one letter pack into 64 KiB.
  const bomb = (head: string, letter: string): Buffer => gzipSync(head + letter.repeat(1 << 26));

  test('as one line without an end', async () => {
    expect(await read(jsonl(fileIn(dir, 'a.jsonl.gz', bomb('{"a": "', 'a')), limit))).toBe('E_LINE_TOO_LONG');
    expect(await read(textFile(fileIn(dir, 'a.txt.gz', bomb('', 'a')), limit))).toBe('E_LINE_TOO_LONG');
    expect(await read(csv(fileIn(dir, 'a.csv.gz', bomb('a\n"', 'a')), limit))).toMatch(/^E_\w+_TOO_LONG$/);
  });

  test('as one row of a list, or one text of a whole file', async () => {
    const list = fileIn(dir, 'a.json.gz', bomb('[{"a": "', 'a'));
    expect(await read(jsonArray(list, { maxElementBytes: 1 << 20 }))).toBe('E_ELEMENT_TOO_LONG');
    const text = fileIn(dir, 'b.txt.gz', bomb('', 'a'));
    expect(await read(textFile(text, { ...limit, rowsAre: 'file' }))).toBe('E_LINE_TOO_LONG');
  });

  test('as blanks before anything comes', async () => {
    const blanks = fileIn(dir, 'blank.json.gz', gzipSync(Buffer.alloc(70 << 20, ' ')));
    expect(await read(jsonArray(blanks))).toBe('E_JSON_TOP_LEVEL');
    expect(await read(jsonArray(fileIn(dir, 'few.json', `${' '.repeat(200_000)}[1]`)))).toBe(1);
  });
});

describe('nesting without end', () => {
  const deep = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`;

  test('in rows is one refused row among others', async () => {
    const rows = await collected(jsonl(fileIn(dir, 'deep.jsonl', `{"text": "a"}\n{"text": ${deep(200_000)}}\n`)));
    expect(rows.map((row) => decodeRow(decodeExample)(row)._tag)).toEqual(['Right', 'Left']);
    const wide = `{"messages": ${deep(50_000)}, "text": {"a": ${deep(50_000)}}}`;
    const [row] = await collected(jsonl(fileIn(dir, 'wide.jsonl', wide)));
    expect(decodeRow(decodeExample)(row)).toMatchObject({
      _tag: 'Left',
      left: { code: expect.stringMatching(/^E_/) as unknown },
    });
  });

  test('in a list of rows ends the reading', async () => {
    expect(await read(jsonArray(fileIn(dir, 'deep.json', deep(200_000))))).toBe('E_INVALID_JSON');
  });

  test('in files of options is a wrong call, as are names for names for names', () => {
    const code = (text: string): string => {
      const parsed = parseConfig('run.yaml', text);
      return parsed._tag === 'Left' ? parsed.left.code : 'Right';
    };
    expect(code(`seed: ${deep(100_000)}`)).toBe('E_CONFIG_FILE');
    const laughs = Array.from({ length: 12 }, (_, i) =>
      i === 0
        ? 'a0: &a0 [x, x, x, x, x, x, x, x, x]'
        : `a${i}: &a${i} [${Array(9)
            .fill(`*a${i - 1}`)
            .join(', ')}]`,
    );
    expect(code(laughs.join('\n'))).toBe('E_CONFIG_FILE');
    expect(code('seed: *nothing')).toBe('E_CONFIG_FILE');
  });

  test('in a small file of a model', async () => {
    const file = fileIn(dir, 'config.json', deep(1_000_000).slice(1));
    expect(await readJson(file)()).toMatchObject({ left: { code: 'E_INVALID_JSON' } });
  });
});

describe('numbers that ask for long lists', () => {
  test.each([1e18, 2 ** 32, 2 ** 31, 1e9])('as the id of a token: %p', async (id) => {
    const model = { type: 'BPE', vocab: { a: 0, b: 1 }, merges: [] };
    const specs = [
      { model: { ...model, vocab: { ...model.vocab, c: id } } },
      { model, added_tokens: [{ id, content: '<s>', special: true }] },
    ];
    for (const [i, spec] of specs.entries()) {
      const home = join(dir, `tokenizer-${id}-${i}`);
      mkdirSync(home);
      fileIn(home, 'tokenizer.json', JSON.stringify(spec));
      expect(await loadTokenizer(home)()).toMatchObject({ left: { code: 'E_TOKENIZER_INVALID' } });
    }
  });
});

describe('names that mean something to JavaScript', () => {
  test('are unknown options, in files and in records', () => {
    for (const text of ['__proto__: {maxSteps: 1}', '{"__proto__": {"maxSteps": 1}}', 'constructor: 1']) {
      const parsed = parseConfig('run.yaml', text);
      const options: unknown = parsed._tag === 'Right' ? parsed.right.options : {};
      expect(Object.keys(options as object)).toHaveLength(1);
    }
    for (const key of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
      const decoded = decodeSftConfig(JSON.parse(`{"${key}": {"maxSteps": 1}}`));
      expect(decoded._tag === 'Left' ? render(decoded.left) : '').toContain('E_OPTIONS');
    }
    expect(Reflect.get({}, 'maxSteps')).toBeUndefined();
  });

  test('are columns like any other', async () => {
    const text = '{"text": "a", "__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}}';
    const [row] = await collected(jsonl(fileIn(dir, 'proto.jsonl', text)));
    expect(decodeRow(decodeExample)(row)).toMatchObject({ _tag: 'Right', right: { text: 'a' } });
    expect(Reflect.get({}, 'polluted')).toBeUndefined();
    expect(await read(csv(fileIn(dir, 'proto.csv', '__proto__,text\n1,a\n')))).toBe(1);
  });
});

describe('links that lead out of a model', () => {
  const tensor = { name: 'a', dtype: 'F32', shape: [1], data: Float32Array.of(1) } as const;
  const index = JSON.stringify({ weight_map: { a: 'model-00001-of-00001.safetensors' } });
  const shard = 'model-00001-of-00001.safetensors';

  test('are not followed from an index of shards, but for the blobs of a Hub cache', async () => {
    const home = join(dir, 'linked');
    const outside = join(dir, 'elsewhere');
    const cache = join(dir, 'models--a--b');
    for (const made of [home, outside, join(cache, 'snapshots', 'c0ffee'), join(cache, 'blobs')]) {
      mkdirSync(made, { recursive: true });
    }
    await writeSafetensors(join(outside, shard), [tensor])();
    fileIn(home, 'model.safetensors.index.json', index);
    symlinkSync(join(outside, shard), join(home, shard));
    expect(await readCheckpointTensors(home)()).toMatchObject({ left: { code: 'E_SHARD_PATH' } });

    const snapshot = join(cache, 'snapshots', 'c0ffee');
    fileIn(snapshot, 'model.safetensors.index.json', index);
    renameSync(join(outside, shard), join(cache, 'blobs', 'b10b'));
    symlinkSync('../../blobs/b10b', join(snapshot, shard));
    expect(await readCheckpointTensors(snapshot)()).toMatchObject({ _tag: 'Right' });
    // The directory itself may be reached by a link.
    symlinkSync(snapshot, join(dir, 'named'));
    expect(await readCheckpointTensors(join(dir, 'named'))()).toMatchObject({ _tag: 'Right' });
  });

  test('nor are folders that are links', async () => {
    const home = join(dir, 'folder');
    const outside = join(dir, 'beyond');
    mkdirSync(home);
    mkdirSync(outside);
    await writeSafetensors(join(outside, shard), [tensor])();
    symlinkSync(outside, join(home, 'sub'));
    fileIn(home, 'model.safetensors.index.json', JSON.stringify({ weight_map: { a: `sub/${shard}` } }));
    expect(await readCheckpointTensors(home)()).toMatchObject({ left: { code: 'E_SHARD_PATH' } });
  });
});
