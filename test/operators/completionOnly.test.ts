/** Completion-only labels: every row of the table for TRL 0.7.10's collator, and what the default makes of the same rows. */
import { describe, expect, it } from '@jest/globals';
import type { Warning } from '../../src/errors.js';
import { maskCompletionsRow } from '../../src/operators/maskCompletions.js';
import type { MaskCompletionsOptions } from '../../src/operators/maskCompletions.js';
import { padRow } from '../../src/operators/pad.js';
import { responseSpans } from '../../src/operators/responses.js';
import type { Labelled } from '../../src/records.js';

const numbers = (text: string): ReadonlyArray<number> => text.split(' ').map(Number);
const rowOf = (text: string) => {
  const inputIds = Int32Array.from(numbers(text));
  return { inputIds, seqLengths: [inputIds.length] };
};
const shown = (labels: Int32Array, ignored = -100): string =>
  Array.from(labels, (label) => (label === ignored ? '·' : String(label))).join(' ');

const masked = (text: string, options: MaskCompletionsOptions) => {
  const warnings: Array<string> = [];
  const result = maskCompletionsRow({ ...options, warn: ({ code }: Warning) => warnings.push(code) })(rowOf(text));
  if (result._tag === 'Left') throw new Error(result.left.message);
  return { labelled: result.right, labels: shown(result.right.labels), warnings };
};

const single: MaskCompletionsOptions = { responseTemplate: [7, 8] };
const multi: MaskCompletionsOptions = { responseTemplate: [7, 8], instructionTemplate: [5, 6] };
const parity: MaskCompletionsOptions = { parity: 'trl-0.7.10', padTokenId: 40 };
const response = 'W_RESPONSE_NOT_FOUND';
const instruction = 'W_INSTRUCTION_NOT_FOUND';

interface Case {
  readonly name: string;
  readonly options: MaskCompletionsOptions;
  readonly input: string;
  readonly parity: string;
  readonly default: string;
  readonly warnings?: ReadonlyArray<string>;
  readonly padTokenId?: number;
}

const cases: ReadonlyArray<Case> = [
  {
    name: 'single, two matches',
    options: single,
    input: '1 7 8 3 7 8 4 41',
    parity: '· · · · · · 4 41',
    default: '· · · · · · 4 41',
  },
  {
    name: 'single, template cut off at the end',
    options: single,
    input: '1 2 3 7',
    parity: '· · · ·',
    default: '· · · ·',
    warnings: [response],
  },
  {
    name: 'single, template is the last thing',
    options: single,
    input: '1 2 7 8',
    parity: '· · · ·',
    default: '· · · ·',
  },
  {
    name: 'overlapping template',
    options: { responseTemplate: [7, 7] },
    input: '1 7 7 7 3',
    parity: '· · · · 3',
    default: '· · · · 3',
  },
  {
    name: 'single, pad is eos',
    options: single,
    padTokenId: 41,
    input: '1 7 8 3 41',
    parity: '· · · 3 ·',
    default: '· · · 3 41',
  },
  {
    name: 'multi, system first',
    options: multi,
    input: '9 5 6 1 7 8 2 41 5 6 3 7 8 4 41',
    parity: '· · · · · · 2 41 · · · · · 4 41',
    default: '· · · · · · 2 41 · · · · · 4 41',
  },
  {
    name: 'multi, starts with assistant',
    options: multi,
    input: '7 8 2 41 5 6 3 7 8 4 41',
    parity: '· · 2 41 · · · · · 4 41',
    default: '· · 2 41 · · · · · 4 41',
  },
  {
    name: 'multi, truncated inside a user turn',
    options: multi,
    input: '5 6 1 7 8 2 41 5 6 3 3',
    parity: '· · · · · 2 41 · · · ·',
    default: '· · · · · 2 41 · · · ·',
  },
  {
    name: 'two user turns in a row',
    options: multi,
    input: '5 6 1 5 6 2 7 8 3 41 5 6 4 7 8 4 41',
    parity: '· · · · · · · · · · · · · · · · ·',
    default: '· · · · · · · · 3 41 · · · · · 4 41',
  },
  {
    name: 'two assistant turns in a row',
    options: multi,
    input: '5 6 1 7 8 3 41 7 8 4 41 5 6 2 7 8 9 41',
    parity: '· · · · · 3 41 7 8 4 41 5 6 2 7 8 9 41',
    default: '· · · · · 3 41 · · 4 41 · · · · · 9 41',
  },
  {
    name: 'multi, no response',
    options: multi,
    input: '5 6 1 2',
    parity: '· · · ·',
    default: '· · · ·',
    warnings: [response, instruction],
  },
  {
    name: 'multi, no instruction',
    options: multi,
    input: '1 7 8 2 41',
    parity: '· · · · ·',
    default: '· · · · ·',
    warnings: [instruction],
  },
];

