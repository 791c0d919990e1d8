import { describe, expect, test } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import * as E from 'fp-ts/lib/Either.js';
import { lastValueFrom, take, takeWhile, toArray } from 'rxjs';
import { makeTokenizer } from '../../src/formats/tokenizing/tokenizer.js';
import { templatedTokenizer } from '../../src/formats/tokenizing/templatedTokenizer.js';
import type { Tokenizer } from '../../src/formats/tokenizing/tokenizer.js';
import { characterOfByte } from '../../src/formats/tokenizing/byteAlphabet.js';
import { makeGate } from '../../src/streams/gate.js';
import { makeRejects } from '../../src/streams/rejects.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { prepareInThreads } from '../../src/train/preparing/prepareDataset.js';
import type { Starting } from '../../src/train/preparing/prepareDataset.js';
import type { StartThread } from '../../src/train/preparing/crew/threads.js';
import { startThread } from '../../src/train/preparing/crew/threads.js';
import type { Dataset } from '../../src/train/run/run.js';
import { runOf, stepsOf, tinyModel } from '../../property-tests/train/tiny.js';

const root = resolve(import.meta.dirname, '..', '..');
// Threads run compiled code, of the package or beside the source: npm run build.
const whenBuilt = existsSync(join(root, 'dist/train/preparing/crew/worker.js')) ? test : test.skip;

const got = <A>(either: E.Either<unknown, A>): A => {
  if (E.isLeft(either)) throw either.left;
  return either.right;
};

const plain = got(
  makeTokenizer(
    {
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
      post_processor: null,
      decoder: { type: 'ByteLevel' },
      model: { type: 'BPE', vocab: Object.fromEntries(characterOfByte.map((c, id) => [c, id])), merges: [] },
    },
    { eos_token: '!', pad_token: '"' },
  ),
);
const templated = got(
  templatedTokenizer(plain, '{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}'),
);

const prepared = (
  dataset: Dataset,
  given: SftOptions,
  { tokenizer = plain, ...options }: Starting & { readonly tokenizer?: Tokenizer } = {},
) => {
  const config = { ...got(decodeSftConfig(given)), maxLength: 64 };
  return prepareInThreads(dataset, { tokenizer, rejects: makeRejects() }, config, options);
};

const rows = Array.from({ length: 1000 }, (_, i) =>
  i % 7 === 0
    ? { nothing: i }
    : {
        messages: [
          { role: 'user', content: `${i}?` },
          { role: 'assistant', content: `${i}!` },
        ],
      },
);

/** Rows without end, of so many words; `closed` once nobody wants more of them. */
const endless = (words = 1): { readonly dataset: Dataset; readonly isClosed: () => boolean } => {
  let closed = false;
  return {
    isClosed: () => closed,
    dataset: {
      *[Symbol.iterator]() {
        try {
          for (let i = 0; ; i++) yield { text: `${i} `.repeat(words) };
        } finally {
          closed = true;
        }
      },
    },
  };
};

