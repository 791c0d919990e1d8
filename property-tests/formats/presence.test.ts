/** What is told of a data set without reading it is what reading it would tell. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { isFatal } from '../../src/errors.js';
import { openDataset } from '../../src/formats/datasets/dataset.js';
import { interleave } from '../../src/formats/datasets/interleave.js';
import { findDataset } from '../../src/formats/datasets/presence.js';
import { requireRows } from '../../src/formats/datasets/requireRows.js';

let dir = '';
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rxtune-presence-'));
  await writeFile(join(dir, 'a.jsonl'), '{"text":"a"}\n');
  await writeFile(join(dir, 'b.jsonl'), 'no JSON\n');
  await writeFile(join(dir, 'c.odd'), 'x');
  await mkdir(join(dir, 'empty'));
  await mkdir(join(dir, 'folder'));
  await writeFile(join(dir, 'folder', 'train.csv'), 'text\na\n');
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const outcome = (ending: Promise<unknown>): Promise<unknown> =>
  ending.then(
    () => 'there',
    (error: unknown) => (isFatal(error) ? [error.code, error.message, error.details] : error),
  );

const readThrough = async (dataset: AsyncIterable<unknown>): Promise<void> => {
  for await (const _row of dataset);
};

const paths = fc.constantFrom(
  'a.jsonl',
  'b.jsonl',
  'c.odd',
  'no.jsonl',
  'empty',
  'folder',
  '*.jsonl',
  'x*.jsonl',
  'a.jsonl/b.jsonl',
);

test('finding a data set ends as reading it does', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(paths, { minLength: 1, maxLength: 3 }), fc.boolean(), async (names, required) => {
      const files = openDataset(names.map((name) => join(dir, name)));
      const dataset = required ? requireRows(files, 'rows') : files;
      expect(await outcome(findDataset(dataset))).toEqual(await outcome(readThrough(dataset)));
    }),
    { numRuns: 60 },
  );
});

test('a mixture is found where each of its sources is', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(paths, { minLength: 1, maxLength: 3 }), async (names) => {
      const sources = names.map((name) => ({ rows: openDataset(join(dir, name)), weight: 1 }));
      const mixture = interleave(sources, { seed: 7 });
      expect(await outcome(findDataset(mixture))).toEqual(await outcome(readThrough(mixture)));
    }),
    { numRuns: 60 },
  );
});
