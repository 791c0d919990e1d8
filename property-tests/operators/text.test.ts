import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { left, right } from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import * as t from 'io-ts';
import { dataError } from '../../src/errors.js';
import type { DataError, Warning } from '../../src/errors.js';
import { sourced, sourcedError } from '../../src/formats/datasets/sourced.js';
import { decode, decodeRow } from '../../src/operators/decode.js';
import { format, formatRow } from '../../src/operators/format.js';
import type { FormatOptions } from '../../src/operators/format.js';
import { maskCompletions, maskCompletionsRow } from '../../src/operators/maskCompletions.js';
import { packConstantLength, packConstantLengthRows } from '../../src/operators/packConstantLength.js';
import { tokenize, tokenizeRow } from '../../src/operators/tokenize.js';
import { tokensFrom, tokensWithin, weightsAt } from '../../src/operators/tokenSpans.js';
import type { Example, Formatted, Span, Tokenized } from '../../src/records.js';
import { examples, markedTemplate, messages, texts } from '../arbitraries/conversation.js';
import { ignored, tokenized } from '../arbitraries/rows.js';
import { specials, wordTokenizer, wordTokenizers } from '../arbitraries/tokenizer.js';
import { operatorLaws, rightsOf } from '../laws.js';

const formatting: FormatOptions = { template: markedTemplate(), eosToken: '</s>', bosToken: '<s>' };
const rightOf = <A>(either: Either<DataError, A>): A => {
  if (either._tag === 'Left') throw new Error(either.left.message);
  return either.right;
};
const asFormatted = (example: Example, options: FormatOptions = formatting): Formatted => {
  const formatted = rightOf(formatRow(options)(example));
  if ('inputIds' in formatted) throw new Error('tokenised already');
  return formatted;
};
const textual = (): fc.Arbitrary<Example> => examples().filter(({ kind }) => kind !== 'tokenized');
const tokens = wordTokenizer({ addBos: true });

const Named = t.type({ name: t.string, age: t.number });
const rawRows = (): fc.Arbitrary<unknown> =>
  fc.oneof(
    fc.record({ name: fc.string(), age: fc.nat() }),
    fc.record({ name: fc.string(), age: fc.string() }),
    fc.record({ name: fc.string(), age: fc.nat() }).map((value) => sourced('rows.jsonl', 3, value)),
    fc.constant(sourcedError('rows.jsonl', 4, dataError('E_JSON', 'no JSON'))),
    fc.constantFrom<unknown>(null, 'text', 3),
  );

operatorLaws('decode', (options) => decode(Named, options), rawRows(), rightsOf(decodeRow(Named)), { oneToOne: true });
operatorLaws(
  'format',
  (options) => format({ ...formatting, ...options }),
  examples(),
  rightsOf(formatRow(formatting)),
  { oneToOne: true },
);
operatorLaws(
  'tokenize',
  (options) => tokenize({ tokenizer: tokens, ...options }),
  examples().map((example) => rightOf(formatRow(formatting)(example))),
  rightsOf(tokenizeRow({ tokenizer: tokens })),
  { oneToOne: true },
);
operatorLaws(
  'maskCompletions',
  (options) => maskCompletions({ assistantOnlyLoss: true, ignoreIndex: ignored, ...options }),
  tokenized({ maxDocuments: 2 }),
  rightsOf(maskCompletionsRow({ assistantOnlyLoss: true, ignoreIndex: ignored })),
  { oneToOne: true },
);
const constant = { tokenizer: tokens, seqLength: 4, numOfSequences: 3, charsPerToken: 1.5, seed: 5 };
operatorLaws('packConstantLength', () => packConstantLength(constant), texts(), packConstantLengthRows(constant));

describe('decoding', () => {
  it('tells the place of what it refuses', () => {
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 1, max: 99 }), (file, line) => {
        const bad = { name: 'a', age: 'old' };
        expect(decodeRow(Named)(sourced(file, line, bad))).toEqual(
          left(
            dataError('E_ROW_SHAPE', '"age" is not as it should be', {
              file,
              line,
              field: 'age',
              expected: 'number',
              actual: '"old"',
            }),
          ),
        );
        expect(decodeRow(Named)(sourced(file, line, { name: 'a', age: 3 }))).toEqual(right({ name: 'a', age: 3 }));
      }),
    );
  });
});

