/** The kit of laws: this library's own operators keep them, and operators with a fault in them do not. */
import { describe, expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import fc from 'fast-check';
import { bufferCount, filter, map, toArray, concatMap, from, type OperatorFunction } from 'rxjs';
import { dataError } from '../../src/errors.js';
import { chatMl } from '../../src/formats/templates/chatMl.js';
import { makeChatTemplate } from '../../src/formats/templates/chatTemplate.js';
import type { ChatTemplate } from '../../src/formats/templates/chatTemplate.js';
import {
  batches,
  boundedInFlight,
  checkAll,
  columnsAligned,
  conversations,
  operatorLaws,
  orderKept,
  promptIsPrefix,
  promptNeverLabelled,
  promptTokensArePrefix,
  tokensKept,
  wordTokenizer,
} from '../../src/laws/index.js';
import type { Law, PrepareExample } from '../../src/laws/index.js';
import { formatRow } from '../../src/operators/format.js';
import { maskCompletionsRow } from '../../src/operators/maskCompletions.js';
import { packRows } from '../../src/operators/pack.js';
import { tokenizeRow } from '../../src/operators/tokenize.js';
import { mapping } from '../../src/streams/operator.js';
import type { Rejecting } from '../../src/streams/operator.js';
import { sequenceOf } from '../../src/train/step/unpad.js';

const templateOf = (source: string): ChatTemplate => {
  const made = makeChatTemplate(source);
  if (E.isLeft(made)) throw new Error(made.left.message);
  return made.right;
};
const tokenizer = { ...wordTokenizer({ addBos: true, pieceLength: 2 }), chatTemplate: templateOf(chatMl.template) };
const prepareWith =
  (completionOnlyLoss: boolean, of = tokenizer): PrepareExample =>
  (example) =>
    pipe(
      formatRow({ tokenizer: of })(example),
      E.flatMap(tokenizeRow({ tokenizer: of })),
      E.flatMap(maskCompletionsRow({ completionOnlyLoss })),
    );

const positive = fc.integer({ min: -5, max: 50 });
const doubling = (options: Rejecting): OperatorFunction<number, number> =>
  mapping('double', (n: number) => (n < 0 ? E.left(dataError('E_N', 'negative')) : E.right(n * 2)), options);
const doubled = (values: ReadonlyArray<number>): ReadonlyArray<number> =>
  values.filter((n) => n >= 0).map((n) => n * 2);

const ok: ReadonlyArray<Law> = [
  ...operatorLaws(doubling, positive, doubled, { oneToOne: true, numRuns: 20 }),
  orderKept(doubling, positive, (out) => out / 2),
  boundedInFlight(doubling, positive, () => 1),
  boundedInFlight(
    () => bufferCount<number>(3),
    positive,
    (window) => window.length,
    { window: 3 },
  ),
  columnsAligned((rows) => packRows<(typeof rows)[number]>({ maxLength: 8, packingStrategy: 'bfd_split' })(rows)),
  tokensKept((rows) => packRows({ maxLength: 8, packingStrategy: 'wrapped' })(rows), { ordered: true }),
  promptNeverLabelled(prepareWith(true), tokenizer),
  promptIsPrefix(tokenizer.chatTemplate, { conversation: conversations({ tools: true }) }),
  promptTokensArePrefix(tokenizer, prepareWith(false)),
];

/** Forgets what was said before the last exchange. */
const forgetful = templateOf(
  '{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content if loop.revindex < 3 else "" }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}',
);

const broken: ReadonlyArray<readonly [string, Law | undefined]> = [
  [
    'loses records',
    orderKept(
      () => filter((n: number) => n % 7 !== 3),
      fc.nat(50),
      (out) => out,
    ),
  ],
  [
    'turns the order round',
    orderKept(
      () => (source) =>
        source.pipe(
          toArray(),
          concatMap((all) => from(all.reverse())),
        ),
      fc.nat(50),
      (out) => out,
    ),
  ],
  [
    'reads everything before it gives anything',
    boundedInFlight(
      () => (source) =>
        source.pipe(
          toArray(),
          concatMap((all) => from(all)),
        ),
      fc.nat(50),
      () => 1,
    ),
  ],
  [
    'gives something else',
    operatorLaws(
      () => map((n: number) => n + 1),
      fc.nat(),
      (all) => all,
    )[0],
  ],
  [
    'cuts one column elsewhere',
    columnsAligned((rows) => rows.map((row) => ({ ...row, labels: Int32Array.from(row.labels).reverse() }))),
  ],
  ['drops the last token', tokensKept((rows) => rows.map((row) => ({ ...row, inputIds: row.inputIds.slice(0, -1) })))],
  ['trains the prompt', promptNeverLabelled(prepareWith(false), tokenizer)],
  ['asks otherwise than it trains', promptIsPrefix(forgetful)],
  [
    'asks otherwise, in tokens',
    promptTokensArePrefix(
      { ...tokenizer, chatTemplate: forgetful },
      prepareWith(false, { ...tokenizer, chatTemplate: forgetful }),
    ),
  ],
];

describe('operators of this library keep', () => {
  for (const { name, check } of ok) test(name, check);
});

describe('a law sees an operator that', () => {
  test.each(broken)('%s', async (_, broke) => {
    await expect(broke?.check()).rejects.toThrow();
  });
});

test('all laws in turn, and the one that is broken by name', async () => {
  await checkAll(ok.slice(0, 2));
  await expect(
    checkAll([
      orderKept(
        () => filter((n: number) => n > 3),
        fc.nat(9),
        (out) => out,
      ),
    ]),
  ).rejects.toThrow('broken law: keeps the order and loses nothing');
});

test('arbitrary batches are what the model reads: as many targets as they say', () => {
  fc.assert(
    fc.property(batches({ maxDocuments: 2 }), (batch) => {
      const [rows, columns] = batch.shape;
      expect(batch.inputIds.length).toBe(rows * columns);
      const unweighted = { ...batch, lossWeights: new Float32Array(rows * columns).fill(1) };
      expect(sequenceOf(unweighted).targets.rows.length).toBe(batch.numItems);
    }),
  );
});
