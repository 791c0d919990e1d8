/** Tools, tool calls, documents and template arguments of a row, as transformers renders and tokenises them (reference/tool_templates.py). */
import { describe, expect, test } from '@jest/globals';
import type { Either } from 'fp-ts/lib/Either.js';
import { withAddedTokens } from '../../src/formats/tokenizing/addTokens.js';
import { makeChatTemplate } from '../../src/formats/templates/chatTemplate.js';
import { decodeExample } from '../../src/formats/examples/example.js';
import { jsonlRows } from '../../src/formats/datasets/jsonlRows.js';
import { formatRow } from '../../src/operators/format.js';
import { tokenizeRow } from '../../src/operators/tokenize.js';
import { golden, goldenTokenizer } from '../formats/golden.js';

interface Line {
  readonly line: string;
  readonly text: string;
}

interface Golden {
  readonly marks: ReadonlyArray<string>;
  readonly templates: Readonly<Record<string, string>>;
  readonly rows: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly cases: ReadonlyArray<{
    readonly template: string;
    readonly row: string;
    readonly text?: string;
    readonly input_ids?: ReadonlyArray<number>;
    readonly assistant_masks?: ReadonlyArray<number>;
    readonly error?: string;
  }>;
  /** Lines of JSON Lines, and what the template "tags" makes of them. */
  readonly lines: ReadonlyArray<Line>;
  /** Lines whose tools are lists of numbers in all their spellings, and a template that looks at each. */
  readonly numbers: { readonly template: string; readonly lines: ReadonlyArray<Line> };
}

const { marks, templates, rows, cases, lines, numbers } = golden('tools.json') as Golden;

const right = <A>(either: Either<unknown, A>): A => {
  if (either._tag === 'Left') throw new Error(JSON.stringify(either.left));
  return either.right;
};
const tokenizer = right(withAddedTokens(goldenTokenizer('gpt2'), { tokens: marks, eosToken: '<|im_end|>' }));

describe('rows of data sets', () => {
  test('have their cases', () => {
    expect(cases.length).toBe(Object.keys(templates).length * Object.keys(rows).length);
    expect(cases.filter(({ error }) => error !== undefined).length).toBe(2);
  });

  test.each(cases.map((one) => [one.row, one.template, one] as const))(
    '%s with the template "%s"',
    (row, name, one) => {
      const { add_generation_prompt: addGenerationPrompt = false, ...columns } = rows[row] ?? {};
      const template = right(makeChatTemplate(templates[name] ?? '', { specialTokens: { eos_token: '<|im_end|>' } }));
      const formatting = { tokenizer, template, addGenerationPrompt: addGenerationPrompt === true };
      const formatted = formatRow(formatting)(right(decodeExample(columns)));
      if (one.error !== undefined) {
        expect(formatted).toMatchObject({
          left: { code: expect.stringMatching(/^E_TEMPLATE_(RAISED|RENDER)$/) as unknown },
        });
        return;
      }
      const { inputIds, assistantMask } = right(tokenizeRow({ tokenizer })(right(formatted)));
      expect(right(formatted)).toMatchObject({ text: one.text });
      expect([...inputIds]).toEqual(one.input_ids);
      if (one.assistant_masks !== undefined) expect([...(assistantMask ?? [])]).toEqual(one.assistant_masks);
    },
  );

  const numberLines = numbers.lines.map(({ line, text }) => [line, text, numbers.template] as const);
  test.each([...lines.map(({ line, text }) => [line, text, templates['tags'] ?? ''] as const), ...numberLines])(
    'numbers print as Python reads them: %s',
    (line, text, source) => {
      const template = right(makeChatTemplate(source, { specialTokens: { eos_token: '<|im_end|>' } }));
      const read = jsonlRows('rows.jsonl', { firstLine: 1, bytes: Buffer.from(line) });
      expect(
        read.map((row) => formatRow({ tokenizer, template })(right(decodeExample('value' in row ? row.value : row)))),
      ).toMatchObject([{ right: { text } }]);
    },
  );

  test('tools as JSON text, and a field that a column format filled with null, mean the same', () => {
    const { tools, messages } = rows['call'] as { readonly tools: unknown; readonly messages: ReadonlyArray<object> };
    const template = right(makeChatTemplate(templates['tags'] ?? ''));
    const text = (row: unknown): unknown => right(formatRow({ tokenizer, template })(right(decodeExample(row))));
    expect(text({ tools: JSON.stringify(tools), messages })).toEqual(text({ tools, messages }));
    // Arrow gives every message the fields of all.
    const filled = messages.map((message) => ({ tool_calls: null, name: null, weight: null, ...message }));
    expect(text({ tools, messages: filled, documents: null })).toEqual(text({ tools, messages }));
  });
});
