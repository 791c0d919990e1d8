/**
 * The live page of a run, for this machine's own browser: a server on 127.0.0.1 whose every address holds a secret. It answers its
 * own page only: other sites that the browser has open can neither read it nor reach it by a name of theirs (DNS rebinding).
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import { checked } from '../../checked.js';
import { usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { contentPolicy, page } from './page.js';
import type { RecordChange } from './record.js';
import type { Recorder } from './recorder.js';

/** Where and how often the page of a run is served. */
export interface DashboardOptions {
  /** Default 0: any that is free. */
  readonly port?: number | undefined;
  /** Milliseconds between two messages to a page. Default 250. */
  readonly everyMs?: number | undefined;
}

/** A page that is being served. */
export interface Dashboard {
  /** Where the page is, its secret included. */
  readonly url: string;
  /** Tells pages that the run is over and ends the server. */
  readonly close: () => Promise<void>;
}

interface Asked {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly headers: Pick<IncomingHttpHeaders, 'host' | 'origin'> & {
    readonly 'sec-fetch-site'?: string | string[] | undefined;
  };
}

export type Verdict = { readonly give: 'page' | 'events' } | { readonly refuse: 400 | 403 | 404 | 405 };

const same = (a: string, b: string): boolean => {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
};

/**
 * What a request is answered with. Refused: names of the machine that are not its own (403), requests that another site's page
 * makes (403), other methods than GET (405), and whatever does not hold the secret (404).
 */
export const verdictOn = (
  { method, url = '', headers }: Asked,
  { port, secret }: { readonly port: number; readonly secret: string },
): Verdict => {
  const hosts = [`127.0.0.1:${port}`, `localhost:${port}`];
  if (headers.host === undefined || !hosts.includes(headers.host)) return { refuse: 403 };
  if (headers.origin !== undefined && headers.origin !== `http://${headers.host}`) return { refuse: 403 };
  // Following the printed address is `none`; the page's own requests are `same-origin`.
  if (!['none', 'same-origin', undefined].includes(headers['sec-fetch-site'] as string | undefined)) {
    return { refuse: 403 };
  }
  if (method !== 'GET') return { refuse: 405 };
  const [, given = '', rest, ...more] = url.split('/');
  if (!same(given, secret) || more.length > 0) return { refuse: 404 };
  if (rest === '') return { give: 'page' };
  return rest === 'events' ? { give: 'events' } : { refuse: 404 };
};

const common = {
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
} as const;

/** Bytes that wait for a page that does not read; beyond, it is let go (and comes back by itself, with a fresh record). */
const mostWaiting = 8 << 20;

const message = (event: string, data: unknown): string => `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;

/** Pages that listen; what changes is gathered and sent every so often. */
const makeListeners = (recorder: Recorder, everyMs: number) => {
  const listeners = new Set<ServerResponse>();
  let news: Array<RecordChange> = [];
  let timer: NodeJS.Timeout | undefined;
  const send = (text: string): void => {
    for (const listener of listeners) {
      if (listener.writableLength > mostWaiting) {
        listeners.delete(listener);
        listener.destroy();
      } else listener.write(text);
    }
  };
  const flush = (): void => {
    timer = undefined;
    if (news.length > 0) send(message('news', news));
    news = [];
  };
  const subscription = recorder.changes.subscribe((change) => {
    if (listeners.size === 0) return;
    news.push(change);
    timer ??= setTimeout(flush, everyMs).unref();
  });
  return {
    add: (response: ServerResponse): void => {
      // What waits is in the record already; who listens has been promised it.
      flush();
      response.writeHead(200, { ...common, 'content-type': 'text/event-stream; charset=utf-8' });
      response.write(`retry: 1000\n${message('record', { ...recorder.record(), live: true })}`);
      listeners.add(response);
      response.on('close', () => listeners.delete(response));
    },
    end: (): void => {
      subscription.unsubscribe();
      clearTimeout(timer);
      flush();
      send(message('end', {}));
      for (const listener of listeners) listener.end();
      listeners.clear();
    },
  };
};

const listening = (server: Server, port: number): Promise<number> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : port);
    });
  });

/**
 * Serves the page of a run on 127.0.0.1 until it is closed. It does not keep the process alive. `E_DASHBOARD` when the port cannot be
 * had.
 */
export const serveDashboard = checked(
  'serveDashboard',
  TE.left,
  { 1: { port: 'optional', everyMs: 'optional' } },
  (recorder: Recorder, { port: wanted = 0, everyMs = 250 }: DashboardOptions = {}): TaskEither<FatalError, Dashboard> =>
    TE.tryCatch(
      async () => {
        const secret = randomBytes(24).toString('base64url');
        const listeners = makeListeners(recorder, everyMs);
        let port = wanted;
        const server = createServer((request, response) => {
          const verdict = verdictOn(request, { port, secret });
          if ('refuse' in verdict) {
            response.writeHead(verdict.refuse, { ...common, 'content-type': 'text/plain' }).end('not here\n');
          } else if (verdict.give === 'events') listeners.add(response);
          else {
            const record = recorder.record();
            response
              .writeHead(200, {
                ...common,
                'content-type': 'text/html; charset=utf-8',
                'content-security-policy': `${contentPolicy(true)}; frame-ancestors 'none'`,
              })
              .end(page(record.title, record, { live: true }));
          }
        });
        port = await listening(server, wanted);
        server.unref();
        return {
          url: `http://127.0.0.1:${port}/${secret}/`,
          close: async () => {
            listeners.end();
            const closed = new Promise<void>((resolve) => server.close(() => resolve()));
            server.closeIdleConnections();
            // A page in the background may take its time to read the end.
            setTimeout(() => server.closeAllConnections(), 500).unref();
            await closed;
          },
        };
      },
      (cause) =>
        usage(
          'E_DASHBOARD',
          `the dashboard cannot be served: ${cause instanceof Error ? cause.message : String(cause)}`,
          {
            field: 'dashboardPort',
            cause,
          },
        ),
    ),
);
