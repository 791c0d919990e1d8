import { describe, expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { orThrow } from '../../src/errors.js';
import type { Warning } from '../../src/errors.js';
import type { Labelled } from '../../src/records.js';
import { wordTokenizer } from '../../property-tests/arbitraries/tokenizer.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import type { SftConfig, SftOptions } from '../../src/train/options/config.js';
import { fewOfEach, maxLengthOf } from '../../src/train/preparing/prepare.js';
import { prepareRows } from '../../src/train/preparing/prepareRows.js';
import { warning } from '../../src/errors.js';

const configOf = (options: SftOptions): SftConfig & { readonly maxLength: number } => {
  const config = decodeSftConfig(options);
  if (E.isLeft(config)) throw config.left;
  return { ...config.right, maxLength: maxLengthOf(config.right) };
};

const tokenizer = wordTokenizer({ addBos: true });

const shown = ({ inputIds, labels }: Labelled): string =>
  Array.from(inputIds, (id, t) => (labels[t] === -100 ? '·' : tokenizer.decode([id]).trim())).join(' ');

describe('prepareRows', () => {
  test('masks prompts, appends the end of sequence, cuts and counts', async () => {
    const { rows, summary } = await orThrow(
      prepareRows(
        [
          { prompt: 'How are you?', completion: ' Fine, thank you.' },
          { text: 'one two three four five six seven eight' },
          { prompt: 'A prompt that is longer than a row may be', completion: ' lost' },
          { nothing: 'known' },
        ],
        { tokenizer },
        configOf({ maxLength: 8 }),
      ),
    );
    expect(rows.map(shown)).toEqual(['· · · · Fine, thank you. </s>', '<s> one two three four five six seven']);
    expect(summary).toMatchObject({
      rowsRead: 4,
      rows: 2,
      rejected: 2,
      truncated: 2,
      fullyMasked: 1,
      tokens: 16,
      trainedTokens: 11,
    });
    expect(Object.values(summary.rejectedByReason).reduce<number>((sum, count) => sum + (count ?? 0), 0)).toBe(2);
  });

  test.each([
    ['offsets', 'W_BORDER_INSIDE_TOKEN'],
    ['prompt_ids', 'W_PROMPT_NOT_PREFIX'],
  ] as const)(
    'promptBorder %s: where a token spans the border, %s is what is found wrong',
    async (promptBorder, code) => {
      const { rows, summary } = await orThrow(
        prepareRows([{ prompt: 'a: ', completion: 'yes no' }], { tokenizer }, configOf({ maxLength: 9, promptBorder })),
      );
      expect(rows.map(shown)).toEqual(['· · · no </s>']);
      expect(summary.warnings).toEqual({ [code]: 1 });
    },
  );

  test.each([
    [undefined, '· · three four'],
    [true, '· · three four'],
    [false, '<s> two three four'],
  ])('completionOnlyLoss %s: the completion that rows of ids mark', async (completionOnlyLoss, expected) => {
    const ids = tokenizer.encode('one two three four', { addSpecialTokens: true });
    const { rows } = await orThrow(
      prepareRows(
        [{ input_ids: [ids[0], ...ids.slice(2)], completion_mask: [0, 0, 1, 1], attention_mask: [1, 1, 1, 1] }],
        { tokenizer },
        configOf({ maxLength: 8, ...(completionOnlyLoss === undefined ? {} : { completionOnlyLoss }) }),
      ),
    );
    expect(rows.map(shown)).toEqual([expected]);
  });

  test('packs documents side by side and tells how full the windows are', async () => {
    const { rows, summary } = await orThrow(
      prepareRows(
        [{ text: 'a b c' }, { text: 'd' }, { text: 'e f g h i' }],
        { tokenizer },
        configOf({ maxLength: 8, packing: true }),
      ),
    );
    expect(rows.map(({ seqLengths }) => seqLengths)).toEqual([[7], [5, 3]]);
    expect(summary.packingEfficiency).toBeCloseTo(15 / 16);
  });

  test('under 0.7.10 parity cuts before it masks, and rows without a label stay', async () => {
    const rows = [{ text: 'Q one A two Q three A four' }, { text: 'no answer' }, { text: '' }, { text: 'Q A x' }];
    const options = { maxLength: 7, responseTemplate: ' A', datasetTextField: 'text' } as const;
    const parity = await orThrow(prepareRows(rows, { tokenizer }, configOf({ ...options, parity: 'trl-0.7.10' })));
    expect(parity.rows.map(shown)).toEqual(['· · · · two Q three', '· · ·', '·', '· · · x']);
    const byDefault = await orThrow(prepareRows(rows, { tokenizer }, configOf(options)));
    expect(byDefault.rows.map(shown)).toEqual(['· · · x </s>']);
    expect(byDefault.summary.rejectedByReason).toEqual({ E_NO_LABELS: 3 });
  });

  test('under 0.7.10 parity packs one stream of tokens and drops its tail', async () => {
    const { rows } = await orThrow(
      prepareRows(
        [{ text: 'a b c' }, { text: 'd e' }],
        { tokenizer },
        configOf({ maxLength: 4, packing: true, parity: 'trl-0.7.10', shuffle: false }),
      ),
    );
    expect(rows.map(shown)).toEqual(['<s> a b c', '</s> <s> d e']);
    expect(rows.map(({ seqLengths }) => seqLengths)).toEqual([[4], [4]]);
  });

  test('loss weights: of rows, parts and ids; the packing of 0.7.10 says that it knows none', async () => {
    const weighted = [
      { text: 'a b', weight: 0.5 },
      { text: [{ text: 'c' }, { text: ' d', weight: 3 }] },
      { input_ids: [1, 2, 3], loss_weights: [1, 0.25, 0], weight: 2 },
    ];
    // BOS stands in front of all text, and nothing ever asks for it.
    const { rows } = await orThrow(prepareRows(weighted, { tokenizer }, configOf({})));
    expect(rows.map(({ lossWeights }) => [...(lossWeights ?? [])])).toEqual([
      [1, 0.5, 0.5, 0.5],
      [1, 1, 3, 1],
      [2, 0.5, 0],
    ]);
    expect([...(rows[2]?.labels ?? [])]).toEqual([1, 2, -100]);
    const warnings: Array<string> = [];
    const parity = configOf({ maxLength: 4, packing: true, parity: 'trl-0.7.10' });
    const warn = ({ code }: Warning): void => void warnings.push(code);
    await orThrow(prepareRows([{ text: 'a b c d e', weight: 2 }], { tokenizer, warn }, parity));
    expect(warnings).toEqual(['W_WEIGHTS_IGNORED']);
    const byField = configOf({ datasetTextField: 'body' });
    const named = await orThrow(prepareRows([{ body: 'a b', weight: 2 }], { tokenizer }, byField));
    expect(named.rows.map(({ lossWeights }) => [...(lossWeights ?? [])])).toEqual([[1, 2, 2, 2]]);
  });

  test('a response template in words is found in the text', async () => {
    const { rows } = await orThrow(
      prepareRows(
        [{ text: 'Q: x A: y z' }],
        { tokenizer },
        configOf({ maxLength: 16, responseTemplate: 'A:', instructionTemplate: 'Q:' }),
      ),
    );
    expect(rows.map(shown)).toEqual(['· · · · y z </s>']);
  });

  test('rows that bring ids need no tokenizer, and text without one is refused', async () => {
    const { rows, summary } = await orThrow(
      prepareRows([{ input_ids: [5, 6, 7], labels: [-100, 6, 7] }, { text: 'words' }], {}, configOf({ maxLength: 16 })),
    );
    expect(rows.map(({ labels }) => Array.from(labels))).toEqual([[-100, 6, 7]]);
    expect(summary.rejectedByReason).toEqual({ E_NO_TOKENIZER: 1 });
  });

  test('nothing left to train on is an error that tells why', async () => {
    const nothing = await prepareRows(
      [{ nothing: 'a' }, { nothing: 'b' }],
      { tokenizer },
      configOf({ maxLength: 8 }),
    )();
    expect(E.isLeft(nothing) && nothing.left.code).toBe('E_NO_ROWS');
    expect(E.isLeft(nothing) && nothing.left.details.actual).toContain('2 rows read');
    expect(E.isLeft(nothing) && nothing.left.message).toMatch(/; the first refused: .*none of the known shapes/);
    expect(E.isLeft(nothing) && nothing.left.details.hint).toContain('datasetTextField');
    const short = await prepareRows(
      [{ text: 'a' }],
      { tokenizer },
      configOf({ maxLength: 64, packing: true, parity: 'trl-0.7.10' }),
    )();
    expect(E.isLeft(short) && short.left.code).toBe('E_PACKING_EMPTY');
  });

  test('too many refusals end the run', async () => {
    const result = await prepareRows(
      [{ text: 'a b' }, { nothing: 1 }],
      { tokenizer },
      configOf({ maxLength: 8, maxRejectRate: 0.2 }),
    )();
    expect(E.isLeft(result) && result.left.code).toBe('E_TOO_MANY_REJECTED');
  });
});

test('maxLength defaults to what tokenizer and model hold, at most 1024', () => {
  expect(maxLengthOf({}, { modelMaxLength: 300 }, 512)).toBe(300);
  expect(maxLengthOf({}, { modelMaxLength: 4096 }, 2048)).toBe(1024);
  expect(maxLengthOf({}, {}, 11)).toBe(11);
  expect(maxLengthOf({ maxLength: 3000 }, { modelMaxLength: 300 }, 11)).toBe(3000);
});

test('warnings that repeat are told a few times only', () => {
  const told: Array<Warning> = [];
  const warn = fewOfEach((warned) => told.push(warned), 2);
  for (let i = 0; i < 9; i++) warn(warning('W_A', 'again'));
  warn(warning('W_B', 'once'));
  expect(told.map(({ code }) => code)).toEqual(['W_A', 'W_A', 'W_A', 'W_B']);
  expect(told[2]?.message).toContain('counted only');
  told.length = 0;
  const fewer = fewOfEach((warned) => told.push(warned), 2);
  for (let i = 0; i < 2; i++) fewer(warning('W_A', 'again'));
  expect(told.map(({ message }) => message)).toEqual(['again', 'again']);
});
