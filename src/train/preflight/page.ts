/** The report as one self-contained HTML page: no script, nothing loaded, whatever the data holds escaped. */
import { known } from '../../checked.js';
import type { FormatReport } from '../../formats/examples/example.js';
import { sourceLines } from '../preparing/sourceCounts.js';
import { html, join, nothing, type Markup } from '../report/markup.js';
import { style } from '../report/style.js';
import { lengthChart } from './lengthChart.js';
import { pageStyle } from './pageStyle.js';
import type { Check } from './checks.js';
import type { Preflight } from './preflight.js';
import { percent, rowName } from './strict.js';
import { shownTokens, type ShownToken } from './tokens.js';

/** What the page of a report shows beside it. */
export interface PreflightPageOptions {
  readonly title: string;
  readonly decode: (ids: ReadonlyArray<number>) => string;
  /** Tokens of this id are shown as padding. Default 0. */
  readonly padTokenId?: number | undefined;
  /** Shown with the other facts. */
  readonly facts?: ReadonlyArray<readonly [name: string, value: string]> | undefined;
}

const number = (value = 0): string => value.toLocaleString('en-US');

const verdict = ({ passed, checks }: Preflight): Markup => {
  const failed = checks.filter((check) => !check.passed);
  if (passed) return html`<p class="verdict good"><b>Fit to train on.</b> Every check passes.</p>`;
  const why =
    failed.length === 0
      ? 'No row is left.'
      : `Rows ${failed.map(({ title, rows }) => `${title} (${number(rows)})`).join(', ')}.`;
  return html`<p class="verdict bad"><b>Not fit to train on.</b> ${why}</p>`;
};

const factsOf = (report: Preflight, more: PreflightPageOptions['facts'] = []): Markup => {
  const { rowsRead, rows, tokens, trainedTokens, packing, run } = report;
  const facts: ReadonlyArray<readonly [string, string]> = [
    ['rows read', number(rowsRead)],
    [packing.active ? 'windows' : 'rows to train on', number(rows)],
    ['tokens', number(tokens)],
    ['trained', percent(tokens === 0 ? 0 : trainedTokens / tokens)],
    [packing.active ? 'windows filled' : 'filled, if packed', percent(packing.efficiency)],
    ...(run === undefined
      ? []
      : [
          ['steps', number(run.steps)] as const,
          ['epochs', String(Number(run.epochs.toFixed(2)))] as const,
          ['tokens of the run', `≈ ${number(run.tokens)}`] as const,
        ]),
    ...more,
  ];
  return html`<section class="tiles">${join(facts.map(([name, value]) => html`<div class="tile"><h3>${name}</h3><b>${value}</b></div>`))}</section>`;
};

const sourcesOf = ({ perSource }: Preflight): Markup => {
  const lines = sourceLines(perSource);
  return lines.length === 0
    ? nothing
    : html`<section><h2>Sources</h2><ul>${join(lines.map((line) => html`<li>${line}</li>`))}</ul></section>`;
};

const foundRows = ({ rows, examples }: Check): Markup => {
  if (examples.length === 0) return nothing;
  const summary = rows > examples.length ? `first ${examples.length} of ${number(rows)}` : 'which';
  const items = examples.map((row) => html`<li><code>${rowName(row)}</code> ${row.why ?? ''}</li>`);
  return html`<details><summary>${summary}</summary><ul>${join(items)}</ul></details>`;
};

const marks = { ok: '✓', note: '·', fail: '✗' } as const;

const checkRow = (check: Check): Markup => {
  const { title, rows, share, limit, passed } = check;
  const kind = passed ? (rows === 0 ? 'ok' : 'note') : 'fail';
  return html`<tr class="${kind}"><td class="mark">${marks[kind]}</td><td>${title}${foundRows(check)}</td><td class="num">${number(rows)}</td><td class="num">${percent(share)}</td><td class="share"><span style="width:${(100 * share).toFixed(2)}%"></span></td><td class="num">${limit === 0 ? 'none' : `up to ${percent(limit)}`}</td></tr>`;
};

const checksOf = (checks: ReadonlyArray<Check>): Markup =>
  html`<section><h2>Checks</h2><div class="scroll"><table class="checks"><thead><tr><th></th><th>rows</th><th class="num">count</th><th class="num">share</th><th></th><th class="num">passes</th></tr></thead><tbody>${join(checks.map(checkRow))}</tbody></table></div></section>`;

const lengthsOf = ({ lengths, maxLength }: Preflight): Markup =>
  lengths.count === 0
    ? nothing
    : html`<section><h2>Lengths</h2>${lengthChart(lengths, maxLength)}<p class="count">${number(lengths.shortest)} to ${number(lengths.longest)} tokens, mean ${lengths.mean.toFixed(1)}, median ${number(lengths.median)}, 95 % up to ${number(lengths.p95)}</p></section>`;

