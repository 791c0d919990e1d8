/** The code that prepares training rows prepares the prompt as well: one record, no stream, an Either. */
import { join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { formatRow, generateText, load, orThrow, render, tokenizeRow } from 'rxtune';
import type { Example } from 'rxtune';

const base = join(import.meta.dirname, 'quickstart', 'base');
const { model, tokenizer } = await orThrow(load(base));

// What the base model knows to write after a letter is the line in the ledger.
const letter: Example = {
  kind: 'text',
  text:
    '<|im_start|>letter\nDear shop, please send three red mugs on Friday. Yours, Ada<|im_end|>\n' +
    '<|im_start|>ledger\n',
};

const prompt = pipe(letter, formatRow({ tokenizer, appendEos: false }), E.flatMap(tokenizeRow({ tokenizer })));

if (E.isLeft(prompt)) console.error(render(prompt.left));
else {
  generateText({ model, tokenizer }, prompt.right.inputIds, { maxNewTokens: 32 }).subscribe({
    next: (piece) => process.stdout.write(piece),
    complete: () => process.stdout.write('\n'),
  });
}
