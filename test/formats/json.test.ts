import { appendFileSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import * as t from 'io-ts';
import { render } from '../../src/errors.js';
import type { FatalError } from '../../src/errors.js';
import { decodeFrom, jsonText, parseJson, readJson, writeJson } from '../../src/formats/json/json.js';
import { jsonFault } from '../../src/formats/json/jsonFault.js';
import { jsonl } from '../../src/formats/datasets/jsonl.js';
import { openJsonLog, writeJsonLines } from '../../src/formats/json/jsonLines.js';
import { collected, fileIn, temporaryDirectory } from './temporary.js';

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

describe('readJson', () => {
  it('gives the value, with or without a byte-order mark', async () => {
    expect(await right(readJson(fileIn(dir, 'a.json', '\ufeff{"a": [1]}\n')))).toEqual({ a: [1] });
  });

  it('names line and column of a fault', async () => {
    const path = fileIn(dir, 'b.json', '{\n  "a": 1,\n  "b": tru\n}');
    const error = await left(readJson(path));
    expect(error).toMatchObject({ code: 'E_INVALID_JSON', details: { file: path, line: 3 } });
    expect(render(error)).toContain(`${path}:3: not JSON: "t" stands where a value should (column 8)`);
  });

  it('names files that are absent, not UTF-8 or directories', async () => {
    expect((await left(readJson(join(dir, 'none.json')))).code).toBe('E_NO_FILE');
    expect((await left(readJson(fileIn(dir, 'l.json', Uint8Array.of(0x22, 0xe9, 0x22))))).code).toBe('E_NOT_UTF8');
    expect((await left(readJson(dir))).code).toBe('E_IS_DIRECTORY');
  });

  it('decodes with the field in the error', () => {
    const codec = t.type({ a: t.type({ b: t.number }) });
    expect(decodeFrom(codec, 'f.json')({ a: { b: 1 } })).toEqual(E.right({ a: { b: 1 } }));
    expect(decodeFrom(codec, 'f.json')({ a: { b: 'x' } })).toMatchObject({
      left: { code: 'E_FIELD_TYPE', details: { file: 'f.json', field: 'a.b', expected: 'number', actual: '"x"' } },
    });
  });
});

describe('jsonFault', () => {
  it.each([
    ['', 0, true],
    ['{"a":1', 6, true],
    ['[1, 2', 5, true],
    ['"abc', 4, true],
    ['"a\\', 2, true],
    ['"a\\u00', 2, true],
    ['tru', 0, true],
    ['-', 0, true],
    ['1.', 2, true],
    ['1e+', 3, true],
    ['{"a"', 4, true],
    ['{"a":', 5, true],
    ['[1,]', 3, false],
    ['{"a":1,}', 7, false],
    ["{'a':1}", 1, false],
    ['NaN', 0, false],
    ['01', 1, false],
    ['[1 2]', 3, false],
    ['"a\nb"', 2, false],
    ['"\\x"', 1, false],
    ['1 1', 2, false],
    ['{"a":1]', 6, false],
    ['\ufeff1', 0, false],
  ])('%j breaks at %i, truncated: %s', (text, position, truncated) => {
    expect(jsonFault(text)).toMatchObject({ position, truncated });
  });
  it('finds nothing wrong with JSON', () => {
    for (const text of [
      '0',
      ' -1.5e-7 ',
      '"\\u00e9\\n"',
      '[]',
      '{}',
      '[[],{"a":[true,false,null]}]',
      '['.repeat(9999) + ']'.repeat(9999),
    ]) {
      expect(jsonFault(text)).toBeUndefined();
    }
  });
});

describe('writeJson', () => {
  it('sorts keys and ends with a line feed', async () => {
    const path = join(dir, 'w.json');
    await right(writeJson(path, { b: [{ d: 1, c: 2 }], a: null }, { sortKeys: true }));
    expect(readFileSync(path, 'utf8')).toBe(
      '{\n  "a": null,\n  "b": [\n    {\n      "c": 2,\n      "d": 1\n    }\n  ]\n}\n',
    );
    expect(jsonText({ a: 1 }, { indent: 0 })).toBe('{"a":1}\n');
  });
  it('fails with a typed error where it cannot write', async () => {
    expect((await left(writeJson(join(dir, 'no', 'such', 'w.json'), 1))).code).toBe('E_NO_FILE');
    mkdirSync(join(dir, 'taken.json'));
    expect((await left(writeJson(join(dir, 'taken.json'), 1)))._tag).toBe('FatalError');
    expect(readdirSync(dir).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });
});

describe('JSON Lines', () => {
  it('are written whole or not at all', async () => {
    const path = join(dir, 'rows.jsonl');
    expect(await right(writeJsonLines(path, [{ a: 1 }, 'x\u2028']))).toBe(2);
    expect((await collected(jsonl(path))).map((row) => 'value' in row && row.value)).toEqual([{ a: 1 }, 'x\u2028']);
    const failing = async function* (): AsyncGenerator {
      yield await Promise.resolve(1);
      throw new Error('source broke');
    };
    expect((await left(writeJsonLines(path, failing()))).message).toContain('source broke');
    expect((await left(writeJsonLines(path, [undefined]))).code).toBe('E_NOT_JSON');
    expect(await collected(jsonl(path))).toHaveLength(2);
    expect(readdirSync(dir).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('grow as a log, and mend a last line that was cut', async () => {
    const path = join(dir, 'log.jsonl');
    const first = await right(openJsonLog(path));
    await right(first.append({ step: 1 }));
    await right(first.close());
    appendFileSync(path, '{"step":');
    const second = await right(openJsonLog(path));
    await right(second.append({ step: 2 }));
    await right(second.close());
    expect((await collected(jsonl(path))).map((row) => ('value' in row ? row.value : row.error.code))).toEqual([
      { step: 1 },
      'E_INVALID_JSON',
      { step: 2 },
    ]);
    expect((await left(second.append(1)))._tag).toBe('FatalError');
  });
});

it('parseJson agrees with JSON.parse', () => {
  expect(parseJson('[1]', 'f')).toEqual(E.right([1]));
  expect(E.isLeft(parseJson('[1', 'f'))).toBe(true);
});
