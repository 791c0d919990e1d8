/** One page about a run: pure data in, a self-contained HTML document out. */
import { ignoreIndex, type Labelled, type StepResult } from '../records.js';
import { lineChart, short, smooth, type Point } from './report/chart.js';
import { html, join, nothing, type Markup } from './report/markup.js';
import { style } from './report/style.js';

/** A logged step; `seconds` is the wall time since training began. */
export type ReportStep = Pick<
  StepResult,
  'step' | 'loss' | 'learningRate' | 'gradNorm' | 'numTokens' | 'meanTokenAccuracy'
> & {
  readonly seconds?: number;
  readonly evalLoss?: number;
};

export interface ReportToken {
  readonly text: string;
  /** Whether the token has a label, so that the loss asks for it. */
  readonly trained: boolean;
}

export interface ReportAnswer {
  readonly prompt: string;
  readonly expected: string;
  readonly before: string;
  readonly after: string;
}

export interface Report {
  readonly title: string;
  /** Shown above the charts, in this order. */
  readonly facts?: ReadonlyArray<readonly [name: string, value: string]>;
  readonly steps: ReadonlyArray<ReportStep>;
  readonly rows?: ReadonlyArray<ReadonlyArray<ReportToken>>;
  readonly answers?: ReadonlyArray<ReportAnswer>;
}

/** The tokens of a row as the report shows them. */
export const tokensOfRow = (
  row: Labelled,
  decode: (ids: ReadonlyArray<number>) => string,
): ReadonlyArray<ReportToken> =>
  Array.from(row.inputIds, (id, i) => ({
    text: decode([id]),
    trained: (row.labels[i] ?? ignoreIndex) !== ignoreIndex,
  }));

/** Tokens a second between each logged step and the one before it. */
const speeds = (steps: ReadonlyArray<ReportStep>): ReadonlyArray<Point> =>
  steps.flatMap(({ step, numTokens, seconds }, i) => {
    const before = i === 0 ? 0 : steps[i - 1]?.seconds;
    return seconds === undefined || before === undefined || seconds <= before
      ? []
      : [{ x: step, y: numTokens / (seconds - before) }];
  });

const charts = (steps: ReadonlyArray<ReportStep>): Markup => {
  const over = (y: (step: ReportStep) => number): ReadonlyArray<Point> =>
    steps.map((one) => ({ x: one.step, y: y(one) }));
  const loss = over((one) => one.loss);
  const evalLoss = steps.flatMap(({ step, evalLoss: y }) => (y === undefined ? [] : [{ x: step, y }]));
  const small = (title: string, points: ReadonlyArray<Point>): Markup =>
    lineChart({ title, series: [{ name: title, points }], width: 420, height: 190, fromZero: true });
  return html`<section class="charts"><div class="wide">${lineChart({
    title: 'Loss (nats a token)',
    series: [
      { name: 'each step', points: loss, style: 'faint' },
      { name: 'smoothed', points: smooth(loss, 1 - 1 / Math.max(2, loss.length / 40)) },
      { name: 'evaluation', points: evalLoss, style: 'dots' },
    ],
    width: 880,
    height: 300,
    fromZero: true,
  })}</div>${small(
    'Learning rate',
    over((one) => one.learningRate),
  )}${small('Tokens a second', speeds(steps))}${small(
    'Token accuracy',
    over((one) => one.meanTokenAccuracy),
  )}${small(
    'Gradient norm, before clipping',
    over((one) => one.gradNorm),
  )}</section>`;
};

/** Line ends stay visible: training on them, or not, matters. */
const visible = (text: string): string => text.replace(/\n/g, '↵\n').replace(/\t/g, '⇥');

const maskedRow = (tokens: ReadonlyArray<ReportToken>): Markup => {
  const trained = tokens.filter((token) => token.trained).length;
  return html`<article><pre>${join(
    tokens.map(({ text, trained: on }) => html`<span class="${on ? 'on' : 'off'}">${visible(text)}</span>`),
  )}</pre><p class="count">${trained} of ${tokens.length} tokens trained</p></article>`;
};

const maskedRows = (rows: ReadonlyArray<ReadonlyArray<ReportToken>>): Markup =>
  rows.length === 0
    ? nothing
    : html`<section><h2>What the loss sees</h2><p>Only the <span class="on">marked tokens</span> have a label; the model reads <span class="off">the others</span> and is never asked for them.</p>${join(rows.map(maskedRow))}</section>`;

const answerRows = (answers: ReadonlyArray<ReportAnswer>): Markup => {
  const cell = (text: string, expected: string): Markup =>
    html`<td class="${text === expected ? 'right' : 'wrong'}"><code>${text}</code></td>`;
  return html`<div class="scroll"><table><thead><tr><th>prompt</th><th>before</th><th>after</th><th>expected</th></tr></thead><tbody>${join(
    answers.map(
      ({ prompt, before, after, expected }) =>
        html`<tr><td>${prompt}</td>${cell(before, expected)}${cell(after, expected)}<td><code>${expected}</code></td></tr>`,
    ),
  )}</tbody></table></div>`;
};

/** Answers shown at once; the rest unfolds. */
const few = 8;

const answerTable = (answers: ReadonlyArray<ReportAnswer>): Markup => {
  if (answers.length === 0) return nothing;
  const rest = answers.slice(few);
  return html`<section><h2>Held-out answers</h2>${answerRows(answers.slice(0, few))}${
    rest.length === 0 ? nothing : html`<details><summary>${rest.length} more</summary>${answerRows(rest)}</details>`
  }</section>`;
};

/**
 * The report of a run as one HTML document: facts, loss, learning rate, tokens a second, accuracy and gradient norm by step,
 * rows with the tokens that reach the loss marked, answers before and after. It asks for nothing from outside, holds no
 * script, follows the reader's light or dark scheme, and everything put into it is escaped.
 */
export const report = ({ title, facts = [], steps, rows = [], answers = [] }: Report): string => {
  const last = steps[steps.length - 1];
  const told: ReadonlyArray<readonly [string, string]> =
    last === undefined ? facts : [['steps', short(last.step)], ['last loss', short(last.loss)], ...facts];
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark"><title>${title}</title><style>${style}</style></head>
<body><main><h1>${title}</h1><dl>${join(told.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`))}</dl>
${charts(steps)}
${maskedRows(rows)}
${answerTable(answers)}
</main></body></html>
`.markup;
};
