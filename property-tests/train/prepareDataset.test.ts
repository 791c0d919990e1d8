import { describe, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import fc from 'fast-check';
import { lastValueFrom, take, toArray } from 'rxjs';
import type { Observable } from 'rxjs';
import { isFatal } from '../../src/errors.js';
import { chatMl } from '../../src/formats/templates/chatMl.js';
import { encodeExample } from '../arbitraries/encodeExample.js';
import { jsonl } from '../../src/formats/datasets/jsonl.js';
import { makeTokenizer } from '../../src/formats/tokenizing/tokenizer.js';
import type { Tokenizer } from '../../src/formats/tokenizing/tokenizer.js';
import { characterOfByte } from '../../src/formats/tokenizing/byteAlphabet.js';
import type { Labelled } from '../../src/records.js';
import { makeGate } from '../../src/streams/gate.js';
import { drain } from '../../src/streams/drain.js';
import { pull } from '../../src/streams/pull.js';
import { makeRejects } from '../../src/streams/rejects.js';
import type { Rejected } from '../../src/streams/rejects.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { makeTally, prepare } from '../../src/train/preparing/prepare.js';
import type { PrepareSetup } from '../../src/train/preparing/prepare.js';
import { prepareInThreads } from '../../src/train/preparing/prepareDataset.js';
import { serveJob } from '../../src/train/preparing/crew/job.js';
import type { StartThread } from '../../src/train/preparing/crew/threads.js';
import { makeRowNames } from '../../src/train/preparing/rowNames.js';
import type { Dataset } from '../../src/train/run/run.js';
import { jsonValues } from '../arbitraries/bytes.js';
import { examples } from '../arbitraries/conversation.js';

const alphabet = [...characterOfByte];
const merges = ['a b', 't h', 'th e', 'Ġ t', 'Ġ a', 'o u'];
const specials = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'];

/** Bytes and a few merges; made from files, as another thread must make it again. */
const tokenizerWith = (config: Readonly<Record<string, unknown>>): Tokenizer => {
  const base = [...alphabet, ...merges.map((merge) => merge.replace(' ', ''))];
  const made = makeTokenizer(
    {
      added_tokens: specials.map((content, i) => ({ id: base.length + i, content, special: true })),
      normalizer: null,
      pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
      post_processor: null,
      decoder: { type: 'ByteLevel' },
      model: { type: 'BPE', vocab: Object.fromEntries(base.map((token, id) => [token, id])), merges },
    },
    config,
  );
  if (E.isLeft(made)) throw made.left;
  return made.right;
};

const tokenizers: Readonly<Record<string, Tokenizer | undefined>> = {
  chat: tokenizerWith({ eos_token: '<|im_end|>', pad_token: '<|endoftext|>', chat_template: chatMl.template }),
  plain: tokenizerWith({ eos_token: '<|endoftext|>', pad_token: '<|endoftext|>' }),
  endless: tokenizerWith({ chat_template: chatMl.template, pad_token: '<|endoftext|>' }),
  none: undefined,
};

class OfAClass {
  readonly prompt = 'the ';
  get completion(): string {
    return `${this.prompt}about`;
  }
}

const trap = {
  completion: 'ab',
  get prompt(): string {
    throw new Error('sprung');
  },
};

const rows = (): fc.Arbitrary<ReadonlyArray<unknown>> =>
  fc.array(
    fc.oneof(
      { weight: 6, arbitrary: examples().map(encodeExample) },
      { weight: 2, arbitrary: jsonValues() },
      { weight: 1, arbitrary: fc.record({ input_ids: fc.array(fc.integer({ min: -1, max: 300 }), { maxLength: 6 }) }) },
      {
        weight: 1,
        arbitrary: fc.array(fc.constantFrom('user', 'judge', 'assistant', 'herald'), { maxLength: 4 }).map((roles) => ({
          messages: roles.map((role, i) => ({ role, content: `the ${i}`, ...(i === 1 ? { weight: 0.5 } : {}) })),
        })),
      },
    ),
    { maxLength: 30 },
  );

const options = (): fc.Arbitrary<SftOptions> =>
  fc
    .record({
      maxLength: fc.integer({ min: 2, max: 30 }),
      packing: fc.boolean(),
      packingStrategy: fc.constantFrom('bfd' as const, 'bfd_split' as const, 'wrapped' as const),
      assistantOnlyLoss: fc.boolean(),
      promptBorder: fc.constantFrom('offsets' as const, 'prompt_ids' as const),
      completionOnlyLoss: fc.constantFrom(undefined, true, false),
      responseTemplate: fc.constantFrom(undefined, undefined, 'the', [5, 6]),
      datasetTextField: fc.constantFrom(undefined, undefined, undefined, 'prompt'),
      parity: fc.constantFrom(undefined, undefined, 'trl-0.7.10' as const),
    })
    .filter(({ packing, parity }) => !packing || parity === undefined)
    .map((given) => Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)));

