/** `fetch` as uploads need it: the token for the endpoint alone, and what may pass tried again. */
import { authorization, barred, codeWithin, isPassing, nobody, pauseBefore, tries, unreachable } from './connection.js';
import type { HubSettings } from './settings.js';

/**
 * In place of the token where the Hub's library is given one: it asks that tokens begin so. Who really asks is put there here, so that the
 * token, or a mirror's password, is in nobody else's hands.
 */
export const standIn = 'hf_rxtune';

const headersFor = (url: string, given: RequestInit['headers'], settings: HubSettings): Headers => {
  const headers = new Headers(given);
  headers.set('user-agent', 'rxtune');
  if (headers.get('authorization') !== `Bearer ${standIn}`) return headers;
  headers.delete('authorization');
  if (new URL(url).origin !== new URL(settings.endpoint).origin) return headers;
  for (const [name, value] of Object.entries(authorization(settings))) headers.set(name, value);
  return headers;
};

const addressOf = (input: Parameters<typeof fetch>[0]): string =>
  typeof input === 'string' ? input : input instanceof URL ? input.href : input.url;

/** Why there was no answer, for the next try; throws where there is to be none. */
const brokenBy = (error: unknown, what: string, url: string): string => {
  const code = codeWithin(error);
  const no = nobody.has(code) ? code : barred(error);
  if (no !== undefined) throw unreachable(what, url, no);
  return code === '' ? 'the connection broke' : code;
};

/**
 * Answers that may be others in a moment, and connections that break, are tried again, five times at most. Throws `E_HUB_UNREACHABLE`
 * where no answer comes; `what` it tells is being written. Other answers, refusals among them, are handed back.
 */
export const uploadFetch =
  (what: string, settings: HubSettings): typeof fetch =>
  async (input, init) => {
    const url = addressOf(input);
    const headers = headersFor(url, init?.headers, settings);
    for (let failures = 1; ; failures++) {
      let why: string;
      try {
        const response = await fetch(url, { ...init, headers });
        if (!isPassing(response.status) || failures >= tries) return response;
        await response.body?.cancel();
        why = `HTTP ${response.status}`;
      } catch (error) {
        init?.signal?.throwIfAborted();
        why = brokenBy(error, what, url);
      }
      if (failures >= tries) throw unreachable(what, url, why);
      await pauseBefore(failures, settings);
      init?.signal?.throwIfAborted();
    }
  };