describe('formatting', () => {
  it('ends plain rows with one EOS, whether or not they brought it', () => {
    fc.assert(
      fc.property(texts(), texts(), fc.boolean(), (prompt, completion, brought) => {
        const ended = brought ? `${completion}</s>` : completion;
        const text = asFormatted({ kind: 'text', text: ended });
        expect(text.text).toBe(`${completion}</s>`);
        const pair = asFormatted({ kind: 'promptCompletion', prompt, completion: ended });
        expect(pair.text).toBe(`${prompt}${completion}</s>`);
        expect(pair.completionStart).toBe(prompt.length);
        expect(asFormatted({ kind: 'text', text: ended }, { ...formatting, appendEos: false }).text).toBe(ended);
        expect(asFormatted({ kind: 'text', text: ended }, { ...formatting, parity: 'trl-0.7.10' }).text).toBe(ended);
      }),
    );
  });

  it('never lets a BOS be doubled, whoever printed the first', () => {
    fc.assert(
      fc.property(textual(), fc.boolean(), fc.boolean(), (example, templateBos, textBos) => {
        const given: Example =
          example.kind === 'text' && textBos ? { ...example, text: `<s>${example.text}` } : example;
        const formatted = asFormatted(given, { ...formatting, template: markedTemplate({ bos: templateBos }) });
        const { inputIds } = rightOf(tokenizeRow({ tokenizer: tokens })(formatted));
        expect(inputIds.filter((id) => id === specials['<s>']).length).toBeLessThanOrEqual(1);
      }),
    );
  });

  it('begins a training row with what the model is asked at inference, before and after tokenising', () => {
    fc.assert(
      fc.property(messages(), wordTokenizers(), fc.boolean(), (all, tokenizer, bos) => {
        const options = { template: markedTemplate({ bos }), eosToken: '</s>', bosToken: '<s>' };
        const asked = all.slice(0, -1);
        const prompt = asFormatted({ kind: 'messages', messages: asked }, { ...options, addGenerationPrompt: true });
        const row = asFormatted({ kind: 'messages', messages: all, promptMessages: asked.length }, options);
        expect(row.text.startsWith(prompt.text)).toBe(true);
        expect(row.completionStart).toBe(prompt.text.length);
        const promptIds = rightOf(tokenizeRow({ tokenizer })(prompt)).inputIds;
        const rowTokens = rightOf(tokenizeRow({ tokenizer })(row));
        expect([...rowTokens.inputIds.subarray(0, promptIds.length)]).toEqual([...promptIds]);
        expect(rowTokens.completionMask?.indexOf(1)).toBe(promptIds.length);
      }),
    );
  });

  it('weighs a message’s characters by message and row, and all others by the row', () => {
    fc.assert(
      fc.property(
        messages(),
        fc.constantFrom(undefined, 0.5, 3),
        fc.nat(5),
        fc.constantFrom(0, 2, 0.25),
        (all, row, at, own) => {
          const index = at % all.length;
          const weighted = all.map((message, i) => (i === index ? { ...message, weight: own } : message));
          const { weights = [] } = asFormatted({
            kind: 'messages',
            messages: weighted,
            ...(row === undefined ? {} : { weight: row }),
          });
          const { text } = asFormatted({ kind: 'messages', messages: all });
          const weightOf = (position: number): number =>
            weights.find(({ start, end }) => start <= position && position < end)?.weight ?? 1;
          const content = rightOf(markedTemplate().render({ messages: weighted })).provenance.filter(
            ({ field }) => field === 'content',
          );
          for (const { message, start, end } of content) {
            for (let p = start; p < end; p++) expect(weightOf(p)).toBe((row ?? 1) * (message === index ? own : 1));
          }
          let covered = 0;
          for (const { start, end } of weights) {
            expect(start).toBe(covered);
            covered = end;
          }
          expect(covered).toBe(text.length);
        },
      ),
    );
  });
});

