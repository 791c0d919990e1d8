/** The report as text for a terminal. */
import { known } from '../../checked.js';
import type { FormatReport } from '../../formats/examples/example.js';
import { sourceLines } from '../preparing/sourceCounts.js';
import type { Check } from './checks.js';
import type { Preflight } from './preflight.js';
import { percent, rowName } from './strict.js';
import { shownTokens, type ShownToken } from './tokens.js';
import { counted } from '../../formats/counted.js';

/** What the text of a report shows beside it, and how. */
export interface PreflightTextOptions {
  /** Colours of a terminal; without, marks stand in their place. */
  readonly colours: boolean;
  readonly decode: (ids: ReadonlyArray<number>) => string;
  /** Tokens of this id are shown as padding. Default 0. */
  readonly padTokenId?: number | undefined;
  /** Shown behind the numbers. */
  readonly facts?: ReadonlyArray<readonly [name: string, value: string]> | undefined;
  /** What the run would need, behind those. */
  readonly memory?: ReadonlyArray<readonly [name: string, value: string]> | undefined;
}

type Paint = (text: string) => string;
interface Palette {
  readonly trained: Paint;
  readonly masked: Paint;
  readonly pad: Paint;
  readonly border: string;
  readonly good: Paint;
  readonly bad: Paint;
  readonly title: Paint;
}

const ansi =
  (code: string): Paint =>
  (text) =>
    text === '' ? '' : `\u001b[${code}m${text}\u001b[0m`;
const same: Paint = (text) => text;

const paletteOf = (colours: boolean): Palette =>
  colours
    ? {
        trained: ansi('32'),
        masked: ansi('2'),
        pad: ansi('2;7'),
        border: '\u001b[35m│\u001b[0m',
        good: ansi('32'),
        bad: ansi('31'),
        title: ansi('1'),
      }
    : {
        trained: (text) => `⟦${text}⟧`,
        masked: same,
        pad: same,
        border: '│',
        good: same,
        bad: same,
        title: same,
      };

/** Text that cannot move the cursor or change colours: control characters of the data are shown, not sent. */
export const harmless = (text: string): string =>
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  text.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, (character) => {
    if (character === '\t') return '⇥';
    const code = character.charCodeAt(0);
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : '\ufffd';
  });

/** Tokens in stretches of one state; a stretch ends at a document's border. */
const stretchesOf = (tokens: ReadonlyArray<ShownToken>): ReadonlyArray<ReadonlyArray<ShownToken>> => {
  const stretches: Array<Array<ShownToken>> = [];
  for (const token of tokens) {
    const last = stretches.at(-1);
    if (last === undefined || token.border || last.at(-1)?.state !== token.state) stretches.push([token]);
    else last.push(token);
  }
  return stretches;
};

/** A row for the terminal: trained stretches green, or in ⟦ ⟧ without colours; a bar where another document begins. */
const shownRow = (tokens: ReadonlyArray<ShownToken>, colours: boolean): string => {
  const palette = paletteOf(colours);
  return stretchesOf(tokens)
    .map((stretch) => {
      const [first] = stretch;
      const border = first?.border === true ? palette.border : '';
      if (first?.state === 'pad') return `${border}${palette.pad(`·pad × ${stretch.length}·`)}`;
      const text = harmless(stretch.map((token) => token.text).join(''));
      return border + (first?.state === 'trained' ? palette.trained(text) : palette.masked(text));
    })
    .join('');
};

const number = (value = 0): string => value.toLocaleString('en-US');

const table = (lines: ReadonlyArray<readonly [string, string]>): string => {
  const width = Math.max(0, ...lines.map(([name]) => name.length));
  return lines.map(([name, value]) => `  ${name.padEnd(width)}  ${value}\n`).join('');
};

const missingColumns = ({ shapes }: FormatReport): string =>
  shapes
    .map(
      ({ format, columns }) =>
        `    ${format}: ${columns
          .filter(({ ok }) => !ok)
          .map(({ names, actual, expected }) => `"${names.join('" or "')}" is ${actual}, not ${expected}`)
          .join('; ')}\n`,
    )
    .join('');

const formatLines = ({ formats, recognised, unrecognised }: Preflight): string => {
  const counts = Object.entries(formats).map(
    ([name, rows]) => `${name === 'none' ? 'not recognised' : name} (${number(rows)})`,
  );
  const used = recognised?.shapes.find(({ format }) => format === recognised.format);
  return [
    `  ${counts.join(', ')}\n`,
    ...(recognised === undefined || used === undefined
      ? []
      : [
          `  columns ${recognised.columns.map(harmless).join(', ')}; taken for ${used.format} by ${used.columns
            .map(({ names }) => `"${names.join('" or "')}"`)
            .join(', ')}\n`,
        ]),
    ...(unrecognised === undefined
      ? []
      : [`  not recognised: columns ${unrecognised.columns.map(harmless).join(', ')}\n`, missingColumns(unrecognised)]),
  ].join('');
};