describe.each(cases)(
  '$name',
  ({ options, input, parity: expected, default: corrected, warnings = [], padTokenId = 40 }) => {
    it('under parity', () => {
      const result = masked(input, { ...options, ...parity, padTokenId });
      expect(result.labels).toBe(expected);
      expect(result.warnings).toEqual(warnings);
    });

    it('by default', () => {
      const result = masked(input, options);
      expect(result.labels).toBe(corrected);
      // A row without response is searched as it came, so an instruction that is there is found.
      expect(result.warnings).toEqual(warnings.includes(response) ? [response] : warnings);
    });
  },
);

describe('the collator of 0.7.10 with padding', () => {
  const padded = (
    row: Labelled,
    options: { readonly length?: number; readonly multipleOf?: number; readonly paddingSide?: 'left' },
  ) => {
    const result = padRow<Labelled>({ padTokenId: 40, ...options })(row);
    if (result._tag === 'Left') throw new Error(result.left.message);
    return result.right;
  };

  it('pads on the left, rows of 5 and 8', () => {
    const [short, long] = ['1 7 8 3 41', '1 2 2 2 7 8 3 41'].map(
      (text) => masked(text, { ...single, ...parity }).labelled,
    );
    if (short === undefined || long === undefined) throw new Error('no rows');
    const five = padded(short, { length: 8, paddingSide: 'left' });
    expect([...five.inputIds]).toEqual([40, 40, 40, 1, 7, 8, 3, 41]);
    expect(shown(five.labels)).toBe('· · · · · · 3 41');
    expect(shown(padded(long, { length: 8, paddingSide: 'left' }).labels)).toBe('· · · · · · 3 41');
  });

  it('pads 5 tokens to a multiple of 4', () => {
    const row = padded(masked('1 7 8 3 41', { ...single, ...parity }).labelled, { multipleOf: 4 });
    expect([...row.inputIds]).toEqual([1, 7, 8, 3, 41, 40, 40, 40]);
    expect(shown(row.labels)).toBe('· · · 3 41 · · ·');
  });

  it('uses ignore_index for its masking only: pad ids stay at -100', () => {
    const { labelled } = masked('40 7 8 3 40 41', { ...single, ...parity, ignoreIndex: -9 });
    expect([...labelled.labels]).toEqual([-9, -9, -9, 3, -100, 41]);
  });

  it('never finds a template that holds the pad id', () => {
    expect(masked('1 7 40 3', { ...parity, responseTemplate: [7, 40] })).toMatchObject({
      labels: '· · · ·',
      warnings: [response],
    });
    expect(masked('1 7 40 3', { responseTemplate: [7, 40] }).labels).toBe('· · · 3');
  });

  it('warns when pad is eos, with an instruction template only', () => {
    const codes = (options: MaskCompletionsOptions): ReadonlyArray<string> => {
      const warnings: Array<string> = [];
      const tokenizer = { decode: () => '', eosTokenId: 40 };
      maskCompletionsRow({ ...parity, ...options, tokenizer, warn: ({ code }) => warnings.push(code) });
      return warnings;
    };
    expect(codes(multi)).toEqual(['W_PAD_EQUALS_EOS']);
    expect(codes(single)).toEqual([]);
    expect(codes({ ...multi, padTokenId: 39 })).toEqual([]);
    expect(codes({ ...multi, parity: undefined })).toEqual([]);
  });

  it('asks for a pad token, as the language-modelling collator does', () => {
    const result = maskCompletionsRow({ parity: 'trl-0.7.10' })(rowOf('1 2'));
    expect(result).toMatchObject({ left: { code: 'E_NO_PAD_TOKEN' } });
    expect(masked('1 40 2 41', { ...parity, padTokenId: 41 }).labels).toBe('1 40 2 ·');
  });

  it('trains prompts too unless told otherwise', () => {
    const row = { ...rowOf('1 2 3 4'), completionMask: Uint8Array.of(0, 0, 1, 1) };
    const labels = (options: MaskCompletionsOptions): string => {
      const result = maskCompletionsRow(options)(row);
      return result._tag === 'Right' ? shown(result.right.labels) : result.left.code;
    };
    expect(labels(parity)).toBe('1 2 3 4');
    expect(labels({ ...parity, completionOnlyLoss: true })).toBe('· · 3 4');
    expect(labels({})).toBe('· · 3 4');
    expect(labels({ completionOnlyLoss: false })).toBe('1 2 3 4');
  });
});