describe('threads that prepare rows', () => {
  whenBuilt('make what the main thread makes', async () => {
    const alone = await lastValueFrom(prepared(rows, { datasetNumProc: 1 }, { tokenizer: templated }).pipe(toArray()));
    const together = await lastValueFrom(
      prepared(rows, { datasetNumProc: 3 }, { tokenizer: templated, blockRows: 8 }).pipe(toArray()),
    );
    expect(together).toEqual(alone);
    expect(together).toHaveLength(857);
  });

  whenBuilt('take their part: blocks come back from each', async () => {
    const answers = [0, 0];
    let started = 0;
    const start: StartThread = (job, { answered, failed }) => {
      const number = started++;
      const real = startThread();
      if (real === null) throw new Error('not built');
      return real(job, {
        failed,
        answered: (answer) => {
          if (answer.kind === 'packed') answers[number] = (answers[number] ?? 0) + 1;
          answered(answer);
        },
      });
    };
    // Until both have answered, however long they take to start.
    await new Promise<void>((done, fail) => {
      const subscription = prepared(endless().dataset, { datasetNumProc: 3 }, { start, blockRows: 4 }).subscribe({
        next: () => {
          if (!answers.every((count) => count > 2)) return;
          subscription.unsubscribe();
          done();
        },
        error: fail,
      });
    });
    expect(started).toBe(2);
  });

  whenBuilt('end the stream when one breaks down, and close the source', async () => {
    const { dataset, isClosed } = endless();
    const start: StartThread = (job, events) => {
      const real = startThread();
      if (real === null) throw new Error('not built');
      return real({ ...job, recipe: { files: {} } }, events);
    };
    await expect(
      lastValueFrom(prepared(dataset, { datasetNumProc: 2 }, { start, gate: makeGate() })),
    ).rejects.toMatchObject({ _tag: 'FatalError', code: 'E_WORKER_FAILED', details: { hint: expect.any(String) } });
    expect(isClosed()).toBe(true);
  });

  test('are closed when nobody listens any more', async () => {
    let open = 0;
    const { dataset, isClosed } = endless();
    const start: StartThread = (_job, { answered }) => {
      open++;
      setImmediate(() => answered({ kind: 'ready' }));
      return {
        ask: () => undefined,
        close: () => {
          open--;
        },
      };
    };
    await lastValueFrom(prepared(dataset, { datasetNumProc: 4 }, { start, gate: makeGate() }).pipe(take(3)));
    expect([open, isClosed()]).toEqual([0, true]);
  });

  test('are not begun for code, which cannot go there, nor for little work', async () => {
    let begun = 0;
    const start: StartThread = () => {
      begun++;
      throw new Error('begun');
    };
    const three = [{ text: 'a' }, { text: 'b' }, { text: 'c' }];
    const own = { ...plain };
    expect(
      await lastValueFrom(prepared(three, { datasetNumProc: 4 }, { start, tokenizer: own }).pipe(toArray())),
    ).toHaveLength(3);
    expect(await lastValueFrom(prepared(three, {}, { start }).pipe(toArray()))).toHaveLength(3);
    const config = { ...got(decodeSftConfig({ datasetNumProc: 4 })), maxLength: 64 };
    const shouted = prepareInThreads(three, { tokenizer: plain, formattingFunc: () => 'A' }, config, { start });
    expect(await lastValueFrom(shouted.pipe(toArray()))).toHaveLength(3);
    expect(begun).toBe(0);
  });

  test('are begun unasked when there is no end of work', async () => {
    let begun = 0;
    const start: StartThread = () => {
      begun++;
      return { ask: () => undefined, close: () => undefined };
    };
    // Long rows: who hands them on is to take little of the time beside the work on them, on a busy machine, too.
    const { dataset } = endless(400);
    // Ends once they are.
    await lastValueFrom(
      prepared(dataset, {}, { start, cores: 4, gate: makeGate() }).pipe(takeWhile(() => begun === 0)),
    );
    expect(begun).toBe(3);
  });

  test('that cannot be started are an error only where they were asked for', async () => {
    const three = [{ text: 'a' }, { text: 'b' }, { text: 'c' }];
    expect(await lastValueFrom(prepared(three, {}, { start: null }).pipe(toArray()))).toHaveLength(3);
    await expect(lastValueFrom(prepared(three, { datasetNumProc: 2 }, { start: null }))).rejects.toMatchObject({
      code: 'E_WORKER_FAILED',
    });
  });

  whenBuilt('feed a run that streams, over several passes, as one thread does', async () => {
    const data = Array.from({ length: 24 }, (_, i) => ({ input_ids: [1 + (i % 7), 2, 3 + (i % 5)] }));
    const losses = async (datasetNumProc: number): Promise<ReadonlyArray<number>> => {
      const run = runOf(await tinyModel(), data, {
        datasetNumProc,
        streaming: true,
        shuffleBuffer: 9,
        maxSteps: 8,
        perDeviceTrainBatchSize: 4,
        saveStrategy: 'no',
      });
      return (await stepsOf(run)).map(({ loss }) => loss);
    };
    const alone = await losses(1);
    expect(alone).toHaveLength(8);
    expect(await losses(3)).toEqual(alone);
  });

  whenBuilt('let the process end by itself, left early or not', () => {
    const script = `
      import { decodeSftConfig, makeRejects, orThrow, prepareDataset } from ${JSON.stringify(pathToFileURL(join(root, 'dist/index.js')).href)};
      import { lastValueFrom, take, count } from ${JSON.stringify(pathToFileURL(join(root, 'node_modules/rxjs/dist/esm/index.js')).href.replace('dist/esm/', 'dist/cjs/'))};
      const rows = Array.from({ length: 2000 }, (_, i) => ({ input_ids: [i, 1, 2] }));
      const config = { ...orThrow(decodeSftConfig({ datasetNumProc: 3 })), maxLength: 8 };
      const all = prepareDataset(rows, { rejects: makeRejects() }, config);
      console.log(await lastValueFrom(all.pipe(count())), await lastValueFrom(all.pipe(take(1), count())));
    `;
    const out = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    expect(out.trim()).toBe('2000 1');
  });
});