const configOf = (given: SftOptions) => {
  const config = decodeSftConfig(given);
  if (E.isLeft(config)) throw config.left;
  return { ...config.right, maxLength: config.right.maxLength ?? 12 };
};

/** A thread in this one: everything it is told and says is cloned, and its answers come late. */
const lateThread =
  (delays: ReadonlyArray<number>): StartThread =>
  (job, { answered, failed }) => {
    const serve = serveJob(structuredClone(job));
    if (E.isLeft(serve)) throw serve.left;
    let closed = false;
    let turn = Promise.resolve();
    let count = 0;
    const later = (act: () => void): void => {
      const delay = delays[count++ % delays.length] ?? 0;
      turn = turn
        .then(() => new Promise<void>((resolve) => (delay === 0 ? setImmediate(resolve) : setTimeout(resolve, delay))))
        .then(() => {
          if (!closed) act();
        })
        .catch(failed);
    };
    later(() => answered({ kind: 'ready' }));
    return {
      ask: (question) => {
        const block = structuredClone(question);
        later(() => {
          const done = serve.right(block);
          answered(done === undefined ? { kind: 'cannot' } : { kind: 'packed', packed: structuredClone(done.packed) });
        });
      },
      close: () => {
        closed = true;
      },
    };
  };

interface Heard {
  readonly rows: ReadonlyArray<Labelled>;
  readonly end: unknown;
  readonly told: ReadonlyArray<unknown>;
  readonly summary: unknown;
  readonly names: ReadonlyArray<unknown>;
}

const heard = async (
  config: ReturnType<typeof configOf>,
  tokenizer: Tokenizer | undefined,
  named: boolean,
  rejecting: boolean,
  stream: (setup: PrepareSetup) => Observable<Labelled>,
): Promise<Heard> => {
  const told: Array<unknown> = [];
  const rejects = rejecting ? makeRejects({ maxRate: 0.6, minSeen: 8 }) : undefined;
  rejects?.stream.subscribe((rejected: Rejected) => told.push(rejected));
  const tally = makeTally(config, rejects);
  const names = named ? makeRowNames() : undefined;
  const out: Array<Labelled> = [];
  const end = await new Promise((resolve) => {
    stream({ tokenizer, rejects, tally, names, warn: (warning) => told.push(warning) }).subscribe({
      next: (row) => out.push(row),
      error: (error: unknown) =>
        resolve(isFatal(error) ? { code: error.code, message: error.message, details: error.details } : error),
      complete: () => resolve('complete'),
    });
  });
  const numbers = [1, 2, 3, 4, 5, 6, 7];
  return {
    rows: out,
    end,
    told,
    summary: tally.summary(),
    names: numbers.map((number) => [names?.roles.nameOf(number), names?.files.nameOf(number)]),
  };
};

async function* given(values: ReadonlyArray<unknown>): AsyncGenerator {
  for (const value of values) yield await Promise.resolve(value);
}

