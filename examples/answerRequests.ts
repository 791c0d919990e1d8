/** A service in front of a model: a check that training rows pass is one for requests, and each answer keeps its request's id. */
import { join } from 'node:path';
import { from, map, mergeMap, of, reduce, type Observable } from 'rxjs';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { dataError, generateText, load, orThrow, promptTokens, render, type Example, type Transform } from 'rxtune';

const { model, tokenizer } = await orThrow(load(join(import.meta.dirname, 'quickstart', 'base')));

/** Refuses letters that are too long. In a pipeline that trains, `mapping('brief', brief, { rejects })` is the stage. */
const brief: Transform<Example, Example> = (row) =>
  row.kind === 'text' && row.text.length > 200
    ? E.left(dataError('E_LONG_LETTER', 'the letter is too long', { expected: 'at most 200 characters' }))
    : E.right(row);

/** What the model is asked with: the line of the ledger for a letter. */
const promptOf = (letter: string) =>
  pipe(
    brief({ kind: 'text', text: `<|im_start|>letter\n${letter}<|im_end|>\n<|im_start|>ledger\n` }),
    E.flatMap(promptTokens({ tokenizer })),
  );

interface Request {
  readonly id: string;
  readonly letter: string;
}
const answer = ({ id, letter }: Request): Observable<string> =>
  pipe(
    promptOf(letter),
    E.match(
      (error) => of(`${id} refused: ${render(error).split('\n')[0]}`),
      (ids) =>
        generateText({ model, tokenizer }, ids, { maxNewTokens: 32, stop: '\n', includeStop: false }).pipe(
          reduce((text, piece) => text + piece, ''),
          map((text) => `${id} answered: ${text}`),
        ),
    ),
  );

const requests: ReadonlyArray<Request> = [
  { id: '17', letter: 'Dear shop, please send three red mugs on Friday. Yours, Ada' },
  { id: '18', letter: `Dear shop, ${'please '.repeat(40)}send two.` },
  { id: '19', letter: 'Dear shop, please send six blue lamps on Monday. Yours, Ben' },
];
// Two at a time, read in common passes through the model; an answer comes when it is done.
from(requests)
  .pipe(mergeMap(answer, 2))
  .subscribe((line) => console.log(line));