describe('tokenising', () => {
  it('aligns every column with the ids, one document a row', () => {
    fc.assert(
      fc.property(examples(), wordTokenizers(), (example, tokenizer) => {
        const row = rightOf(tokenizeRow({ tokenizer })(rightOf(formatRow(formatting)(example))));
        const length = row.inputIds.length;
        expect(row.seqLengths).toEqual([length]);
        for (const column of [row.completionMask, row.assistantMask, row.lossWeights, row.givenLabels]) {
          if (column !== undefined) expect(column.length).toBe(length);
        }
      }),
    );
  });

  it('gives the same ids with offsets or without', () => {
    fc.assert(
      fc.property(textual(), wordTokenizers(), (example, tokenizer) => {
        const formatted = asFormatted(example);
        const { inputIds } = rightOf(tokenizeRow({ tokenizer })(formatted));
        const { text, addSpecialTokens } = formatted;
        expect(rightOf(tokenizeRow({ tokenizer })({ text, addSpecialTokens })).inputIds).toEqual(inputIds);
      }),
    );
  });

  it('gives no token a label that covers only prompt, nor withholds one that is all completion', () => {
    fc.assert(
      fc.property(textual(), wordTokenizers(), (example, tokenizer) => {
        const formatted = asFormatted(example);
        const { completionStart } = formatted;
        fc.pre(completionStart !== undefined);
        const row = rightOf(tokenizeRow({ tokenizer })(formatted));
        const { labels } = rightOf(
          maskCompletionsRow({ ignoreIndex: ignored })({
            ...row,
            lossWeights: new Float32Array(row.inputIds.length).fill(1),
          }),
        );
        const { offsets } = tokenizer.encodeWithOffsets(formatted.text, {
          addSpecialTokens: formatted.addSpecialTokens,
        });
        for (let i = 0; i < labels.length; i++) {
          const [start = 0, end = 0] = offsets.subarray(2 * i, 2 * i + 2);
          if (start < completionStart) expect(labels[i]).toBe(ignored);
          else if (end > start) expect(labels[i]).toBe(row.inputIds[i]);
        }
      }),
    );
  });

  it('draws the border where the prompt’s own tokens end, whenever those begin the row', () => {
    fc.assert(
      fc.property(textual(), wordTokenizers(), (example, tokenizer) => {
        const formatted = asFormatted(example);
        fc.pre(formatted.completionStart !== undefined);
        const warnings: Array<Warning> = [];
        const byIds = rightOf(
          tokenizeRow({ tokenizer, promptBorder: 'prompt_ids', warn: (w) => warnings.push(w) })(formatted),
        );
        const byOffsets = rightOf(tokenizeRow({ tokenizer })(formatted));
        fc.pre(warnings.length === 0);
        expect(byOffsets.completionMask).toEqual(byIds.completionMask);
      }),
    );
  });

  it('marks what the assistant is to write, end of turn included, and nothing else', () => {
    fc.assert(
      fc.property(messages(), wordTokenizers(), (all, tokenizer) => {
        const { inputIds, assistantMask } = rightOf(
          tokenizeRow({ tokenizer })(asFormatted({ kind: 'messages', messages: all })),
        );
        const said = tokenizer.decode(inputIds.filter((_, i) => assistantMask?.[i] === 1));
        const expected = all.filter(({ role }) => role === 'assistant').map(({ content }) => `${content}<|end|>`);
        expect(said).toBe(expected.join(''));
      }),
    );
  });

  it('finds responses by their characters, whatever the tokens', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(texts(), texts()), { minLength: 1, maxLength: 3 }),
        wordTokenizers(),
        (turns, tokenizer) => {
          // The template ends in a space, which no id search would survive.
          const text = turns.map(([q, a]) => `\n## Q: ${q}\n## A: ${a}`).join('');
          const templates = { responseTemplate: '\n## A: ', instructionTemplate: '\n## Q: ' };
          const row = rightOf(tokenizeRow({ tokenizer, ...templates })({ text, addSpecialTokens: false }));
          const { offsets } = tokenizer.encodeWithOffsets(text, { addSpecialTokens: false });
          const answers: Array<Span> = [];
          let at = 0;
          for (const [q, a] of turns) {
            const start = at + `\n## Q: ${q}\n## A: `.length;
            at = start + a.length;
            answers.push({ start, end: at });
          }
          for (let i = 0; i < row.inputIds.length; i++) {
            const [start = 0, end = 0] = offsets.subarray(2 * i, 2 * i + 2);
            const covers = answers.some((answer) => answer.start < end && start < answer.end);
            expect(row.completionMask?.[i]).toBe(covers ? 1 : 0);
          }
        },
      ),
    );
  });

  it('takes rows that hold ids as they are, padding at the ends left out', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(40)), fc.nat(3), fc.nat(3), fc.boolean(), (ids, before, after, labelled) => {
        const zeros = (count: number): ReadonlyArray<number> => new Array<number>(count).fill(0);
        const inputIds = [...zeros(before), ...ids, ...zeros(after)];
        const attentionMask = [...zeros(before), ...ids.map(() => 1), ...zeros(after)];
        const row = rightOf(
          tokenizeRow({ tokenizer: tokens })({
            kind: 'tokenized',
            inputIds,
            attentionMask,
            ...(labelled ? { labels: inputIds } : {}),
          }),
        );
        expect(row).toEqual({
          inputIds: Int32Array.from(ids),
          seqLengths: [ids.length],
          ...(labelled ? { givenLabels: Int32Array.from(ids) } : {}),
        });
      }),
    );
  });
});

