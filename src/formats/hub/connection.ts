/** What requests to the Hub have in common, whichever way they go: who asks, and what it means that a connection fails. */
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import type { HubSettings } from './settings.js';

/** How often a request is made that comes to nothing. */
export const tries = 6;

/** Whether another try may find what this answer has not. */
export const isPassing = (status: number): boolean => status === 408 || status === 429 || status >= 500;

/** Codes with which the system says that there is nobody to talk to: trying again at once is of no use. */
export const nobody = new Set([
  'ENOTFOUND',
  'ECONNREFUSED',
  'EAI_AGAIN',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'ERR_INVALID_URL',
]);

export const codeWithin = (error: unknown): string => {
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

export const unreachable = (what: string, url: string, why: string): FatalError =>
  fatal('E_HUB_UNREACHABLE', `${what}: ${hostOf(url)} cannot be reached (${why})`, {
    hint: 'check the network and HF_ENDPOINT; HF_HUB_OFFLINE=1 uses what is in the cache',
  });

/** An address that `fetch` takes: without the name and password that a mirror's may hold. */
export const bare = (address: string): string => {
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
export const authorization = ({ endpoint, token }: HubSettings): Readonly<Record<string, string>> => {
  const { username, password } = new URL(endpoint);
  if (username !== '' || password !== '') {
    const pair = `${decoded(username)}:${decoded(password)}`;
    return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
  }
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
};

/** Why `fetch` takes no such request at all (a port that it bars, a header that is none), which no other try mends. */
export const barred = (error: unknown): string | undefined => {
  if (
    typeof error !== 'object' ||
    error === null ||
    !('name' in error) ||
    error.name !== 'TypeError' ||
    codeWithin(error) !== ''
  )
    return undefined;
  const { cause } = error as { readonly cause?: { readonly message?: unknown } | null };
  return typeof cause?.message === 'string' ? cause.message : 'no request can be made of it';
};

/** Waits before the next try, the longer the more have failed. */
export const pauseBefore = (failures: number, { retryMs = 500 }: HubSettings): Promise<void> =>
  new Promise((done) => setTimeout(done, retryMs * 2 ** (failures - 1)));
