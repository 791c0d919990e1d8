import { describe, expect, it } from '@jest/globals';
import { lastValueFrom, take, toArray } from 'rxjs';
import { isFatal } from '../../src/errors.js';
import { accumulate, accumulateRows } from '../../src/operators/accumulate.js';
import { batch } from '../../src/operators/batch.js';
import { joinRows } from '../../src/operators/columns.js';
import { groupByLength, groupByLengthRows } from '../../src/operators/groupByLength.js';
import { pack, packRows } from '../../src/operators/pack.js';
import type { PackingStrategy } from '../../src/operators/pack.js';
import { packConstantLength, packConstantLengthRows } from '../../src/operators/packConstantLength.js';
import type { ConstantLengthOptions } from '../../src/operators/packConstantLength.js';
import { restart } from '../../src/operators/restart.js';
import { truncateRow } from '../../src/operators/truncate.js';
import { pull } from '../../src/streams/pull.js';

const rowOf = (ids: ReadonlyArray<number>) => ({ inputIds: Int32Array.from(ids), seqLengths: [ids.length] });
const packed = (rows: ReadonlyArray<ReadonlyArray<number>>, maxLength: number, packingStrategy: PackingStrategy) =>
  packRows({ maxLength, packingStrategy })(rows.map(rowOf)).map(({ inputIds, seqLengths }) => ({
    ids: [...inputIds].join(' '),
    lengths: seqLengths.join(','),
  }));
const times = (count: number, id: number): ReadonlyArray<number> => new Array<number>(count).fill(id);

describe('packing as TRL 1.x', () => {
  const four = [[1, 2, 3, 4, 5], [6, 7], [8, 9, 10], [11]];

  it('bfd', () => {
    expect(packed(four, 4, 'bfd')).toEqual([
      { ids: '1 2 3 4', lengths: '4' },
      { ids: '8 9 10 11', lengths: '3,1' },
      { ids: '6 7', lengths: '2' },
    ]);
  });

  it('bfd_split', () => {
    expect(packed(four, 4, 'bfd_split')).toEqual([
      { ids: '1 2 3 4', lengths: '4' },
      { ids: '8 9 10 5', lengths: '3,1' },
      { ids: '6 7 11', lengths: '2,1' },
    ]);
  });

  it('wrapped', () => {
    expect(packed(four, 4, 'wrapped').map(({ ids }) => ids)).toEqual(['1 2 3 4', '5 6 7 8', '9 10 11']);
  });

  it('bfd of rows alike, an empty one and a long one', () => {
    const rows = [times(3, 1), times(3, 2), [3], [4], [], times(9, 5)];
    expect(packed(rows, 4, 'bfd').map(({ ids }) => ids)).toEqual(['5 5 5 5', '1 1 1 3', '2 2 2 4']);
  });

  it('bfd of window 8', () => {
    const rows = [3, 5, 2, 4, 6, 1].map((length, i) => times(length, i + 1));
    expect(packed(rows, 8, 'bfd')).toEqual([
      { ids: '5 5 5 5 5 5 3 3', lengths: '6,2' },
      { ids: '2 2 2 2 2 1 1 1', lengths: '5,3' },
      { ids: '4 4 4 4 6', lengths: '4,1' },
    ]);
  });

  it('needs no more memory for a window larger than the data', () => {
    expect(packed([[1, 2], [3]], 2 ** 31, 'bfd')).toEqual([{ ids: '1 2 3', lengths: '2,1' }]);
  });

  it('packs a stream 1000 rows at a time', async () => {
    const rows = times(2500, 9).map((id) => rowOf([id]));
    const lengths = async (packingWindow?: number): Promise<ReadonlyArray<number>> => {
      const stream = pull(rows).pipe(pack({ maxLength: 600, packingWindow }), toArray());
      return (await lastValueFrom(stream)).map(({ inputIds }) => inputIds.length);
    };
    expect(await lengths()).toEqual([600, 400, 600, 400, 500]);
    expect(await lengths(Infinity)).toEqual([600, 600, 600, 600, 100]);
  });
});