describe('spans of characters', () => {
  const offsetsOf = (widths: ReadonlyArray<number>): Int32Array => {
    let at = 0;
    return Int32Array.from(widths.flatMap((width) => [at, (at += width)]));
  };
  const widths = (): fc.Arbitrary<ReadonlyArray<number>> => fc.array(fc.nat(3), { maxLength: 12 });
  const spansOver = (): fc.Arbitrary<ReadonlyArray<Span>> =>
    fc.array(fc.tuple(fc.nat(4), fc.integer({ min: 1, max: 4 })), { maxLength: 5 }).map((gaps) => {
      let at = 0;
      return gaps.map(([gap, length]) => {
        const start = at + gap;
        at = start + length;
        return { start, end: at };
      });
    });

  it('mark the tokens that cover one of their characters', () => {
    fc.assert(
      fc.property(widths(), spansOver(), (lengths, spans) => {
        const offsets = offsetsOf(lengths);
        const mask = tokensWithin(offsets, spans);
        let last = 0;
        for (const [i, width] of lengths.entries()) {
          const start = offsets[2 * i] ?? 0;
          if (width > 0) last = spans.some((span) => span.start < start + width && start < span.end) ? 1 : 0;
          expect(mask[i]).toBe(last);
        }
      }),
    );
  });

  it('weigh tokens by the first span they touch', () => {
    fc.assert(
      fc.property(widths(), spansOver(), (lengths, spans) => {
        const offsets = offsetsOf(lengths);
        const weights = weightsAt(
          offsets,
          spans.map((span, i) => ({ ...span, weight: i + 2 })),
        );
        let last = 1;
        for (const [i, width] of lengths.entries()) {
          const start = offsets[2 * i] ?? 0;
          const first = spans.findIndex((span) => span.start < start + width && start < span.end);
          if (width > 0) last = first === -1 ? 1 : first + 2;
          expect(weights[i]).toBe(last);
        }
      }),
    );
  });

  it('from a border on mark a tail of the tokens', () => {
    fc.assert(
      fc.property(widths(), fc.nat(20), (lengths, border) => {
        const { mask, crossed } = tokensFrom(offsetsOf(lengths), border);
        expect([...mask]).toEqual([...mask].sort());
        let at = 0;
        const across = lengths.some((width) => {
          const start = at;
          at += width;
          return start < border && border < at;
        });
        expect(crossed).toBe(across);
      }),
    );
  });
});

