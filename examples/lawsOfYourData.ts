/** Preparing data is pure code, so it can have laws. Here: whatever an order says, only the answer is trained, and all of it. */
import { join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import fc from 'fast-check';
import { formatRow, ignoreIndex, loadTokenizer, maskCompletionsRow, orThrow, tokenizeRow } from 'rxtune';
import type { Example } from 'rxtune';

const tokenizer = await orThrow(loadTokenizer(join(import.meta.dirname, 'quickstart', 'base')));

const labelled = (question: string, answer: string) =>
  pipe(
    {
      kind: 'messages',
      messages: [
        { role: 'user', content: question },
        { role: 'assistant', content: answer },
      ],
    } satisfies Example,
    formatRow({ tokenizer }),
    E.flatMap(tokenizeRow({ tokenizer })),
    E.flatMap(maskCompletionsRow({ assistantOnlyLoss: true })),
  );

const order = fc.record({
  item: fc.string(),
  count: fc.integer({ min: 1, max: 99 }),
  day: fc.string({ unit: 'grapheme' }),
});

fc.assert(
  fc.property(fc.string({ unit: 'grapheme' }), order, (question, asked) => {
    // Text that spells a special token would be read as one; a real pipeline refuses such rows.
    fc.pre(!`${question}${asked.item}${asked.day}`.includes('<|'));
    const answer = JSON.stringify(asked);
    const row = labelled(question, answer);
    if (E.isLeft(row)) throw new Error(row.left.message);
    const trained = row.right.labels.filter((label) => label !== ignoreIndex);
    const text = tokenizer.decode(trained);
    if (text !== `${answer}<|im_end|>`) throw new Error(`trained on ${text}`);
  }),
);
console.log('the law holds');
