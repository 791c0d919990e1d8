import { Script } from 'node:vm';
import { describe, expect, test } from '@jest/globals';
import { ignoreIndex } from '../../src/records.js';
import { report, tokensOfRow, type ReportStep } from '../../src/train/report/report.js';
import { escape, html } from '../../src/train/report/markup.js';
import { bytes, clock, short, ticks } from '../../src/train/report/numbers.js';
import { contentPolicy, script } from '../../src/train/report/page.js';

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

/** What the page was given. */
const dataOf = (page: string): Readonly<Record<string, unknown>> =>
  JSON.parse(/<script type="application\/json" id="run">(.*?)<\/script>/s.exec(page)?.[1] ?? '') as Readonly<
    Record<string, unknown>
  >;

describe('the report', () => {
  test('holds its numbers, answers and rows as data', () => {
    const page = report({
      title: 'Shop',
      facts: [['engine', 'native']],
      steps: [1, 2, 3].map((n) => step(n)),
      rows: [[{ text: 'yes', trained: true }]],
      answers: [{ prompt: 'p', expected: 'e', before: 'b', after: 'e' }],
    });
    expect(page).toMatch(/^<!doctype html>/);
    expect(page).toContain('<title>Shop</title>');
    expect(dataOf(page)).toMatchObject({
      live: false,
      state: 'finished',
      totalSteps: 3,
      facts: [['engine', 'native']],
      steps: { step: [1, 2, 3], loss: [2, 1, 2 / 3], tokensPerSecond: [200, 200, 200] },
      rows: [[{ text: 'yes', trained: true }]],
      answers: [{ prompt: 'p', expected: 'e', before: 'b', after: 'e' }],
    });
  });

  test('may do nothing but run its own script, and asks for nothing from outside', () => {
    const page = report({ title: 'x', steps: [step(1)] });
    expect(page).toContain(`content="${escape(contentPolicy(false))}"`);
    expect(contentPolicy(false)).toMatch(
      /^default-src 'none'; script-src 'sha256-[^ ;]+'; style-src 'sha256-[^ ;]+'; /,
    );
    expect(contentPolicy(false)).toContain("connect-src 'none'");
    expect(page).not.toMatch(/<script src|<img|@import|url\((?!#)|https?:\/\/(?!www\.w3\.org\/2000\/svg)/);
    expect(page.replace('`url(#${clip})`', '')).not.toContain('url(');
  });

  test('text from the data stays text', () => {
    const evil = '</style></script><script>alert("1")</script><!--\'&\u2028';
    const page = report({
      title: evil,
      facts: [[evil, evil]],
      steps: [step(1)],
      rows: [[{ text: evil, trained: true }]],
      answers: [{ prompt: evil, expected: evil, before: evil, after: evil }],
    });
    expect(page.match(/<script/g)).toHaveLength(2);
    expect(page.match(/<\/script>/g)).toHaveLength(2);
    expect(page.match(/<\/style>/g)).toHaveLength(1);
    expect(dataOf(page)['rows']).toEqual([[{ text: evil, trained: true }]]);
  });

  test('a loss that is not finite is no number of the page', () => {
    const page = report({ title: 'x', steps: [step(1), step(2, { loss: Number.NaN }), step(3)] });
    expect(dataOf(page)).toMatchObject({ steps: { loss: [2, null, 2 / 3] } });
  });

  test('rows show a token as trained exactly where it has a label', () => {
    const row = { inputIds: Int32Array.of(5, 6, 7), labels: Int32Array.of(ignoreIndex, 6, 7), seqLengths: [3] };
    expect(tokensOfRow(row, ([id]) => `<${String(id)}>`)).toEqual([
      { text: '<5>', trained: false },
      { text: '<6>', trained: true },
      { text: '<7>', trained: true },
    ]);
  });

  test('its script is a script', () => {
    expect(() => new Script(script().replace(/export \{\};/, ''))).not.toThrow();
    expect(script()).not.toContain('</');
  });
});

describe('numbers', () => {
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
    [8_030_000_000, '8.03B'],
  ])('%d is written %s', (value, text) => {
    expect(short(value)).toBe(text);
  });

  test.each([
    [0, '0 B'],
    [999, '999 B'],
    [999_600, '1 MB'],
    [217_400_000, '217 MB'],
    [1_440_000_000, '1.4 GB'],
  ])('%d bytes are %s', (value, text) => {
    expect(bytes(value)).toBe(text);
  });

  test.each([
    [0, '0:00'],
    [67.9, '1:07'],
    [3600, '1:00:00'],
    [11_049, '3:04:09'],
  ])('%d seconds are %s', (value, text) => {
    expect(clock(value)).toBe(text);
  });

  test('a template escapes its holes, and markup only once', () => {
    expect(html`<b>${'<'}${html`<i>${'&'}</i>`}${1}</b>`.markup).toBe('<b>&lt;<i>&amp;</i>1</b>');
    expect(escape('a\u0000b"\'')).toBe('a\ufffdb&quot;&#39;');
  });
});
