/** The live page: who is answered, what is said, and what a browser makes of it. */
import { request } from 'node:http';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { orThrow } from '../../src/errors.js';
import { serveDashboard, verdictOn } from '../../src/train/report/dashboard.js';
import type { Dashboard } from '../../src/train/report/dashboard.js';
import { report } from '../../src/train/report/report.js';
import { makeRecorder } from '../../src/train/report/recorder.js';
import type { Recorder } from '../../src/train/report/recorder.js';
import type { Evaluation } from '../../src/train/run/run.js';
import { chromium, withPage } from './chromium.js';

const own = { port: 4711, secret: 'kR3t' };
const asked = { method: 'GET', url: '/kR3t/', headers: { host: '127.0.0.1:4711' } };

describe('who is answered', () => {
  test('the page and its events, by the printed address', () => {
    expect(verdictOn(asked, own)).toEqual({ give: 'page' });
    expect(verdictOn({ ...asked, url: '/kR3t/events' }, own)).toEqual({ give: 'events' });
    const headers = { host: 'localhost:4711', origin: 'http://localhost:4711', 'sec-fetch-site': 'same-origin' };
    expect(verdictOn({ ...asked, headers }, own)).toEqual({ give: 'page' });
  });

  test.each([
    ['another name for this machine', { headers: { host: 'evil.example:4711' } }, 403],
    ['no name', { headers: {} }, 403],
    ['another port', { headers: { host: '127.0.0.1:80' } }, 403],
    ['a page from elsewhere', { headers: { ...asked.headers, origin: 'http://evil.example' } }, 403],
    ['a page of no origin', { headers: { ...asked.headers, origin: 'null' } }, 403],
    ['a link or frame elsewhere', { headers: { ...asked.headers, 'sec-fetch-site': 'cross-site' } }, 403],
    ['another method', { method: 'POST' }, 405],
    ['no secret', { url: '/' }, 404],
    ['another secret', { url: '/kR3u/' }, 404],
    ['the beginning of the secret', { url: '/kR3/' }, 404],
    ['another page', { url: '/kR3t/etc' }, 404],
    ['a way out', { url: '/kR3t/../kR3t/' }, 404],
    ['a query', { url: '/kR3t/?x' }, 404],
  ])('not %s', (_, over, refuse) => {
    expect(verdictOn({ ...asked, ...over }, own)).toEqual({ refuse });
  });

  test('nothing that does not hold the secret, whatever it is', () => {
    fc.assert(
      fc.property(fc.webPath(), fc.string(), (path, text) => {
        for (const url of [path, text, `/${text}/`]) {
          if (!url.includes('kR3t')) expect(verdictOn({ ...asked, url }, own)).toEqual({ refuse: 404 });
        }
      }),
      { numRuns: 50 },
    );
  });
});

const step = (n: number) => ({
  step: n,
  epoch: n / 10,
  loss: 3 / n,
  learningRate: 0.01,
  gradNorm: 1 + 1 / n,
  numTokens: 100,
  numItems: 50,
  meanTokenAccuracy: 0.5,
  entropy: 1,
});

const group = { perplexity: 2, meanTokenAccuracy: 0.5, numTokens: 3 };
const evaluation: Evaluation = {
  step: 2,
  epoch: 0.2,
  loss: 1.5,
  tokenLoss: 1.4,
  perplexity: 4,
  meanTokenAccuracy: 0.6,
  entropy: 1,
  rows: 2,
  numItems: 9,
  numTokens: 12,
  roles: { assistant: { ...group, loss: 1.2 }, user: { ...group, loss: 2.5 } },
  sources: {},
  metrics: { eval_loss: 1.5 },
  hardest: [
    {
      index: 1,
      loss: 4,
      numTokens: 1,
      correct: 0,
      file: 'held.jsonl',
      line: 2,
      tokenLosses: Float32Array.of(NaN, 4),
      tokens: [{ text: '<b>' }, { text: 'no</script>', loss: 4 }],
    },
  ],
};

let time = 0;
let recorder: Recorder;
let dashboard: Dashboard | undefined;
beforeEach(() => {
  time = 0;
  recorder = makeRecorder({ title: 'A <run>', now: () => (time += 100), memory: () => 5e8 });
});
afterEach(async () => {
  await dashboard?.close();
  dashboard = undefined;
});

interface Answer {
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly text: string;
}

const get = (url: string, headers: Readonly<Record<string, string>> = {}, until?: string): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const sent = request(url, { headers }, (response) => {
      let text = '';
      const done = (): void => resolve({ status: response.statusCode, headers: response.headers, text });
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        if (until === undefined || !text.includes(until)) return;
        done();
        response.destroy();
      });
      response.on('end', done).on('error', () => undefined);
    });
    sent.on('error', reject).end();
  });