async function* failing(values: ReadonlyArray<unknown>): AsyncGenerator {
  yield* given(values);
  throw new Error('torn');
}

const kinds = ['array', 'generator', 'failing', 'lines', 'classes', 'code'] as const;

describe('rows prepared by many threads', () => {
  test('are those of one: rows, order, refusals, warnings, counts, names, end', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'rxtune-threads-'));
    let file = 0;
    try {
      await fc.assert(
        fc.asyncProperty(
          rows(),
          options(),
          fc.record({
            kind: fc.constantFrom(...kinds),
            threads: fc.integer({ min: 2, max: 5 }),
            blockRows: fc.integer({ min: 1, max: 9 }),
            tokenizer: fc.constantFrom(...Object.keys(tokenizers)),
            named: fc.boolean(),
            rejecting: fc.constantFrom(true, true, true, false),
            delays: fc.array(fc.constantFrom(0, 0, 1, 3), { minLength: 1, maxLength: 4 }),
            badLines: fc.array(fc.constantFrom('{', '', '  ', '[1', '\u2028'), { maxLength: 3 }),
          }),
          async (values, chosen, { kind, threads, blockRows, named, rejecting, delays, badLines, ...rest }) => {
            const config = configOf({ ...chosen, datasetNumProc: threads });
            const tokenizer = tokenizers[rest.tokenizer];
            const path = join(dir, `${file++}.jsonl`);
            if (kind === 'lines') {
              const lines = values.map((value) => JSON.stringify(value));
              writeFileSync(path, [...badLines.slice(1), ...lines, ...badLines].join('\n'));
            }
            const code = [
              ...values,
              new OfAClass(),
              { prompt: 'ab', completion: Symbol('ab') },
              ...values,
              trap,
              ...values,
            ];
            const dataset = (): Dataset =>
              kind === 'array'
                ? values
                : kind === 'generator'
                  ? given(values)
                  : kind === 'failing'
                    ? failing(values)
                    : kind === 'lines'
                      ? jsonl(path, { chunkBytes: 7 * blockRows })
                      : kind === 'classes'
                        ? [...values, new OfAClass(), ...values]
                        : code;
            const alone = await heard(config, tokenizer, named, rejecting, (setup) =>
              pull(dataset()).pipe(prepare(setup, config)),
            );
            const together = await heard(config, tokenizer, named, rejecting, (setup) =>
              prepareInThreads(dataset(), setup, config, { start: lateThread(delays), blockRows }),
            );
            expect(together).toEqual(alone);
          },
        ),
        { numRuns: 400 },
      );
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  test('are under way in a bounded number, whatever the pace of the end', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 5 }),
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 3 }),
        fc.array(fc.constantFrom(0, 0, 1), { minLength: 1, maxLength: 3 }),
        async (threads, blockRows, prefetch, delays) => {
          let asked = 0;
          let done = 0;
          let most = 0;
          const endless = {
            *[Symbol.iterator]() {
              for (;;) {
                asked++;
                yield { prompt: 'the ', completion: `${asked}` };
              }
            },
          };
          const config = configOf({ datasetNumProc: threads });
          const gate = makeGate({ prefetch });
          const out = await lastValueFrom(
            prepareInThreads(endless, { tokenizer: tokenizers['plain'], rejects: makeRejects() }, config, {
              gate,
              start: lateThread(delays),
              blockRows,
            }).pipe(
              drain(async (row) => {
                await new Promise(setImmediate);
                most = Math.max(most, asked - done);
                done++;
                return row;
              }, gate),
              take(40),
              toArray(),
            ),
          );
          expect(out).toHaveLength(40);
          // Eight blocks a thread and four are read ahead; one is being told, with what the gate lets through.
          expect(most).toBeLessThanOrEqual((8 * (threads - 1) + 5) * blockRows + prefetch);
          const whenLeft = asked;
          await new Promise((resolve) => setTimeout(resolve, 5));
          expect(asked).toBe(whenLeft);
        },
      ),
      { numRuns: 40 },
    );
  });
});