describe('ConstantLengthDataset', () => {
  const separator = 99;
  const tokenizer = {
    encode: (text: string) => Int32Array.from(text.split(' ').map(Number)),
    eosTokenId: separator,
  };
  const rows = ['1 2 3', '4 5', '6', '7 8 9 10'];
  const base: ConstantLengthOptions = { tokenizer, seqLength: 4, shuffle: false };
  const windows = (options: Partial<ConstantLengthOptions> = {}, texts: ReadonlyArray<string> = rows) =>
    packConstantLengthRows({ ...base, ...options })(texts).map(({ inputIds }) =>
      Array.from(inputIds, (id) => (id === separator ? 'E' : id)).join(' '),
    );

  it('windows of 4, no shuffle', () => {
    expect(windows()).toEqual(['1 2 3 E', '4 5 E 6', 'E 7 8 9']);
  });

  it('without separator', () => {
    expect(windows({ appendConcatToken: false })).toEqual(['1 2 3 4', '5 6 7 8']);
  });

  it('has no window when there are fewer tokens than one', () => {
    expect(windows({ seqLength: 40 })).toEqual([]);
    expect(windows({}, [])).toEqual([]);
  });

  it('drops the tail of each buffer', () => {
    // A buffer is full at 5 characters.
    // 10 E ends the last buffer, and nothing is carried into another.
    expect(windows({ numOfSequences: 1, charsPerToken: 1.25 })).toEqual(['1 2 3 E', '4 5 E 6', 'E 7 8 9']);
    expect(windows({ numOfSequences: 1, charsPerToken: 0.75 })).toEqual(['1 2 3 E', '6 E 7 8']);
  });

  it('ends normally when the source ends with a full buffer', () => {
    expect(windows({ numOfSequences: 1, charsPerToken: 1.25 }, ['1 2 3', '4 5 6'])).toEqual(['1 2 3 E', '4 5 6 E']);
  });

  it('counts a character outside the first plane once, as Python does', () => {
    const words = {
      encode: (text: string) => Int32Array.from(Array.from(text), (c) => c.codePointAt(0) ?? 0),
      eosTokenId: 1,
    };
    const full = (text: string): number =>
      packConstantLengthRows({ tokenizer: words, seqLength: 2, numOfSequences: 1, charsPerToken: 1, shuffle: false })([
        text,
        text,
        text,
      ]).length;
    // Two a buffer at one character each: 2 · 2 tokens; one a buffer at two: 3 · (2 of 3) tokens.
    expect(full('😀')).toBe(3);
    expect(full('ab')).toBe(3);
    expect(
      packConstantLengthRows({ tokenizer: words, seqLength: 4, numOfSequences: 1, charsPerToken: 0.5, shuffle: false })(
        ['😀', '😀', '😀'],
      ).length,
    ).toBe(1);
  });

  it('takes the separator from its argument when the tokenizer has none, or 0', () => {
    const warnings: Array<string> = [];
    const none = { encode: tokenizer.encode };
    const made = packConstantLengthRows({
      ...base,
      tokenizer: none,
      eosTokenId: 50,
      warn: ({ code }) => warnings.push(code),
    })(rows);
    expect([...(made[0]?.inputIds ?? [])]).toEqual([1, 2, 3, 50]);
    expect(warnings).toEqual(['W_NO_EOS']);
    const zero = packConstantLengthRows({ ...base, tokenizer: { ...none, eosTokenId: 0 }, eosTokenId: 51 })(rows);
    expect([...(zero[0]?.inputIds ?? [])]).toEqual([1, 2, 3, 51]);
  });

  it('goes round for ever over a restarted source', async () => {
    const warnings: Array<string> = [];
    const stream = pull(rows).pipe(
      restart({ warn: ({ code }) => warnings.push(code) }),
      // One pass fills the buffer: its tail is dropped each time.
      packConstantLength({ ...base, numOfSequences: 1, charsPerToken: 4.25 }),
      take(7),
      toArray(),
    );
    const all = (await lastValueFrom(stream)).map(({ inputIds }) => [...inputIds].join(' '));
    expect(all).toEqual([...all.slice(0, 3), ...all.slice(0, 3), ...all.slice(0, 1)]);
    expect(all.slice(0, 3)).toEqual(['1 2 3 99', '4 5 99 6', '99 7 8 9']);
    expect(warnings).toEqual(['W_STREAM_RESTART', 'W_STREAM_RESTART']);
  });

  it('will not go round over nothing', async () => {
    const error: unknown = await lastValueFrom(pull([]).pipe(restart())).catch((cause: unknown) => cause);
    expect(isFatal(error) && error.code).toBe('E_STREAM_EMPTY');
  });

  it('tells rows apart on request', () => {
    const separate = packConstantLengthRows({ ...base, documents: 'separate' })(rows);
    expect(separate.map(({ seqLengths }) => seqLengths)).toEqual([[4], [3, 1], [1, 3]]);
  });
});

describe('sizes that no loop would end with', () => {
  const tokenizer = { encode: () => new Int32Array(0), eosTokenId: 1 };
  const refusal = (make: () => unknown): unknown => {
    try {
      return make();
    } catch (thrown) {
      return isFatal(thrown) ? [thrown.code, thrown.kind, thrown.details.field] : thrown;
    }
  };

  it.each([0, -1, 1.5, NaN])('%s is refused where the stage is made', (size) => {
    expect(refusal(() => packRows({ maxLength: size }))).toEqual(['E_OPTIONS', 'usage', 'maxLength']);
    expect(refusal(() => pack({ maxLength: size }))).toEqual(['E_OPTIONS', 'usage', 'maxLength']);
    expect(refusal(() => packConstantLength({ tokenizer, seqLength: size }))).toEqual([
      'E_OPTIONS',
      'usage',
      'seqLength',
    ]);
    expect(refusal(() => groupByLength({ size, seed: 0 }))).toEqual(['E_OPTIONS', 'usage', 'size']);
    expect(refusal(() => groupByLengthRows({ size, seed: 0 }))).toEqual(['E_OPTIONS', 'usage', 'size']);
    expect(refusal(() => accumulate(size))).toEqual(['E_OPTIONS', 'usage', 'count']);
    expect(refusal(() => batch({ size }))).toEqual(['E_OPTIONS', 'usage', 'size']);
  });

  it('rows can be cut to nothing, but to no fewer tokens', () => {
    expect(truncateRow({ maxLength: 0 })(rowOf([1, 2]))).toEqual({
      _tag: 'Right',
      right: { inputIds: new Int32Array(0), seqLengths: [] },
    });
    expect(refusal(() => truncateRow({ maxLength: -1 }))).toEqual(['E_OPTIONS', 'usage', 'maxLength']);
  });
});

describe('groups', () => {
  it('join no rows into none', () => {
    expect(() => joinRows([])).toThrow(RangeError);
    expect(accumulateRows(2)([])).toEqual([]);
  });
});