describe('masking', () => {
  it('keeps exactly what every mask allows', () => {
    fc.assert(
      fc.property(tokenized({ maxDocuments: 2 }), fc.boolean(), (row: Tokenized, assistantOnlyLoss) => {
        const result = maskCompletionsRow({ ignoreIndex: ignored, assistantOnlyLoss })(row);
        if (result._tag === 'Left') {
          expect(result.left.code).toBe('E_NO_ASSISTANT_MASK');
          expect(row.assistantMask).toBeUndefined();
          return;
        }
        for (let i = 0; i < row.inputIds.length; i++) {
          const allowed =
            row.completionMask?.[i] !== 0 &&
            (!assistantOnlyLoss || row.assistantMask?.[i] !== 0) &&
            row.lossWeights?.[i] !== 0 &&
            (row.givenLabels?.[i] ?? 0) >= 0;
          expect(result.right.labels[i]).toBe(allowed ? (row.givenLabels ?? row.inputIds)[i] : ignored);
        }
      }),
    );
  });

  it('leaves the ids and the given row alone', () => {
    fc.assert(
      fc.property(tokenized({ maxDocuments: 2 }), (row) => {
        const before = [...row.inputIds];
        const result = maskCompletionsRow({ ignoreIndex: ignored, responseTemplate: [1] })(row);
        expect([...row.inputIds]).toEqual(before);
        if (result._tag === 'Right') expect([...result.right.inputIds]).toEqual(before);
      }),
    );
  });
});

describe('windows of a constant length', () => {
  const options = { seqLength: 5, numOfSequences: 2, charsPerToken: 2 };

  it('are all full, and begin like the concatenation of the rows', () => {
    fc.assert(
      fc.property(fc.array(texts()), fc.boolean(), (rows, appendConcatToken) => {
        const windows = packConstantLengthRows({
          ...options,
          numOfSequences: Infinity,
          tokenizer: tokens,
          shuffle: false,
          appendConcatToken,
        })(rows);
        const all = rows.flatMap((text) => [
          ...tokens.encode(text, { addSpecialTokens: true }),
          ...(appendConcatToken ? [specials['</s>']] : []),
        ]);
        expect(windows.flatMap(({ inputIds }) => [...inputIds])).toEqual(all.slice(0, all.length - (all.length % 5)));
        for (const { inputIds, labels, seqLengths } of windows) {
          expect(inputIds.length).toBe(5);
          expect(labels).toEqual(inputIds);
          expect(seqLengths).toEqual([5]);
        }
      }),
    );
  });

  it('lose less than a window a buffer, and shuffling changes only the order within one', () => {
    fc.assert(
      fc.property(fc.array(texts()), fc.nat(), (rows, seed) => {
        const plain = packConstantLengthRows({ ...options, tokenizer: tokens, shuffle: false })(rows);
        const mixed = packConstantLengthRows({ ...options, tokenizer: tokens, seed })(rows);
        const keys = (windows: typeof plain): ReadonlyArray<string> =>
          windows.map(({ inputIds }) => inputIds.join()).sort();
        expect(keys(mixed)).toEqual(keys(plain));
      }),
    );
  });

  it('tell the rows’ parts apart on request', () => {
    fc.assert(
      fc.property(fc.array(texts()), (rows) => {
        const all = { ...options, numOfSequences: Infinity, tokenizer: tokens, shuffle: false };
        const separate = packConstantLengthRows({ ...all, documents: 'separate' })(rows);
        expect(separate.map(({ inputIds }) => inputIds)).toEqual(
          packConstantLengthRows(all)(rows).map(({ inputIds }) => inputIds),
        );
        const borders = new Set<number>();
        let at = 0;
        for (const text of rows) borders.add((at += tokens.encode(text, { addSpecialTokens: true }).length + 1));
        for (const [i, { seqLengths }] of separate.entries()) {
          let from = 0;
          for (const length of seqLengths.slice(0, -1)) expect(borders.has(5 * i + (from += length))).toBe(true);
          expect(seqLengths.reduce((sum, length) => sum + length, 0)).toBe(5);
          expect(seqLengths.length - 1).toBe([1, 2, 3, 4].filter((inner) => borders.has(5 * i + inner)).length);
        }
      }),
    );
  });
});
