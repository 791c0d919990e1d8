/** Requests to the Hub: redirects, refusals and broken connections, each as a typed error or another try. */
import { fatal } from '../../errors.js';
import type { ErrorCode, FatalError } from '../../errors.js';
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
const tries = 6;

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
  if (status === 408 || status === 429 || status >= 500) return again(`HTTP ${status}`);
  return refusal('E_HUB_ANSWER', `${what}: the Hub answered HTTP ${status}`, 'is HF_ENDPOINT right?');
};

/** Codes with which the system says that there is nobody to talk to: trying again at once is of no use. */
const nobody = new Set(['ENOTFOUND', 'ECONNREFUSED', 'EAI_AGAIN', 'ENETUNREACH', 'EHOSTUNREACH', 'ERR_INVALID_URL']);

const codeWithin = (error: unknown): string => {
  if (typeof error !== 'object' || error === null) return '';
  if ('code' in error && typeof error.code === 'string') return error.code;
  return 'cause' in error ? codeWithin(error.cause) : '';
};

const hostOf = (url: string): string => {
  try {
    return new URL(url).host;
  } catch {
    return 'an address that is none';
  }
};

const unreachable = (what: string, url: string, why: string): FatalError =>
  fatal('E_HUB_UNREACHABLE', `${what}: ${hostOf(url)} cannot be reached (${why})`, {
    hint: 'check the network and HF_ENDPOINT; HF_HUB_OFFLINE=1 uses what is in the cache',
  });

/** An address that `fetch` takes: without the name and password that a mirror's may hold. */
const bare = (address: string): string => {
  const url = new URL(address);
  url.username = '';
  url.password = '';
  return url.href;
};

/** What percent signs stand for; as it is where one stands for itself. */
const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

/** Who asks, told to the endpoint alone: the name and password in its address, which are a mirror's, or the token. */
const authorization = ({ endpoint, token }: HubSettings): Readonly<Record<string, string>> => {
  const { username, password } = new URL(endpoint);
  if (username !== '' || password !== '') {
    const pair = `${decoded(username)}:${decoded(password)}`;
    return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
  }
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
};

/** Why `fetch` takes no such request at all (a port that it bars, a header that is none), which no other try mends. */
const barred = (error: object): string | undefined => {
  if (!('name' in error) || error.name !== 'TypeError' || codeWithin(error) !== '') return undefined;
  const { cause } = error as { readonly cause?: { readonly message?: unknown } | null };
  return typeof cause?.message === 'string' ? cause.message : 'no request can be made of it';
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

const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

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
    await pause((settings.retryMs ?? 500) * 2 ** (failures - 1));
  }
};