const checkLines = (checks: ReadonlyArray<Check>, palette: Palette): string =>
  checks
    .map(({ title, rows, share, limit, passed, examples }) => {
      const verdict = passed ? palette.good(rows === 0 ? '✓' : '·') : palette.bad('✗');
      const allowed = limit > 0 ? ` (up to ${percent(limit)} passes)` : '';
      const where = examples.map(
        (row) => `\n      ${harmless(rowName(row) + (row.why === undefined ? '' : `: ${row.why}`))}`,
      );
      return `  ${verdict} ${title}: ${number(rows)}${rows === 0 ? '' : `, ${percent(share)}`}${allowed}${where.join('')}\n`;
    })
    .join('');

const histogramLines = ({ lengths, maxLength }: Preflight): string => {
  // Neighbouring bins together, so that a screen holds them.
  const stride = Math.max(1, Math.ceil(lengths.bins.length / 16));
  const groups = lengths.bins.flatMap((bin, i) => {
    if (i % stride !== 0) return [];
    const group = lengths.bins.slice(i, i + stride);
    return [
      { from: bin.from, to: group.at(-1)?.to ?? bin.to, count: group.reduce((sum, { count }) => sum + count, 0) },
    ];
  });
  const most = Math.max(1, ...groups.map(({ count }) => count));
  const first = groups.findIndex(({ count }) => count > 0);
  return groups
    .slice(first)
    .map(({ from, to, count }) => {
      const limit = from <= maxLength && maxLength < to ? ' ← the limit' : '';
      const shown = count === 0 ? '' : ` ${number(count)}`;
      return `  ${`${from}–${to - 1}`.padStart(13)} ${'█'.repeat(Math.ceil((32 * count) / most))}${shown}${limit}\n`;
    })
    .join('');
};

const numbersOf = ({ rowsRead, rows, tokens, trainedTokens, packing, maxLength, run, warnings }: Preflight): string =>
  table([
    ['read', number(rowsRead)],
    [packing.active ? 'windows to train on' : 'rows to train on', number(rows)],
    [
      'tokens',
      `${number(tokens)}, ${number(trainedTokens)} of them trained (${percent(tokens === 0 ? 0 : trainedTokens / tokens)})`,
    ],
    [
      packing.active ? 'packing' : 'if packed',
      `${counted(packing.windows, 'window')} of ${number(maxLength)}, ${percent(packing.efficiency)} full`,
    ],
    ...(run === undefined
      ? []
      : [
          [
            'run',
            `${counted(run.steps, 'step')}, ${counted(Number(run.epochs.toFixed(2)), 'epoch')}, about ${number(run.tokens)} tokens, ${number(run.trainedTokens)} of them trained`,
          ] as const,
        ]),
    ...Object.entries(warnings).map(([code, count]) => [code, counted(count ?? 0, 'time')] as const),
  ]);

/** A report on a data set as text for a terminal, with its rows token by token. */
export const preflightText = (report: Preflight, options: PreflightTextOptions): string => {
  const {
    colours,
    decode,
    padTokenId = 0,
    facts = [],
    memory = [],
  } = known(
    'preflightText',
    {
      title: 'beside',
      colours: 'required',
      decode: 'required',
      padTokenId: 'optional',
      facts: 'optional',
      memory: 'optional',
    },
    options,
  );
  const palette = paletteOf(colours);
  const { lengths, samples } = report;
  const longest = Math.max(0, ...samples.map(({ row }) => row.inputIds.length));
  const title = (text: string): string => `${palette.title(text)}\n`;
  return [
    title('Format'),
    formatLines(report),
    title('Rows'),
    checkLines(report.checks, palette),
    numbersOf(report),
    ...sourceLines(report.perSource).map((line) => `  ${harmless(line)}\n`),
    ...(facts.length === 0 ? [] : [title('Contamination'), table(facts)]),
    ...(memory.length === 0 ? [] : [title('Memory'), table(memory)]),
    ...(lengths.count === 0
      ? []
      : [
          title(
            `Lengths: ${number(lengths.shortest)} to ${number(lengths.longest)} tokens, mean ${lengths.mean.toFixed(1)}, median ${lengths.median}, 95 % up to ${lengths.p95}`,
          ),
          histogramLines(report),
        ]),
    ...samples.map(({ title: name, row }) => {
      const tokens = shownTokens(row, decode, { padTo: longest, padTokenId });
      const trained = tokens.filter(({ state }) => state === 'trained').length;
      return `${palette.title(harmless(name))}: ${trained} of ${row.inputIds.length} tokens trained\n${shownRow(tokens, colours)}\n\n`;
    }),
    report.passed ? palette.good('passes\n') : palette.bad('fails\n'),
  ].join('');
};
