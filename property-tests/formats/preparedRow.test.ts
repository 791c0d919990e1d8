import { expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import fc from 'fast-check';
import { decodeExample } from '../../src/formats/examples/example.js';
import { encodePreparedRow } from '../../src/formats/examples/preparedRow.js';
import { tokenizeRow } from '../../src/operators/tokenize.js';
import { ignoreIndex, type Labelled } from '../../src/records.js';
import { wordTokenizer } from '../arbitraries/tokenizer.js';

const labelled: fc.Arbitrary<Labelled> = fc
  .array(fc.array(fc.tuple(fc.nat(30), fc.boolean()), { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 4 })
  .map((documents) => {
    const tokens = documents.flat();
    return {
      inputIds: Int32Array.from(tokens, ([id]) => id),
      labels: Int32Array.from(tokens, ([id, trained]) => (trained ? id : ignoreIndex)),
      seqLengths: documents.map(({ length }) => length),
      ...(tokens.length % 2 === 0 ? {} : { lossWeights: Float32Array.from(tokens, ([id]) => id / 7) }),
    };
  });

interface Line {
  readonly input_ids: ReadonlyArray<number>;
  readonly labels: ReadonlyArray<number>;
  readonly attention_mask: ReadonlyArray<number>;
  readonly position_ids: ReadonlyArray<number>;
}

test('columns are aligned, positions give the documents back, and only a document’s first label may go', () => {
  fc.assert(
    fc.property(labelled, (row) => {
      const line = JSON.parse(encodePreparedRow(row)) as Line;
      expect(line.input_ids).toEqual([...row.inputIds]);
      for (const column of [line.labels, line.attention_mask, line.position_ids])
        expect(column).toHaveLength(row.inputIds.length);
      const starts = line.position_ids.flatMap((position, t) => (position === 0 ? [t] : []));
      expect(starts.map((start, i) => (starts[i + 1] ?? row.inputIds.length) - start)).toEqual(row.seqLengths);
      const several = row.seqLengths.length > 1;
      expect(line.labels).toEqual(
        [...row.labels].map((label, t) => (several && starts.includes(t) ? ignoreIndex : label)),
      );
    }),
  );
});

test('a line reads back as the documents it came from', () => {
  const tokenize = tokenizeRow({ tokenizer: { ...wordTokenizer(), vocabSize: 31 } });
  fc.assert(
    fc.property(labelled, (row) => {
      const line = JSON.parse(encodePreparedRow(row)) as Line;
      const example = decodeExample(line);
      if (E.isLeft(example) || example.right.kind !== 'tokenized') throw new Error('the line must be a row of ids');
      expect(tokenize(example.right)).toEqual(
        E.right({
          inputIds: row.inputIds,
          seqLengths: row.seqLengths,
          givenLabels: Int32Array.from(line.labels),
          ...(row.lossWeights === undefined ? {} : { lossWeights: row.lossWeights }),
        }),
      );
    }),
  );
});