describe('masks', () => {
  it('refuse a row that lacks the one asked for', () => {
    expect(maskCompletionsRow({ completionOnlyLoss: true })(rowOf('1 2'))).toMatchObject({
      left: { code: 'E_NO_COMPLETION_MASK' },
    });
    expect(maskCompletionsRow({ assistantOnlyLoss: true })(rowOf('1 2'))).toMatchObject({
      left: { code: 'E_NO_ASSISTANT_MASK' },
    });
  });

  it('refuse an empty template, and with strict a row that lacks it', () => {
    expect(maskCompletionsRow({ responseTemplate: [] })(rowOf('1 2'))).toMatchObject({
      left: { code: 'E_TEMPLATE_EMPTY' },
    });
    expect(maskCompletionsRow({ responseTemplate: [9], strict: true })(rowOf('1 2'))).toMatchObject({
      left: { code: 'E_RESPONSE_NOT_FOUND' },
    });
  });

  it('keep labels that a data set brought, under whatever mask it has', () => {
    const row = { ...rowOf('1 2 3'), givenLabels: Int32Array.of(-100, 9, -1) };
    expect(
      maskCompletionsRow({ ignoreIndex: -9, assistantOnlyLoss: true, completionOnlyLoss: true })(row),
    ).toMatchObject({
      right: { labels: Int32Array.of(-9, 9, -9) },
    });
  });

  it('search each packed document for itself', () => {
    const row = { inputIds: Int32Array.of(7, 8, 3, 1, 2, 7, 8, 4), seqLengths: [3, 2, 3] };
    const result = maskCompletionsRow(single)(row);
    expect(result._tag === 'Right' && shown(result.right.labels)).toBe('· · 3 · · · · 4');
  });
});

describe('responses between templates', () => {
  const spans = (
    responses: ReadonlyArray<number>,
    instructions: ReadonlyArray<number>,
    responseLength = 4,
    instructionLength = 2,
  ) => responseSpans({ responses, responseLength, instructions, instructionLength, end: 20 });

  it('take the longer template where both begin', () => {
    expect(spans([3], [3, 12])).toEqual([{ start: 7, end: 12 }]);
  });

  it('take what begins inside the other template for a part of it', () => {
    expect(spans([3], [5, 12])).toEqual([{ start: 7, end: 12 }]);
    expect(spans([6], [5], 4, 6)).toEqual([]);
  });

  it('end where the row ends', () => {
    expect(spans([3, 15], [0, 9])).toEqual([
      { start: 7, end: 9 },
      { start: 19, end: 20 },
    ]);
    expect(spans([16], [0])).toEqual([]);
  });
});
