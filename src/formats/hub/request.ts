/** Requests to the Hub: redirects, refusals and broken connections, each as a typed error or another try. */
import { fatal } from '../../errors.js';
import type { ErrorCode, FatalError } from '../../errors.js';
import {
  authorization,
  bare,
  barred,
  codeWithin,
  isPassing,
  nobody,
  pauseBefore,
  tries,
  unreachable,
} from './connection.js';
import type { HubSettings } from './settings.js';

export interface Asked {
  readonly url: string;
  readonly method?: 'GET' | 'HEAD';
  readonly headers?: Readonly<Record<string, string>>;
  /** Called `repository` or `repository: file` in messages; addresses are not told, they may be signed. */
  readonly what: string;
  /** Redirects to other hosts are followed (without the token) or handed back. */
  readonly leaves?: boolean;
}

const mostRedirects = 8;

/** What another try may mend. */
class Again extends Error {
  readonly _tag = 'Again';
}

export const again = (why: string): Error => new Again(why);

const isAgain = (value: unknown): value is Again =>
  typeof value === 'object' && value !== null && '_tag' in value && value._tag === 'Again';

const refusal = (code: ErrorCode, what: string, hint: string, details: { readonly actual?: string } = {}): FatalError =>
  fatal(code, what, { hint, ...details });

const withToken = 'set HF_TOKEN to a token that may read it';

/** What an answer that is none means. */
const refused = (response: Response, { what }: Asked, { token }: HubSettings): Error => {
  const { status } = response;
  const said = response.headers.get('x-error-code') ?? '';
  const known =
    token === undefined ? `if it is private, ${withToken}` : 'is the name right, and may the token read it?';
  if (said === 'GatedRepo' || (status === 403 && said === '')) {
    return refusal(
      'E_HUB_DENIED',
      `${what}: access is not granted (HTTP ${status})`,
      `ask for access on its page, then ${withToken}`,
    );
  }
  if (said === 'RevisionNotFound') {
    return refusal(
      'E_HUB_NOT_FOUND',
      `${what}: there is no such branch, tag or commit`,
      'what stands after "@" names one',
    );
  }
  if (said === 'EntryNotFound')
    return refusal('E_HUB_NO_FILE', `${what}: there is no such file`, 'is the revision right?');
  if (status === 401 || status === 404 || said === 'RepoNotFound') {
    return refusal(
      'E_HUB_NOT_FOUND',
      `${what}: the Hub has none of that name, or does not show it (HTTP ${status})`,
      known,
    );
  }
  if (status === 403) return refusal('E_HUB_DENIED', `${what}: access is refused (HTTP 403, ${said})`, withToken);
  if (isPassing(status)) return again(`HTTP ${status}`);
  return refusal('E_HUB_ANSWER', `${what}: the Hub answered HTTP ${status}`, 'is HF_ENDPOINT right?');
};

const isRedirect = (status: number): boolean => [301, 302, 303, 307, 308].includes(status);

const followed = async (asked: Asked, settings: HubSettings, signal: AbortSignal): Promise<Response> => {
  const home = new URL(settings.endpoint).origin;
  let url = bare(asked.url);
  for (let hop = 0; hop <= mostRedirects; hop++) {
    const isHome = new URL(url).origin === home;
    const response = await fetch(url, {
      method: asked.method ?? 'GET',
      redirect: 'manual',
      signal,
      headers: {
        'accept-encoding': 'identity',
        'user-agent': 'rxtune',
        ...asked.headers,
        ...(isHome ? authorization(settings) : {}),
      },
    });
    const location = response.headers.get('location');
    if (!isRedirect(response.status) || location === null) return response;
    const next = new URL(location, url);
    if (asked.leaves !== true && next.origin !== new URL(url).origin) return response;
    if (!/^https?:$/.test(next.protocol)) break;
    await response.body?.cancel();
    url = next.href;
  }
  throw fatal('E_HUB_ANSWER', `${asked.what}: the Hub redirects without end`, { hint: 'is HF_ENDPOINT right?' });
};

/**
 * `use` of the answer. A connection that breaks or falls silent, in `use` too, is tried again, five times without progress at
 * most; `use` says `progressed()` when it has something to show for it. What cannot be mended is thrown as a `FatalError`.
 */
export const requested = async <A>(
  asked: (attempt: number) => Asked | Promise<Asked>,
  settings: HubSettings,
  use: (response: Response, progressed: () => void) => Promise<A>,
): Promise<A> => {
  let failures = 0;
  for (;;) {
    const now = await asked(failures);
    const silence = new AbortController();
    const limit = settings.silenceMs ?? 30_000;
    let timer = setTimeout(() => silence.abort(), limit);
    const alive = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), limit);
    };
    let why: string;
    try {
      const response = await followed(now, settings, silence.signal);
      if (response.status < 400 || response.status === 416) {
        return await use(response, () => {
          failures = 0;
          alive();
        });
      }
      await response.body?.cancel();
      const found = refused(response, now, settings);
      if (!isAgain(found)) throw found;
      why = found.message;
    } catch (error) {
      if (isAgain(error)) why = error.message;
      else {
        if (typeof error !== 'object' || error === null || '_tag' in error) throw error;
        const code = codeWithin(error);
        if (code.startsWith('E') && /^(ENOSPC|EDQUOT|EACCES|EPERM|EROFS|EIO)$/.test(code)) throw error;
        why = silence.signal.aborted ? `silent for ${limit / 1000} s` : code === '' ? 'the connection broke' : code;
        if (nobody.has(code)) throw unreachable(now.what, now.url, why);
        const no = silence.signal.aborted ? undefined : barred(error);
        if (no !== undefined) throw unreachable(now.what, now.url, no);
      }
    } finally {
      clearTimeout(timer);
    }
    if (++failures >= tries) throw unreachable(now.what, now.url, why);
    await pauseBefore(failures, settings);
  }
};
