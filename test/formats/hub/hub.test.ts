/** Models by name: downloaded, resumed, checked and kept as the Python library keeps them. */
import { afterEach, describe, expect, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { render } from '../../../src/errors.js';
import { locateModel } from '../../../src/formats/hub/locate.js';
import type { ModelPart } from '../../../src/formats/hub/modelFiles.js';
import { hubSettings } from '../../../src/formats/hub/settings.js';
import type { HubDownload, HubSettings } from '../../../src/formats/hub/settings.js';
import { temporaryDirectory } from '../temporary.js';
import { commitOf, etagOf, hubServer, type HubFile, type HubRepo, type HubServer } from './hubServer.js';

const bytes = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8) * 7 + seed) & 255);
const sha = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex');
const text = (content: string): HubFile => ({ content: new TextEncoder().encode(content) });

const weights: HubFile = { content: bytes(300_000, 3), lfs: true };
const tiny: HubRepo = {
  files: {
    'config.json': text('{"model_type": "gpt2"}'),
    'tokenizer.json': text('{}'),
    'README.md': text('# tiny'),
    'model.safetensors': weights,
    'pytorch_model.bin': { content: bytes(10, 1), lfs: true },
  },
};

const fileOf = (path: string): HubFile => tiny.files[path] ?? text('');

const root = temporaryDirectory();
let running: HubServer | undefined;
let caches = 0;
const serve = async (repos: Readonly<Record<string, HubRepo>>): Promise<HubServer> =>
  (running = await hubServer(repos));
afterEach(async () => {
  await running?.close();
  running = undefined;
});

const freshCache = (): string => join(root, `cache-${caches++}`);
const settingsFor = ({ endpoint }: HubServer, cacheDir: string, more: Partial<HubSettings> = {}): HubSettings => ({
  endpoint,
  cacheDir,
  offline: false,
  token: undefined,
  retryMs: 1,
  ...more,
});

const found = async (name: string, settings: HubSettings, part?: ModelPart) => {
  const result = await locateModel(name, { part, hub: settings })();
  if (E.isLeft(result)) throw new Error(render(result.left));
  return result.right;
};
const refused = async (name: string, settings: HubSettings, part?: ModelPart) => {
  const result = await locateModel(name, { part, hub: settings })();
  if (E.isRight(result)) throw new Error(`found in ${result.right.dir}`);
  return result.left;
};

