import fc from 'fast-check';
import { ignoreIndex } from '../../src/records.js';
import type { Example, Message, WeightedSpan } from '../../src/records.js';
import { jsonValues } from './bytes.js';

const weight = fc.double({ min: 0, max: 100, noNaN: true }).map((x) => x + 0);
const text = fc.string({ unit: 'grapheme', maxLength: 12 });
const tokenId = fc.integer({ min: 0, max: 2 ** 31 - 1 });

/** Weighted stretches of a text of this length, in order and apart. */
export const spansOver = (length: number, from = 0): fc.Arbitrary<ReadonlyArray<WeightedSpan>> =>
  fc
    .uniqueArray(fc.integer({ min: 0, max: length }), { maxLength: 4 })
    .chain((borders) => {
      const sorted = [...borders].sort((a, b) => a - b);
      const pairs = sorted.slice(0, -1).map((start, i) => [start + from, (sorted[i + 1] ?? start) + from] as const);
      return fc.tuple(...pairs.map(([start, end]) => fc.option(weight.map((own) => ({ start, end, weight: own })))));
    })
    .map((spans) => spans.filter((span) => span !== null));

const messages: fc.Arbitrary<ReadonlyArray<Message>> = fc.array(
  fc
    .record(
      { role: fc.constantFrom('system', 'user', 'assistant', 'tool'), content: text, weight, name: text },
      { requiredKeys: ['role', 'content'] },
    )
    .chain((message) =>
      spansOver(message.content.length).map((contentWeights) =>
        contentWeights.length === 0 ? message : { ...message, contentWeights },
      ),
    ),
  { minLength: 1, maxLength: 5 },
);

const withSpans = <A extends object>(row: A, spans: ReadonlyArray<WeightedSpan>): A =>
  spans.length === 0 ? row : { ...row, textWeights: spans };

/** Whatever a data set row may become. */
export const examples = (): fc.Arbitrary<Example> =>
  fc.oneof(
    fc
      .record({ kind: fc.constant('text' as const), text, weight }, { requiredKeys: ['kind', 'text'] })
      .chain((row) => spansOver(row.text.length).map((spans) => withSpans(row, spans))),
    fc
      .record(
        { kind: fc.constant('promptCompletion' as const), prompt: text, completion: text, weight },
        { requiredKeys: ['kind', 'prompt', 'completion'] },
      )
      .chain((row) =>
        fc
          .tuple(spansOver(row.prompt.length), spansOver(row.completion.length, row.prompt.length))
          .map(([before, after]) => withSpans(row, [...before, ...after])),
      ),
    fc
      .record(
        {
          kind: fc.constant('messages' as const),
          messages,
          tools: fc.array(jsonValues(), { minLength: 1, maxLength: 2 }),
          chatTemplateKwargs: fc.dictionary(text, jsonValues(), { maxKeys: 2, noNullPrototype: true }),
          weight,
        },
        { requiredKeys: ['kind', 'messages'] },
      )
      .chain((row) =>
        row.messages.length < 2
          ? fc.constant(row)
          : fc
              .option(fc.integer({ min: 1, max: row.messages.length - 1 }), { nil: undefined })
              .map((promptMessages) => ({
                ...row,
                ...(promptMessages === undefined ? {} : { promptMessages }),
              })),
      ),
    fc.array(fc.tuple(tokenId, fc.boolean(), fc.constantFrom(0, 1)), { maxLength: 6 }).chain((tokens) =>
      fc.record(
        {
          kind: fc.constant('tokenized' as const),
          inputIds: fc.constant(tokens.map(([id]) => id)),
          labels: fc.constant(tokens.map(([id, trained]) => (trained ? id : ignoreIndex))),
          attentionMask: fc.constant(tokens.map(([, , mask]) => mask)),
          lossWeights: fc.constant(tokens.map(([id]) => (id % 7) / 4)),
          weight,
        },
        { requiredKeys: ['kind', 'inputIds'] },
      ),
    ),
  );
