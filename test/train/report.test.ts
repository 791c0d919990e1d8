import { describe, expect, test } from '@jest/globals';
import { ignoreIndex } from '../../src/records.js';
import { report, tokensOfRow, type ReportStep } from '../../src/train/report.js';
import { lineChart, short, smooth, ticks } from '../../src/train/report/chart.js';
import { escape, html } from '../../src/train/report/markup.js';

const step = (n: number, over: Partial<ReportStep> = {}): ReportStep => ({
  step: n,
  loss: 2 / n,
  learningRate: 1e-3,
  gradNorm: 1,
  numTokens: 100,
  meanTokenAccuracy: 0.5,
  seconds: n / 2,
  ...over,
});

describe('the report', () => {
  test('holds facts, charts, answers and rows', () => {
    const page = report({
      title: 'Shop',
      facts: [['engine', 'native']],
      steps: [1, 2, 3].map((n) => step(n)),
      rows: [
        [
          { text: 'Hi\n', trained: false },
          { text: 'yes', trained: true },
        ],
      ],
      answers: [{ prompt: 'p', expected: 'e', before: 'b', after: 'e' }],
    });
    expect(page).toMatch(/^<!doctype html>/);
    expect(page).toContain('<dt>engine</dt><dd>native</dd>');
    expect(page.match(/<svg /g)).toHaveLength(5);
    expect(page).toContain('<span class="off">Hi↵\n</span><span class="on">yes</span>');
    expect(page).toContain('1 of 2 tokens trained');
    expect(page).toContain('<td class="wrong"><code>b</code></td><td class="right"><code>e</code></td>');
  });

  test('asks for nothing from outside and runs no script', () => {
    const page = report({ title: 'x', steps: [step(1), step(2)] });
    expect(page).not.toMatch(/<script|<link|<img|@import|url\(|https?:/);
  });

  test('text from the data stays text', () => {
    const evil = '</style><script>alert("1")</script>\'&';
    const page = report({
      title: evil,
      facts: [[evil, evil]],
      steps: [step(1)],
      rows: [[{ text: evil, trained: true }]],
      answers: [{ prompt: evil, expected: evil, before: evil, after: evil }],
    });
    expect(page).not.toContain('<script');
    expect(page.match(/<\/style>/g)).toHaveLength(1);
  });

  test('a run of one step, of none, or with a loss that is not finite still gives a page', () => {
    expect(report({ title: 'x', steps: [step(1)] })).toContain('<circle');
    expect(report({ title: 'x', steps: [] })).toContain('nothing was logged');
    expect(report({ title: 'x', steps: [step(1), step(2, { loss: Number.NaN }), step(3)] })).not.toMatch(
      /NaN|Infinity/,
    );
  });

  test('speed is tokens over the time since the step before', () => {
    const page = report({ title: 'x', steps: [step(1, { seconds: 1 }), step(2, { seconds: 1.5 })] });
    expect(page).toContain('<title>step 2: 200</title>');
  });

  test('rows show a token as trained exactly where it has a label', () => {
    const row = { inputIds: Int32Array.of(5, 6, 7), labels: Int32Array.of(ignoreIndex, 6, 7), seqLengths: [3] };
    expect(tokensOfRow(row, ([id]) => `<${String(id)}>`)).toEqual([
      { text: '<5>', trained: false },
      { text: '<6>', trained: true },
      { text: '<7>', trained: true },
    ]);
  });
});

describe('charts', () => {
  test.each([
    [0, 10, 4, [0, 5, 10]],
    [0, 0.9, 4, [0, 0.5, 1]],
    [1.2, 3.9, 4, [1, 2, 3, 4]],
    [5, 5, 4, [5]],
  ])('ticks of [%d, %d]', (low, high, count, expected) => {
    expect(ticks(low, high, count).map((tick) => Number(tick.toPrecision(12)))).toEqual(expected);
  });

  test.each([
    [0, '0'],
    [0.0002, '2e-4'],
    [0.5, '0.5'],
    [1234.56, '1235'],
    [12500, '12.5k'],
    [2_500_000, '2.5M'],
  ])('%d is written %s', (value, text) => {
    expect(short(value)).toBe(text);
  });

  test('smoothing keeps a constant and passes over what is not finite', () => {
    const smoothed = smooth(
      [3, Number.NaN, 3, 3].map((y, x) => ({ x, y })),
      0.9,
    );
    expect(smoothed.map(({ x }) => x)).toEqual([0, 2, 3]);
    for (const { y } of smoothed) expect(y).toBeCloseTo(3, 12);
  });

  test('a flat series lies inside the picture', () => {
    const { markup } = lineChart({
      title: 't',
      series: [
        {
          name: 's',
          points: [
            { x: 1, y: 7 },
            { x: 2, y: 7 },
          ],
        },
      ],
      width: 400,
      height: 200,
    });
    const ys = [...(/M([\d. L]+)"/.exec(markup)?.[1]?.matchAll(/[\d.]+ ([\d.]+)/g) ?? [])].map((match) =>
      Number(match[1]),
    );
    expect(ys).toHaveLength(2);
    for (const y of ys) expect(y).toBeGreaterThan(0);
    for (const y of ys) expect(y).toBeLessThan(200);
  });

  test('a template escapes its holes, and markup only once', () => {
    expect(html`<b>${'<'}${html`<i>${'&'}</i>`}${1}</b>`.markup).toBe('<b>&lt;<i>&amp;</i>1</b>');
    expect(escape('a\u0000b"\'')).toBe('a\ufffdb&quot;&#39;');
  });
});