const columnsTable = ({ shapes }: FormatReport): Markup =>
  html`<div class="scroll"><table><thead><tr><th>shape</th><th>column</th><th>expected</th><th>found</th></tr></thead><tbody>${join(
    shapes.flatMap(({ format, matches, columns }) =>
      columns.map(
        ({ names, expected, actual, ok }, i) =>
          html`<tr class="${matches ? 'match' : ''}"><td>${i === 0 ? format : ''}</td><td><code>${names.join(' or ')}</code></td><td>${expected}</td><td class="${ok ? 'right' : 'wrong'}">${actual}</td></tr>`,
      ),
    ),
  )}</tbody></table></div>`;

const formatOf = ({ formats, recognised, unrecognised }: Preflight): Markup => {
  const counts = Object.entries(formats).map(
    ([name, rows]) =>
      html`<span class="chip">${name === 'none' ? 'not recognised' : name} <b>${number(rows)}</b></span>`,
  );
  const one = (report: FormatReport | undefined, title: string, open: boolean): Markup =>
    report === undefined
      ? nothing
      : html`<details${open ? { markup: ' open' } : nothing}><summary>${title}: columns ${report.columns.join(', ')}</summary>${columnsTable(report)}</details>`;
  return html`<section><h2>Format</h2><p>${join(counts, ' ')}</p>${one(unrecognised, 'First row not recognised', true)}${one(recognised, 'First row recognised', false)}</section>`;
};

const warningsOf = ({ warnings, refusedByReason }: Preflight): Markup => {
  const all = [...Object.entries(refusedByReason), ...Object.entries(warnings)];
  const chips = all.map(
    ([code, count]) => html`<span class="chip"><code>${code}</code> <b>${number(count)}</b></span>`,
  );
  return all.length === 0 ? nothing : html`<section><h2>Refusals and warnings</h2><p>${join(chips, ' ')}</p></section>`;
};

/** Line ends and tabs stay visible: training on them, or not, matters. */
const visible = (text: string): string => text.replace(/\n/g, '↵\n').replace(/\t/g, '⇥');

const token = ({ id, text, state, border, weight }: ShownToken, at: number): Markup => {
  const told = `${at}: id ${id}, ${state}${weight === undefined ? '' : `, weight ${Number(weight.toFixed(4))}`}`;
  const edge = border ? html`<i class="border" title="another document"></i>` : nothing;
  const classes = `${state}${weight === undefined || state !== 'trained' ? '' : ' weighted'}`;
  return html`${edge}<span class="t ${classes}" title="${told}">${visible(text)}</span>`;
};

/** Pads beyond the first say nothing new. */
const tokensOf = (tokens: ReadonlyArray<ShownToken>): Markup => {
  const real = tokens.filter(({ state }) => state !== 'pad');
  const pads = tokens.length - real.length;
  const filled = html`<span class="t pad" title="fills the batch; never reaches the model">pad × ${pads}</span>`;
  return html`${join(real.map(token))}${pads === 0 ? nothing : filled}`;
};

const legend = html`<p class="legend-row"><span class="t trained">trained</span> <span class="t masked">masked</span> <span class="t trained weighted">weighted</span> <span class="t pad">pad</span> <span><i class="border"></i> another document begins</span></p>`;

const samplesOf = ({ samples }: Preflight, { decode, padTokenId = 0 }: PreflightPageOptions): Markup => {
  if (samples.length === 0) return nothing;
  const longest = Math.max(...samples.map(({ row }) => row.inputIds.length));
  const articles = samples.map(({ title, row }) => {
    const tokens = shownTokens(row, decode, { padTo: longest, padTokenId });
    const trained = tokens.filter(({ state }) => state === 'trained').length;
    const documents = row.seqLengths.length > 1 ? `, ${row.seqLengths.length} documents` : '';
    return html`<div class="card row"><h3>${title}</h3><pre class="text">${tokensOf(tokens)}</pre><p class="count">${trained} of ${row.inputIds.length} tokens trained${documents}</p></div>`;
  });
  return html`<section><h2>Rows, token by token</h2>${legend}<div class="cards">${join(articles)}</div></section>`;
};

/** A report on a data set as one HTML page, with its rows token by token; it asks for nothing from outside. */
export const preflightPage = (report: Preflight, options: PreflightPageOptions): string => {
  known(
    'preflightPage',
    {
      title: 'required',
      decode: 'required',
      padTokenId: 'optional',
      facts: 'optional',
      colours: 'beside',
      memory: 'beside',
    },
    options,
  );
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark"><title>${options.title}</title><style>${{ markup: style }}${pageStyle}</style></head><body><main><h1>${options.title}</h1>${verdict(report)}${factsOf(report, options.facts)}${sourcesOf(report)}${checksOf(report.checks)}${lengthsOf(report)}${formatOf(report)}${warningsOf(report)}${samplesOf(report, options)}</main></body></html>
`.markup;
};
