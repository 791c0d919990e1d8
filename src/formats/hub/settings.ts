/** Where the Hub is, where its files are kept, and who asks: from the environment variables that huggingface_hub reads. */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { OptionNames } from '../../checked.js';

/** A file that is about to be downloaded. */
export interface HubDownload {
  /** `owner/name`. */
  readonly repo: string;
  /** Of the file in the repository. */
  readonly path: string;
  /** Size of the file. */
  readonly bytes: number;
  /** Bytes that an earlier try has left. */
  readonly from: number;
}

/** A file that is about to be uploaded. */
export interface HubUpload {
  /** `owner/name`. */
  readonly repo: string;
  /** Of the file in the repository. */
  readonly path: string;
  /** Size of the file. */
  readonly bytes: number;
}

/**
 * What the environment says about the Hub (`HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`), as values.
 */
export interface HubSettings {
  /** Default https://huggingface.co. */
  readonly endpoint: string;
  /** Holds `models--owner--name`, `datasets--owner--name`, …. */
  readonly cacheDir: string;
  /** Sent to the endpoint and to nobody else; never part of a message. */
  readonly token?: string | undefined;
  /** No request is made: what is not in the cache is not there. */
  readonly offline: boolean;
  /** Told before each download. */
  readonly onDownload?: ((download: HubDownload) => void) | undefined;
  /** Told before each commit of every file in it. */
  readonly onUpload?: ((upload: HubUpload) => void) | undefined;
  /** A connection that is silent for so long is given up. Default 30 s. */
  readonly silenceMs?: number | undefined;
  /** Pause before the first of five repeated tries; doubled each time. Default 500 ms. */
  readonly retryMs?: number | undefined;
}

/** Its names, for calls that no compiler has looked at. */
export const hubSettingNames: OptionNames<Partial<HubSettings>> = {
  endpoint: 'optional',
  cacheDir: 'optional',
  token: 'optional',
  offline: 'optional',
  onDownload: 'optional',
  onUpload: 'optional',
  silenceMs: 'optional',
  retryMs: 'optional',
};

type Environment = Readonly<Record<string, string | undefined>>;

const isTrue = (text: string | undefined): boolean => /^(1|on|yes|true)$/i.test(text ?? '');

const expanded = (path: string, home: string): string => path.replace(/^~(?=\/|$)/, home);

const tokenIn = (file: string): string | undefined => {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
};

/** HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME; HF_ENDPOINT; HF_TOKEN, HF_TOKEN_PATH; HF_HUB_OFFLINE: each as the Python library takes it. */
export const hubSettings = (env: Environment, overrides: Partial<HubSettings> = {}): HubSettings => {
  const home = homedir();
  const given = (name: string): string | undefined => (env[name] === '' ? undefined : env[name]);
  const hfHome = expanded(
    given('HF_HOME') ?? join(given('XDG_CACHE_HOME') ?? join(home, '.cache'), 'huggingface'),
    home,
  );
  const secret =
    given('HF_TOKEN') ??
    given('HUGGING_FACE_HUB_TOKEN') ??
    (isTrue(env['HF_HUB_DISABLE_IMPLICIT_TOKEN'])
      ? undefined
      : tokenIn(expanded(given('HF_TOKEN_PATH') ?? join(hfHome, 'token'), home)));
  // A line feed at the end of a pasted token must not become part of a header.
  const token = secret?.trim();
  return {
    endpoint: (given('HF_ENDPOINT') ?? 'https://huggingface.co').replace(/\/+$/, ''),
    cacheDir: expanded(given('HF_HUB_CACHE') ?? given('HUGGINGFACE_HUB_CACHE') ?? join(hfHome, 'hub'), home),
    token: token === '' ? undefined : token,
    offline: isTrue(given('HF_HUB_OFFLINE') ?? env['TRANSFORMERS_OFFLINE']),
    ...overrides,
  };
};
