/** Loss weights from the data set to the targets of the loss. */
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Either } from 'fp-ts/lib/Either.js';
import type { DataError } from '../../src/errors.js';
import { chatMl } from '../../src/formats/templates/chatMl.js';
import { makeChatTemplate } from '../../src/formats/templates/chatTemplate.js';
import { batchRows } from '../../src/operators/batch.js';
import { formatRow } from '../../src/operators/format.js';
import { maskCompletionsRow } from '../../src/operators/maskCompletions.js';
import { packRows } from '../../src/operators/pack.js';
import { tokenizeRow } from '../../src/operators/tokenize.js';
import { ignoreIndex } from '../../src/records.js';
import type { Example, Labelled, Message, WeightedSpan } from '../../src/records.js';
import { sequenceOf } from '../../src/train/step/unpad.js';
import { messages, texts } from '../arbitraries/conversation.js';
import { spansOver } from '../arbitraries/example.js';
import { labelled } from '../arbitraries/rows.js';
import { wordTokenizer } from '../arbitraries/tokenizer.js';

const rightOf = <A>(either: Either<DataError, A>): A => {
  if (either._tag === 'Left') throw new Error(either.left.message);
  return either.right;
};
const template = rightOf(makeChatTemplate(chatMl.template));
// A token a character: every character's weight shows.
const tokenizer = wordTokenizer({ pieceLength: 1 });
const weight = (): fc.Arbitrary<number | undefined> => fc.constantFrom(undefined, 0, 0.25, 1, 3);

const weightsOf = (example: Example): ReadonlyArray<number> => {
  const formatted = rightOf(formatRow({ template, eosToken: '</s>' })(example));
  const { inputIds, lossWeights } = rightOf(tokenizeRow({ tokenizer })(formatted));
  return [...(lossWeights ?? new Float32Array(inputIds.length).fill(1))];
};

/** Weights of the characters of a text that stands in a stretch of weight `own`. */
const charactersOf = (text: string, own: number, spans: ReadonlyArray<WeightedSpan> = []): ReadonlyArray<number> =>
  Array.from({ length: text.length }, (_, at) => {
    const span = spans.find(({ start, end }) => start <= at && at < end);
    return Math.fround(own * (span?.weight ?? 1));
  });

const weightedMessages = (): fc.Arbitrary<ReadonlyArray<Message>> =>
  messages().chain((all) =>
    fc.tuple(
      ...all.map((message) =>
        fc.tuple(weight(), spansOver(message.content.length)).map(
          ([own, spans]): Message => ({
            ...message,
            ...(own === undefined ? {} : { weight: own }),
            ...(spans.length === 0 ? {} : { contentWeights: spans }),
          }),
        ),
      ),
    ),
  );

describe('a token weighs', () => {
  it('as its row times its message times its span', () => {
    fc.assert(
      fc.property(weightedMessages(), weight(), (all, row) => {
        const expected = all.flatMap(({ role, content, weight: own = 1, contentWeights }) => {
          const whole = (row ?? 1) * own;
          return [
            ...charactersOf(`<|im_start|>${role}\n`, whole),
            ...charactersOf(content, whole, contentWeights),
            ...charactersOf('<|im_end|>\n', whole),
          ];
        });
        const example: Example = { kind: 'messages', messages: all, ...(row === undefined ? {} : { weight: row }) };
        expect(weightsOf(example)).toEqual(expected);
      }),
    );
  });

  it('as its row times its span where no template renders it', () => {
    const spanned = fc
      .tuple(texts(), texts())
      .chain(([prompt, completion]) =>
        fc.tuple(fc.constant(prompt), fc.constant(completion), spansOver((prompt + completion).length)),
      );
    fc.assert(
      fc.property(spanned, weight(), (values, row) => {
        const [prompt, completion, textWeights] = values;
        const shared = { textWeights, ...(row === undefined ? {} : { weight: row }) };
        const whole = prompt + completion;
        const expected = [...charactersOf(whole, row ?? 1, textWeights), Math.fround(row ?? 1)];
        expect(weightsOf({ kind: 'text', text: whole, ...shared })).toEqual(expected);
        expect(weightsOf({ kind: 'promptCompletion', prompt, completion, ...shared })).toEqual(expected);
      }),
    );
  });
});

const rows = (): fc.Arbitrary<ReadonlyArray<Labelled>> =>
  fc.array(labelled({ maxDocuments: 2 }), { minLength: 1, maxLength: 5 });

describe('the loss', () => {
  it('takes a weight of 0 for a masked token', () => {
    fc.assert(
      fc.property(rows(), fc.integer({ min: 1, max: 5 }), (values, modulus) => {
        const open = values.map(({ inputIds, seqLengths }) => ({ inputIds, seqLengths }));
        const zero = (id: number): boolean => id % modulus === 0;
        const weighted = open.map((row) => ({
          ...row,
          labels: row.inputIds,
          lossWeights: Float32Array.from(row.inputIds, (id) => (zero(id) ? 0 : 1)),
        }));
        const masked = open.map((row) => ({ ...row, labels: row.inputIds.map((id) => (zero(id) ? ignoreIndex : id)) }));
        const { targets, weight: total } = sequenceOf(batchRows()(weighted));
        const expected = sequenceOf(batchRows()(masked));
        expect([targets, total]).toEqual([expected.targets, expected.weight]);
        for (const row of weighted) {
          const { labels } = rightOf(maskCompletionsRow()(row));
          expect([...labels]).toEqual(Array.from(row.inputIds, (id) => (zero(id) ? ignoreIndex : id)));
        }
      }),
    );
  });

  it('is divided by the sum of the weights that reach it', () => {
    fc.assert(
      fc.property(rows(), (values) => {
        const { targets, weight: total } = sequenceOf(batchRows()(values));
        expect(targets.weights.reduce((sum, own) => sum + own, 0)).toBeCloseTo(total, 6);
      }),
    );
  });

  it('asks for the same labels with the same weights when rows are packed', () => {
    fc.assert(
      fc.property(rows(), (values) => {
        const told = values
          .filter(({ inputIds }) => inputIds.length > 0)
          .map((row) => ({
            ...row,
            labels: row.inputIds,
            lossWeights: row.lossWeights ?? Float32Array.from(row.inputIds, (id) => id / 8),
          }));
        const asked = (all: ReadonlyArray<Labelled>): ReadonlyArray<string> => {
          const { targets } = sequenceOf(batchRows()(all));
          return Array.from(targets.labels, (label, i) => `${label}:${targets.weights[i] ?? NaN}`).sort();
        };
        expect(asked(packRows<Labelled>({ maxLength: 40 })(told))).toEqual(asked(told));
      }),
    );
  });
});
