import { describe, expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import fc from 'fast-check';
import { chatMl } from '../../src/formats/templates/chatMl.js';
import { namedTemplates } from '../../src/formats/templates/chatTemplate.js';
import { encodeExample } from '../arbitraries/encodeExample.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { preflightPage } from '../../src/train/preflight/page.js';
import { piecesOf } from '../../src/train/preflight/pieces.js';
import { histogramOf } from '../../src/train/preflight/histogram.js';
import { preflight } from '../../src/train/preflight/preflight.js';
import type { PreflightConfig } from '../../src/train/preflight/preflight.js';
import { preflightFault } from '../../src/train/preflight/strict.js';
import { harmless, preflightText } from '../../src/train/preflight/text.js';
import { shownTokens } from '../../src/train/preflight/tokens.js';
import { planSteps } from '../../src/train/step/plan.js';
import { prepareRows } from '../../src/train/preparing/prepareRows.js';
import { examples } from '../arbitraries/conversation.js';
import { jsonValues } from '../arbitraries/bytes.js';
import { labelled } from '../arbitraries/rows.js';
import { wordTokenizer } from '../arbitraries/tokenizer.js';

const configOf = (options: SftOptions): PreflightConfig & ReturnType<typeof decoded> => decoded(options);
const decoded = (options: SftOptions) => {
  const config = decodeSftConfig(options);
  if (E.isLeft(config)) throw config.left;
  return { ...config.right, maxLength: config.right.maxLength ?? 12 };
};
const tokenizer = {
  ...wordTokenizer({ addBos: true, pieceLength: 3 }),
  chatTemplate: namedTemplates(new Map([['default', chatMl.template]])),
};

const rows = (): fc.Arbitrary<ReadonlyArray<unknown>> =>
  fc.array(fc.oneof({ weight: 4, arbitrary: examples().map(encodeExample) }, { weight: 1, arbitrary: jsonValues() }), {
    maxLength: 14,
  });

const options = (): fc.Arbitrary<SftOptions> =>
  fc
    .record({
      maxLength: fc.integer({ min: 4, max: 24 }),
      packing: fc.boolean(),
      packingStrategy: fc.constantFrom('bfd' as const, 'bfd_split' as const, 'wrapped' as const),
      assistantOnlyLoss: fc.boolean(),
      parity: fc.constantFrom('trl-0.7.10' as const, undefined, undefined),
      perDeviceTrainBatchSize: fc.integer({ min: 1, max: 4 }),
    })
    .map(({ parity, ...rest }) => (parity === undefined ? rest : { ...rest, parity, shuffle: false }));

describe('a preflight', () => {
  test('tells what preparing makes of the same rows: rows, tokens, labels, refusals, cuts, windows, steps', async () => {
    await fc.assert(
      fc.asyncProperty(rows(), options(), async (raw, given) => {
        const config = configOf(given);
        const report = preflight(raw, { tokenizer }, config);
        const prepared = await prepareRows(raw, { tokenizer }, config)();
        const count = (name: string): number => report.checks.find((check) => check.name === name)?.rows ?? NaN;
        expect(report.rowsRead).toBe(raw.length);
        if (E.isLeft(prepared)) {
          expect(report.rows).toBe(0);
          expect(preflightFault(report)?.code).toBe('E_PREFLIGHT');
          return;
        }
        const { summary } = prepared.right;
        expect([report.rows, report.tokens, report.trainedTokens]).toEqual([
          summary.rows,
          summary.tokens,
          summary.trainedTokens,
        ]);
        const { E_NO_LABELS: masked = 0, ...others } = summary.rejectedByReason;
        expect(report.refusedByReason).toEqual(others);
        // Those of 0.7.10 keep their place.
        if (!config.packing && config.parity === undefined) expect(count('fullyMasked')).toBe(masked);
        // Rows that lack the mask asked for are refused once their length is known there.
        if (!(config.packing && config.parity !== undefined) && others['E_NO_ASSISTANT_MASK'] === undefined) {
          expect(count('truncated')).toBe(summary.truncated);
        }
        // Windows that are refused whole are not among the prepared ones.
        if (config.packing && masked === 0) {
          expect(report.packing.efficiency).toBeCloseTo(summary.packingEfficiency ?? NaN, 9);
        }
        expect(report.run?.steps).toBe(planSteps(summary.rows, config).totalSteps);
      }),
    );
  });

  test('shares are counts over rows, and a failed check is what strict refuses', () => {
    fc.assert(
      fc.property(rows(), options(), fc.constantFrom(0, 0.3, 1), (raw, given, limit) => {
        const config = configOf(given);
        const report = preflight(raw, { tokenizer, limits: { refused: limit, stopNotTrained: limit } }, config);
        for (const { rows: found, share, passed, limit: own, examples: some } of report.checks) {
          expect(share).toBeCloseTo(raw.length === 0 ? 0 : found / raw.length, 12);
          expect(passed).toBe(share <= own);
          expect(some.length).toBe(Math.min(5, found));
        }
        const fault = preflightFault(report);
        expect(fault === undefined).toBe(report.passed);
        for (const { name, passed } of report.checks) {
          if (fault !== undefined) expect(fault.message.includes(`\n  ${name}: `)).toBe(!passed);
        }
      }),
    );
  });

  test('never throws on anything, and writes pages and texts that data cannot break out of', () => {
    const nasty = fc.constantFrom(
      '<script>alert(1)</script>',
      '"><img src=x>',
      '\u001b[31mred\u0007',
      '&amp;',
      '</pre>',
    );
    fc.assert(
      fc.property(nasty, nasty, options(), (column, text, given) => {
        const raw = [{ [column]: text }, { prompt: text, completion: text }, { text }, { messages: [{ role: text }] }];
        const report = preflight(raw, { tokenizer }, configOf(given));
        const decode = tokenizer.decode;
        const page = preflightPage(report, { title: text, decode });
        expect(page).not.toMatch(/<(script|img|link|iframe|object)|<[^>]* (src|href|on[a-z]+)=|@import|url\(/);
        expect(page.match(/<pre[ >]/g)?.length).toBe(page.match(/<\/pre>/g)?.length);
        // eslint-disable-next-line no-control-regex -- control characters are what is looked for
        expect(preflightText(report, { colours: false, decode })).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/);
      }),
    );
  });
});

describe('what is shown', () => {
  test('the pieces of tokens, joined, are the text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), (text) => {
        // Tokens that are bytes: characters of several of them are told once they are whole.
        const ids = [...Buffer.from(text, 'utf8')];
        const decode = (some: ReadonlyArray<number>): string => Buffer.from(some).toString('utf8');
        const pieces = piecesOf(ids, decode);
        expect(pieces.length).toBe(ids.length);
        expect(pieces.join('')).toBe(Buffer.from(text, 'utf8').toString('utf8'));
      }),
    );
  });

  test('trained is what reaches the loss, borders are where documents begin, pads fill up', () => {
    fc.assert(
      fc.property(labelled({ maxDocuments: 3 }), fc.nat(30), (row, padTo) => {
        const open = { ...row, labels: row.labels.map((label) => (label === -9 ? -100 : label)) };
        const tokens = shownTokens(open, (ids) => ids.join(), { padTo, padTokenId: 7 });
        expect(tokens.length).toBe(Math.max(padTo, row.inputIds.length));
        expect(tokens.filter(({ state }) => state === 'pad').length).toBe(Math.max(0, padTo - row.inputIds.length));
        const documents = row.seqLengths.filter((length) => length > 0).length;
        expect(tokens.filter(({ border }) => border).length).toBe(Math.max(0, documents - 1));
        const starts = new Set(tokens.flatMap(({ border }, t) => (border || t === 0 ? [t] : [])));
        for (const [t, { state }] of tokens.entries()) {
          const learns =
            t < row.inputIds.length &&
            (open.labels[t] ?? -100) !== -100 &&
            !starts.has(t) &&
            row.lossWeights?.[t] !== 0;
          expect(state === 'trained').toBe(learns);
        }
      }),
    );
  });

  test('harmless text has no control characters, and all the others', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(harmless(text).length).toBe(text.length);
        // eslint-disable-next-line no-control-regex -- control characters are what is looked for
        expect(harmless(text)).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
      }),
    );
  });

  test('a histogram counts every length in the bin it lies in', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(3000)), (lengths) => {
        const { bins, count, longest } = histogramOf(lengths);
        expect(count).toBe(lengths.length);
        expect(longest).toBe(Math.max(0, ...lengths));
        expect(bins.length).toBeLessThanOrEqual(41);
        for (const bin of bins) {
          expect(bin.count).toBe(lengths.filter((length) => bin.from <= length && length < bin.to).length);
        }
        expect(bins.reduce((sum, bin) => sum + bin.count, 0)).toBe(lengths.length);
      }),
    );
  });
});