describe('the server', () => {
  test('gives the page with a policy that lets it do nothing else', async () => {
    dashboard = await orThrow(serveDashboard(recorder));
    expect(dashboard.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/[\w-]{32}\/$/);
    const { status, headers, text } = await get(dashboard.url);
    expect(status).toBe(200);
    expect(headers['content-security-policy']).toContain("default-src 'none'; script-src 'sha256-");
    expect(headers['content-security-policy']).toContain("frame-ancestors 'none'");
    expect(headers).toMatchObject({ 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' });
    expect(text).toContain('<title>A &lt;run&gt;</title>');
  });

  test('refuses what comes by another name, and tells nothing', async () => {
    dashboard = await orThrow(serveDashboard(recorder));
    const { status, text } = await get(dashboard.url, { host: 'evil.example' });
    expect([status, text]).toEqual([403, 'not here\n']);
  });

  test('tells the record first, then what changes, then the end', async () => {
    recorder.add({ kind: 'step', step: step(1) });
    dashboard = await orThrow(serveDashboard(recorder, { everyMs: 1 }));
    const told = get(`${dashboard.url}events`, {}, 'event: end');
    const first = await get(`${dashboard.url}events`, {}, 'event: record');
    expect(first.headers['content-type']).toMatch(/^text\/event-stream/);
    expect(first.text).toContain('"loss":[3]');
    recorder.add({ kind: 'step', step: step(2) });
    await dashboard.close();
    const events = [...(await told).text.matchAll(/^event: (\w+)$/gm)].map((match) => match[1]);
    expect(events).toEqual(['record', 'news', 'end']);
    expect((await told).text).toContain('"loss":1.5');
  });

  test('two runs cannot have one port', async () => {
    dashboard = await orThrow(serveDashboard(recorder));
    const { port } = new URL(dashboard.url);
    await expect(orThrow(serveDashboard(recorder, { port: Number(port) }))).rejects.toMatchObject({
      code: 'E_DASHBOARD',
      kind: 'usage',
    });
  });
});

const browser = chromium();
if (browser === undefined) {
  test('skipped: pages in a browser (no Chromium found; CHROMIUM=path names one)', () => {
    expect(browser).toBeUndefined();
  });
} else {
  describe('in Chromium', () => {
    const drawn = (n: number): string => `document.documentElement.dataset.drawn === '${n}'`;

    test('the page follows a run that goes on, and asks for nothing from elsewhere', async () => {
      const served = await orThrow(serveDashboard(recorder, { everyMs: 10 }));
      dashboard = served;
      await withPage(browser, async (page) => {
        await page.goto(served.url);
        await page.until(drawn(0));
        for (const n of [1, 2, 3]) recorder.add({ kind: 'step', step: step(n) });
        recorder.add({ kind: 'evaluation', evaluation });
        await page.until(drawn(3));
        await page.until("document.querySelectorAll('.card mark').length === 1");
        // Text from the data is text.
        expect(await page.evaluate("document.querySelector('.card mark').textContent")).toBe('no</script>');
        expect(await page.evaluate("document.querySelectorAll('figure:not([hidden]) svg.plot').length")).toBe(8);
        await served.close();
        await page.until("document.querySelector('footer').textContent.startsWith('The whole page')");
        expect(page.complaints()).toEqual([]);
        expect(page.requests()).toEqual([served.url, `${served.url}events`]);
      });
    });

    test('a finished page tells values under the pointer, changes its axis, and fits a phone', async () => {
      for (const n of [1, 2, 3, 4, 5]) recorder.add({ kind: 'step', step: step(n) });
      recorder.add({ kind: 'evaluation', evaluation });
      const dir = mkdtempSync(join(tmpdir(), 'rxtune-report-'));
      const file = join(dir, 'report.html');
      writeFileSync(file, report({ title: 'A run', record: recorder.record() }));
      try {
        await withPage(browser, async (page) => {
          await page.resize(1200, 900);
          await page.dark(true);
          await page.goto(pathToFileURL(file).href);
          await page.until(drawn(5));
          expect(await page.evaluate('document.documentElement.dataset.theme')).toBe('dark');
          const place = (await page.evaluate(`(() => {
            const box = document.querySelector('figure.wide svg').getBoundingClientRect();
            return { x: box.right - 2, y: box.top + 100 };
          })()`)) as { readonly x: number; readonly y: number };
          await page.move(place.x, place.y);
          await page.until("document.querySelector('figure.wide .tip').hidden === false");
          const tip = String(await page.evaluate("document.querySelector('figure.wide .tip').textContent"));
          expect(tip).toContain('step 5 · epoch 0.5');
          expect(tip).toContain('evaluation1.5');
          // Every chart shows where that is.
          expect(await page.evaluate("document.querySelectorAll('.plot .cursor').length")).toBeGreaterThan(5);
          await page.evaluate(
            "[...document.querySelectorAll('.seg button')].find((b) => b.textContent === 'Epoch').click()",
          );
          await page.until("[...document.querySelectorAll('figure.wide text')].some((t) => t.textContent === 'epoch')");
          await page.resize(390, 800);
          await page.until('document.documentElement.scrollWidth <= 390');
          expect(page.complaints()).toEqual([]);
        });
      } finally {
        rmSync(dir, { recursive: true, force: true });
      }
    });
  });
}
