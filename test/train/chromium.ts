/** A headless Chromium, driven over two pipes (the DevTools protocol), for tests of pages as their readers see them. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'];

/** Where a Chromium is; undefined where none is found. `CHROMIUM` names another. */
export const chromium = (): string | undefined => {
  const given = process.env['CHROMIUM'];
  if (given !== undefined) return given;
  const folders = (process.env['PATH'] ?? '').split(':');
  return folders.flatMap((folder) => names.map((name) => join(folder, name))).find((path) => existsSync(path));
};

export interface Page {
  readonly goto: (url: string) => Promise<void>;
  /** The JSON value of an expression in the page. */
  readonly evaluate: (expression: string) => Promise<unknown>;
  /** Waits until an expression in the page is true. */
  readonly until: (expression: string) => Promise<void>;
  readonly move: (x: number, y: number) => Promise<void>;
  readonly dark: (on: boolean) => Promise<void>;
  readonly resize: (width: number, height: number) => Promise<void>;
  /** PNG, in base64. */
  readonly screenshot: () => Promise<string>;
  /** What the page complained of: failed scripts, refused requests. */
  readonly complaints: () => ReadonlyArray<string>;
  /** Addresses that the page asked for. */
  readonly requests: () => ReadonlyArray<string>;
}

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: Readonly<Record<string, unknown>>;
  readonly error?: { readonly message: string };
}

const record = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};

/** Runs `use` with a page of a browser that is gone afterwards. */
export const withPage = async <A>(path: string, use: (page: Page) => Promise<A>): Promise<A> => {
  const profile = await mkdtemp(join(tmpdir(), 'rxtune-chromium-'));
  const flags = [
    ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync'],
    ...['--disable-background-networking', '--disable-component-update', '--hide-scrollbars'],
    ...['--remote-debugging-pipe', `--user-data-dir=${profile}`, 'about:blank'],
  ];
  const child = spawn(path, flags, { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  const [, , , input, output] = child.stdio as unknown as [null, null, null, Writable, Readable];
  const waiting = new Map<number, { readonly done: (m: Message) => void; readonly failed: (error: Error) => void }>();
  const complaints: Array<string> = [];
  const requests: Array<string> = [];
  child.on('error', (error) => waiting.forEach(({ failed }) => failed(error)));
  child.on('exit', () => waiting.forEach(({ failed }) => failed(new Error('the browser ended'))));

  const heard = ({ id, method, params = {}, error, ...rest }: Message): void => {
    if (id !== undefined) {
      const own = waiting.get(id);
      waiting.delete(id);
      if (error === undefined) own?.done(rest);
      else own?.failed(new Error(error.message));
    } else if (method === 'Runtime.exceptionThrown') {
      complaints.push(JSON.stringify(params['exceptionDetails']));
    } else if (method === 'Log.entryAdded') complaints.push(String(record(params['entry'])['text']));
    else if (method === 'Network.requestWillBeSent') requests.push(String(record(params['request'])['url']));
  };
  let rest = '';
  output.setEncoding('utf8').on('data', (chunk: string) => {
    const parts = (rest + chunk).split('\0');
    rest = parts.pop() ?? '';
    for (const part of parts) heard(JSON.parse(part) as Message);
  });

  let count = 0;
  let session: string | undefined;
  const call = (method: string, params: object = {}): Promise<Readonly<Record<string, unknown>>> =>
    new Promise((resolve, reject) => {
      const id = ++count;
      waiting.set(id, { done: ({ result = {} }) => resolve(result), failed: reject });
      input.write(
        `${JSON.stringify({ id, method, params, ...(session === undefined ? {} : { sessionId: session }) })}\0`,
      );
    });

  try {
    const { targetId } = await call('Target.createTarget', { url: 'about:blank' });
    session = String((await call('Target.attachToTarget', { targetId, flatten: true }))['sessionId']);
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await call(`${domain}.enable`);
    const evaluate = async (expression: string): Promise<unknown> => {
      const { result, exceptionDetails } = await call('Runtime.evaluate', {
        expression,
        returnByValue: true,
        awaitPromise: true,
      });
      if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails));
      return record(result)['value'];
    };
    const until = async (expression: string): Promise<void> => {
      for (let tries = 0; (await evaluate(expression)) !== true; tries++) {
        if (tries === 1000) throw new Error(`never true in the page: ${expression}`);
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
    };
    return await use({
      evaluate,
      until,
      goto: async (url) => {
        await call('Page.navigate', { url });
        await until("document.readyState === 'complete' && location.href !== 'about:blank'");
      },
      move: async (x, y) => {
        await call('Input.dispatchMouseEvent', { type: 'mouseMoved', x, y });
      },
      dark: async (on) => {
        await call('Emulation.setEmulatedMedia', {
          features: [{ name: 'prefers-color-scheme', value: on ? 'dark' : 'light' }],
        });
      },
      resize: async (width, height) => {
        await call('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false });
      },
      screenshot: async () => String((await call('Page.captureScreenshot', { format: 'png' }))['data']),
      complaints: () => complaints,
      requests: () => requests,
    });
  } finally {
    child.kill('SIGKILL');
    await ended;
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  }
};
