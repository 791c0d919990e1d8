/** A training run put together by hand: every stage is an operator, and any rxjs operator fits in between. */
import { join } from 'node:path';
import { filter, lastValueFrom, take, tap } from 'rxjs';
import * as E from 'fp-ts/lib/Either.js';
import { accumulate, batch, compose, decode, format, mapping, maskCompletions, pack, tokenize } from 'rxtune';
import { adamw, chain, clipByGlobalNorm, initState, linearDecay, scaleBy, step } from 'rxtune';
import { dataError, decodeExample, jsonl, load, makeGate, makeRejects, orThrow, pull, render } from 'rxtune';
import type { Example } from 'rxtune';

const shop = join(import.meta.dirname, 'quickstart');
const { model, tokenizer } = await orThrow(load(join(shop, 'base')));

// Rows that a stage with `rejects` refuses leave by the side door; more than one in a hundred would end the run.
const rejects = makeRejects({ maxRate: 0.01 });
rejects.stream.subscribe(({ stage, index, error }) => console.warn(stage, index, render(error)));

// A stage of your own: a pure function that answers with Either, lifted.
const answered = mapping(
  'answered',
  (row: Example) =>
    row.kind === 'messages' && row.messages.some(({ role }) => role === 'assistant')
      ? E.right(row)
      : E.left(dataError('E_NO_ANSWER', 'nobody answers in this row')),
  { rejects },
);

const toTokens = compose(
  decode(decodeExample, { rejects }),
  answered,
  format({ tokenizer, rejects }),
  tokenize({ tokenizer, rejects }),
);

const totalSteps = 12;
const optimizer = chain(
  clipByGlobalNorm(1),
  adamw({ weightDecay: 0.01 }),
  scaleBy(linearDecay({ learningRate: 1e-3, totalSteps })),
);

// The two ends share a gate: the file is read only as fast as the steps are made.
const gate = makeGate({ prefetch: 2 });
const steps = pull(jsonl(join(shop, 'train.jsonl')), gate).pipe(
  toTokens,
  filter(({ inputIds }) => inputIds.length <= 200),
  pack({ maxLength: 256 }),
  maskCompletions({ assistantOnlyLoss: true, rejects }),
  batch({ size: 4, padTokenId: tokenizer.padTokenId }),
  accumulate(2),
  step(initState({ model, optimizer }), gate),
  take(totalSteps),
  tap(({ step: number, loss, numTokens }) =>
    console.log(`step ${number}  loss ${loss.toFixed(4)}  ${numTokens} tokens`),
  ),
);
await lastValueFrom(steps);