describe('a model by name', () => {
  test('lies in the cache as huggingface_hub lays it out, and only what a model needs is fetched', async () => {
    const server = await serve({ 'models/acme/tiny': tiny });
    const cacheDir = freshCache();
    const { dir, told, fromHub } = await found('acme/tiny', settingsFor(server, cacheDir));
    const commit = commitOf('acme/tiny');
    const folder = join(cacheDir, 'models--acme--tiny');
    expect({ dir, fromHub }).toEqual({ dir: join(folder, 'snapshots', commit), fromHub: true });
    expect(told).toContain(commit);
    expect(readFileSync(join(folder, 'refs', 'main'), 'utf8')).toBe(commit);
    expect(readdirSync(dir).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
    expect(lstatSync(join(dir, 'model.safetensors')).isSymbolicLink()).toBe(true);
    expect(readlinkSync(join(dir, 'model.safetensors'))).toBe(join('..', '..', 'blobs', etagOf(weights)));
    expect(sha(readFileSync(join(dir, 'model.safetensors')))).toBe(etagOf(weights));
    expect(readdirSync(join(folder, 'blobs')).sort()).toEqual(
      ['config.json', 'tokenizer.json', 'model.safetensors'].map((path) => etagOf(fileOf(path))).sort(),
    );
  });

  test('the second time nothing is fetched again; offline nothing is asked at all', async () => {
    const server = await serve({ 'models/acme/tiny': tiny });
    const settings = settingsFor(server, freshCache());
    const first = await found('acme/tiny', settings);
    const before = server.requests.length;
    expect((await found('acme/tiny', settings)).dir).toBe(first.dir);
    expect(server.requests.slice(before).map(({ url }) => url)).toEqual(['/api/models/acme/tiny/revision/main']);
    const asked = server.requests.length;
    expect((await found('acme/tiny', { ...settings, offline: true })).dir).toBe(first.dir);
    expect((await found(`acme/tiny@${commitOf('acme/tiny')}`, settings)).dir).toBe(first.dir);
    expect(server.requests.length).toBe(asked);
  });

  test('a damaged list of files is asked for again, and offline what is there counts', async () => {
    const server = await serve({ 'models/acme/tiny': tiny });
    const settings = settingsFor(server, freshCache());
    const first = await found('acme/tiny', settings);
    const listing = join(settings.cacheDir, 'models--acme--tiny', '.rxtune', `${commitOf('acme/tiny')}.json`);
    writeFileSync(listing, '["config.js');
    expect((await found('acme/tiny', { ...settings, offline: true })).dir).toBe(first.dir);
    expect((await found(`acme/tiny@${commitOf('acme/tiny')}`, settings)).dir).toBe(first.dir);
    expect(JSON.parse(readFileSync(listing, 'utf8'))).toContain('config.json');
  });

  test('without a network the cache answers; without a cache the error says what to do', async () => {
    const server = await serve({ 'models/acme/tiny': tiny });
    const settings = settingsFor(server, freshCache());
    const first = await found('acme/tiny', settings);
    await server.close();
    expect(await found('acme/tiny', settings)).toMatchObject({ dir: first.dir });
    const error = await refused('acme/other', settings);
    expect(error.code).toBe('E_HUB_UNREACHABLE');
    expect(render(error)).toContain('nor is acme/other a directory here');
    expect((await refused('acme/other', { ...settings, offline: true })).code).toBe('E_HUB_NOT_CACHED');
  });

  test('an entry of which only a part was fetched is not taken for the whole offline', async () => {
    const server = await serve({ 'models/acme/tiny': tiny });
    const settings = settingsFor(server, freshCache());
    await found('acme/tiny', settings, 'tokenizer');
    const error = await refused('acme/tiny', { ...settings, offline: true });
    expect(error.code).toBe('E_HUB_NOT_CACHED');
    expect(error.message).toContain('model.safetensors');
  });

  test('a local directory of that name wins, and it is said which of the two is used', async () => {
    const server = await serve({ 'models/test/formats': tiny });
    const located = await found('test/formats', settingsFor(server, freshCache()));
    expect(located).toEqual({ dir: 'test/formats', told: 'the directory test/formats', fromHub: false });
    expect(server.requests).toEqual([]);
    expect((await found('hf://test/formats', settingsFor(server, freshCache()))).fromHub).toBe(true);
  });

  test('names that are paths are never asked for', async () => {
    const server = await serve({});
    for (const name of [
      './acme/tiny',
      '/acme/tiny',
      '../tiny',
      'a/b/c',
      'acme/tiny/',
      '~/tiny',
      'acme/..',
      '.cache/x',
    ]) {
      expect(await found(name, settingsFor(server, freshCache()))).toMatchObject({ dir: name, fromHub: false });
    }
    expect(server.requests).toEqual([]);
  });

  test('shards are those that the index names', async () => {
    const shard = (name: string): HubFile => ({ content: new TextEncoder().encode(name), lfs: true });
    const index = { weight_map: { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' } };
    const server = await serve({
      'models/acme/big': {
        files: {
          'config.json': text('{}'),
          'model.safetensors.index.json': text(JSON.stringify(index)),
          'model-00001-of-00002.safetensors': shard('one'),
          'model-00002-of-00002.safetensors': shard('two'),
          'old/model-00001-of-00002.safetensors': shard('old'),
        },
      },
    });
    const { dir } = await found('acme/big', settingsFor(server, freshCache()));
    expect(readdirSync(dir).sort()).toEqual([
      'config.json',
      'model-00001-of-00002.safetensors',
      'model-00002-of-00002.safetensors',
      'model.safetensors.index.json',
    ]);
  });

  test('pickled weights are fetched where no others are, in shards too', async () => {
    const index = { weight_map: { a: 'pytorch_model-00001-of-00001.bin' } };
    const server = await serve({
      'models/acme/both': {
        files: { 'config.json': text('{}'), 'pytorch_model.bin': weights, 'model.safetensors': weights },
      },
      'models/acme/old': { files: { 'config.json': text('{}'), 'pytorch_model.bin': weights, 'x.ckpt': weights } },
      'models/acme/parts': {
        files: {
          'config.json': text('{}'),
          'pytorch_model.bin.index.json': text(JSON.stringify(index)),
          'pytorch_model-00001-of-00001.bin': weights,
        },
      },
      'models/acme/lora': { files: { 'adapter_config.json': text('{}'), 'adapter_model.bin': weights } },
    });
    const filesOf = async (name: string, part?: 'adapter') =>
      readdirSync((await found(name, settingsFor(server, freshCache()), part)).dir).sort();
    expect(await filesOf('acme/both')).toEqual(['config.json', 'model.safetensors']);
    expect(await filesOf('acme/old')).toEqual(['config.json', 'pytorch_model.bin']);
    expect(await filesOf('acme/parts')).toEqual([
      'config.json',
      'pytorch_model-00001-of-00001.bin',
      'pytorch_model.bin.index.json',
    ]);
    expect(await filesOf('acme/lora', 'adapter')).toEqual(['adapter_config.json', 'adapter_model.bin']);
  });

  test('pickled weights under other names are refused before anything is fetched, with the way out', async () => {
    const server = await serve({
      'models/acme/old': { files: { 'config.json': text('{}'), 'model.pt': weights } },
    });
    const error = await refused('acme/old', settingsFor(server, freshCache()));
    expect(error.code).toBe('E_PICKLE_ONLY');
    expect(render(error)).toContain('M.from_pretrained("acme/old").save_pretrained("./old")');
    expect(server.requests.filter(({ url }) => url.includes('resolve'))).toEqual([]);
  });

  test('a repository that has moved is found under its old name', async () => {
    const server = await serve({ 'models/acme/was': { files: {}, movedTo: 'acme/tiny' }, 'models/acme/tiny': tiny });
    const { dir } = await found('acme/was', settingsFor(server, freshCache()));
    expect(sha(readFileSync(join(dir, 'model.safetensors')))).toBe(etagOf(weights));
  });
});

describe('broken connections', () => {
  test('a download goes on where it was cut, as often as it gets further', async () => {
    const server = await serve({
      'models/acme/tiny': { files: { 'config.json': text('{}'), 'model.safetensors': weights } },
    });
    const cacheDir = freshCache();
    // A break drops what the reader has not taken yet: each comes when all that was sent is on the disk.
    const partial = (): number => {
      const blobs = join(cacheDir, 'models--acme--tiny', 'blobs');
      const parts = readdirSync(blobs).filter((name) => name.includes(etagOf(weights)));
      return Math.max(0, ...parts.map((name) => statSync(join(blobs, name)).size));
    };
    const written = async (size: number): Promise<void> => {
      while (partial() < size) await new Promise((done) => setTimeout(done, 2));
    };
    const cut = 20_000;
    const breaks = Array.from({ length: 9 }, () => ({ cutAfter: cut, once: written }));
    // The first body is config.json's.
    server.faults.push({ ignoreRange: true }, ...breaks);
    const { dir } = await found('acme/tiny', settingsFor(server, cacheDir));
    expect(sha(readFileSync(join(dir, 'model.safetensors')))).toBe(etagOf(weights));
    const ranges = server.requests.filter(({ host }) => host === 'cdn').map(({ headers }) => headers.range);
    // More breaks than tries without progress, and no byte was asked for twice.
    expect(ranges).toEqual([undefined, ...breaks.map((_, i) => `bytes=${(i + 1) * cut}-`)]);
  });

  test('a later run goes on with what an interrupted one has left', async () => {
    const server = await serve({ 'models/acme/tiny': tiny });
    const cacheDir = freshCache();
    const downloads: Array<HubDownload> = [];
    const settings = settingsFor(server, cacheDir, { onDownload: (one) => downloads.push(one) });
    await found('acme/tiny', settings, 'tokenizer');
    server.faults.push(...Array.from({ length: 6 }, () => ({ status: 503 })));
    expect((await refused('acme/tiny', settings)).code).toBe('E_HUB_UNREACHABLE');
    const blob = join(cacheDir, 'models--acme--tiny', 'blobs', etagOf(weights));
    expect(existsSync(blob)).toBe(false);
    writeFileSync(`${blob}.incomplete`, weights.content.subarray(0, 123_456));
    await found('acme/tiny', settings);
    expect(downloads[downloads.length - 1]).toMatchObject({ path: 'model.safetensors', from: 123_456 });
    expect(server.requests[server.requests.length - 1]?.headers.range).toBe('bytes=123456-');
    expect(sha(readFileSync(blob))).toBe(etagOf(weights));
    expect(readdirSync(dirname(blob)).filter((name) => name.endsWith('.incomplete'))).toEqual([]);
  });

  test.each([
    ['a leftover that is longer than the file', bytes(300_001, 3)],
    ['a leftover of other content', bytes(1000, 77)],
    ['a whole leftover of other content', bytes(300_000, 78)],
  ])('%s is discarded', async (_, leftover) => {
    const server = await serve({ 'models/acme/tiny': tiny });
    const cacheDir = freshCache();
    const blobs = join(cacheDir, 'models--acme--tiny', 'blobs');
    mkdirSync(blobs, { recursive: true });
    writeFileSync(join(blobs, `${etagOf(weights)}.incomplete`), leftover);
    const { dir } = await found('acme/tiny', settingsFor(server, cacheDir));
    expect(sha(readFileSync(join(dir, 'model.safetensors')))).toBe(etagOf(weights));
  });

  test('a server that knows no ranges, or refuses one, is asked for the whole', async () => {
    for (const fault of [{ ignoreRange: true } as const, { status: 416 } as const]) {
      const server = await serve({
        'models/acme/tiny': { files: { 'config.json': text('{}'), 'model.safetensors': weights } },
      });
      server.faults.push({ ignoreRange: true }, { cutAfter: 50_000 }, fault);
      const { dir } = await found('acme/tiny', settingsFor(server, freshCache()));
      expect(sha(readFileSync(join(dir, 'model.safetensors')))).toBe(etagOf(weights));
      await server.close();
    }
  });

  test('content that does not have its hash never gets its name', async () => {
    for (const path of ['model.safetensors', 'tokenizer.json']) {
      const server = await serve({
        'models/acme/tiny': { files: { [path]: fileOf(path), 'config.json': text('{}') } },
      });
      const cacheDir = freshCache();
      server.faults.push(
        ...(path === 'tokenizer.json'
          ? [{ flipped: true } as const, { flipped: true } as const]
          : [{ ignoreRange: true } as const, { flipped: true } as const, { flipped: true } as const]),
      );
      const error = await refused(
        'acme/tiny',
        settingsFor(server, cacheDir),
        path === 'tokenizer.json' ? 'tokenizer' : 'model',
      );
      expect(error.code).toBe('E_HUB_CORRUPT');
      expect(existsSync(join(cacheDir, 'models--acme--tiny', 'blobs', etagOf(fileOf(path))))).toBe(false);
      await server.close();
    }
  });

  test('one damaged answer is mended by another', async () => {
    const server = await serve({ 'models/acme/tiny': tiny });
    server.faults.push({ flipped: true });
    const { dir } = await found('acme/tiny', settingsFor(server, freshCache()), 'tokenizer');
    expect(readFileSync(join(dir, 'tokenizer.json'), 'utf8')).toBe('{}');
  });

  test('two at once do not disturb each other', async () => {
    const server = await serve({ 'models/acme/tiny': tiny });
    const settings = settingsFor(server, freshCache());
    const all = await Promise.all([1, 2, 3].map(() => found('acme/tiny', settings)));
    for (const { dir } of all) {
      expect(sha(readFileSync(join(dir, 'model.safetensors')))).toBe(etagOf(weights));
    }
  });
});

describe('who may read', () => {
  const token = 'hf_abcdefSECRET';

  test('a private repository opens with the token, which no other host is shown', async () => {
    const server = await serve({ 'models/acme/private': { ...tiny, token } });
    const settings = settingsFor(server, freshCache(), { token });
    const { dir } = await found('acme/private', settings);
    expect(existsSync(join(dir, 'model.safetensors'))).toBe(true);
    const cdn = server.requests.filter(({ host }) => host === 'cdn');
    expect(cdn.length).toBeGreaterThan(0);
    expect(cdn.filter(({ headers }) => headers.authorization !== undefined)).toEqual([]);
  });

  test('a mirror opens with the name and password in its address, which no other host is shown', async () => {
    const server = await serve({ 'models/acme/tiny': tiny });
    const endpoint = server.endpoint.replace('//', '//me%40home:50%off_SECRET@');
    await found('acme/tiny', { ...settingsFor(server, freshCache(), { token }), endpoint });
    const shown = (of: string) => server.requests.filter(({ host }) => host === of).map((r) => r.headers.authorization);
    expect(new Set(shown('hub'))).toEqual(new Set([`Basic ${btoa('me@home:50%off_SECRET')}`]));
    expect(new Set(shown('cdn'))).toEqual(new Set([undefined]));
  });

  test('an address that no request can be made of is told at once, without what is secret in it', async () => {
    const server = await serve({});
    const endpoint = 'http://me:hf_SECRET@127.0.0.1:9';
    // Tries that never come would keep the test for good.
    const error = await refused('acme/tiny', { ...settingsFor(server, freshCache()), endpoint, retryMs: 2 ** 30 });
    expect(render(error)).toMatch(/127\.0\.0\.1:9 .*bad port.*E_HUB_UNREACHABLE/s);
    expect(render(error)).not.toContain('SECRET');
  });

  test('refusals say what to do, and never the token or a signed address', async () => {
    const server = await serve({
      'models/acme/private': { ...tiny, token: 'hf_other' },
      'models/acme/gated': { ...tiny, gated: true },
      'models/acme/tiny': tiny,
    });
    const cases: ReadonlyArray<readonly [string, string, string]> = [
      ['acme/private', 'E_HUB_NOT_FOUND', 'token'],
      ['acme/none', 'E_HUB_NOT_FOUND', 'token'],
      ['acme/gated', 'E_HUB_DENIED', 'ask for access'],
      ['acme/tiny@no-such-branch', 'E_HUB_NOT_FOUND', '@'],
    ];
    for (const [name, code, advice] of cases) {
      const error = await refused(name, settingsFor(server, freshCache(), { token }));
      expect([name, error.code]).toEqual([name, code]);
      expect(render(error)).toContain(advice);
      expect(JSON.stringify(error, Object.getOwnPropertyNames(error)) + render(error)).not.toMatch(/SECRET|Signature/);
    }
    server.faults.push(...Array.from({ length: 40 }, () => ({ status: 500 })));
    const broken = await refused('acme/tiny', settingsFor(server, freshCache(), { token }));
    expect(broken.code).toBe('E_HUB_UNREACHABLE');
    expect(JSON.stringify(broken, Object.getOwnPropertyNames(broken)) + render(broken)).not.toMatch(/SECRET|Signature/);
  });
});

describe('nothing leaves the cache directory', () => {
  test.each(['../../evil', '/etc/evil', 'a/../../evil', 'C:\\evil', 'a\\..\\evil', 'a//b', ''])(
    'a listed file %j ends the download',
    async (path) => {
      const server = await serve({ 'models/acme/tiny': { ...tiny, listed: ['config.json', path] } });
      const cacheDir = freshCache();
      expect((await refused('acme/tiny', settingsFor(server, cacheDir))).code).toBe('E_HUB_PATH');
      expect(existsSync(cacheDir)).toBe(false);
    },
  );

  test.each(['../x', 'a/b', '', 'x'.repeat(200)])('an etag %j is no file name', async (etag) => {
    const server = await serve({ 'models/acme/tiny': { files: { 'tokenizer.json': { ...text('{}'), etag } } } });
    expect((await refused('acme/tiny', settingsFor(server, freshCache()), 'tokenizer')).code).toBe('E_HUB_ANSWER');
  });

  test.each(['acme/tiny@../../x', 'acme/tiny@', 'acme/tiny@a/../../b', 'acme/tiny@/x'])(
    '%s is refused',
    async (name) => {
      const server = await serve({ 'models/acme/tiny': tiny });
      const error = await refused(name, settingsFor(server, freshCache()));
      expect([error.code, error.kind]).toEqual(['E_HUB_NAME', 'usage']);
      expect(server.requests).toEqual([]);
    },
  );

  test('a commit that is none is refused', async () => {
    const server = await serve({ 'models/acme/tiny': { ...tiny, commit: '../../elsewhere' } });
    expect((await refused('acme/tiny', settingsFor(server, freshCache()))).code).toBe('E_HUB_ANSWER');
  });
});

test('the environment is read as the Python library reads it', () => {
  const of = (env: Record<string, string>) => hubSettings({ HF_HUB_DISABLE_IMPLICIT_TOKEN: '1', ...env });
  expect(of({ HF_HUB_CACHE: '/c', HF_HOME: '/h' }).cacheDir).toBe('/c');
  expect(of({ HF_HOME: '/h', XDG_CACHE_HOME: '/x' }).cacheDir).toBe('/h/hub');
  expect(of({ XDG_CACHE_HOME: '/x' }).cacheDir).toBe('/x/huggingface/hub');
  expect(of({})).toMatchObject({ endpoint: 'https://huggingface.co', offline: false });
  expect(of({}).token).toBeUndefined();
  expect(of({ HF_ENDPOINT: 'http://mirror/' }).endpoint).toBe('http://mirror');
  expect(of({ HF_TOKEN: ' hf_x\n' }).token).toBe('hf_x');
  expect(['1', 'ON', 'yes', 'True'].map((HF_HUB_OFFLINE) => of({ HF_HUB_OFFLINE }).offline)).toEqual([
    true,
    true,
    true,
    true,
  ]);
  expect(of({ HF_HUB_OFFLINE: '0' }).offline).toBe(false);
  const home = join(root, 'home');
  mkdirSync(home, { recursive: true });
  writeFileSync(join(home, 'token'), 'hf_file\n');
  expect(hubSettings({ HF_HOME: home }).token).toBe('hf_file');
});
