/** What a run wrote, on the Hub: by a call, by a run, by the command line. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { lastValueFrom, take } from 'rxjs';
import { orThrow, render } from '../../src/errors.js';
import type { HubSettings, HubUpload } from '../../src/formats/hub/settings.js';
import { standIn, uploadFetch } from '../../src/formats/hub/uploadFetch.js';
import type { SftOptions } from '../../src/train/options/config.js';
import type { HubPush } from '../../src/train/run/pusher.js';
import type { RunEvent, SftSetup } from '../../src/train/run/run.js';
import { pushToHub } from '../../src/train/saving/pushToHub.js';
import type { Pushed, PushOptions } from '../../src/train/saving/pushToHub.js';
import { built, start } from '../cli/rxtune.js';
import { startUnderTest } from '../engine.js';
import { writableHub } from '../formats/hub/writableHub.js';
import type { Commit, WritableHub } from '../formats/hub/writableHub.js';
import { failure, kinds, started, temporary } from './startedRun.js';

/** The commits of TRL's SFTTrainer by hub_strategy: reference/hub_pushes.mjs. */
const trl = JSON.parse(readFileSync(join(import.meta.dirname, '../golden/trl/pushes.json'), 'utf8')) as {
  readonly strategies: Readonly<
    Record<string, ReadonlyArray<{ readonly summary: string; readonly files: ReadonlyArray<string> }>>
  >;
};

const token = 'hf_abcdefghijklmnopqrstuv';
let hub: WritableHub;
beforeAll(async () => {
  built();
  await startUnderTest();
});
beforeEach(async () => {
  hub = await writableHub({ users: { [token]: 'ada' } });
});
afterEach(async () => {
  await hub.close();
});

const settings = (more: Partial<HubSettings> = {}): Partial<HubSettings> => ({
  endpoint: hub.endpoint,
  token,
  offline: false,
  retryMs: 1,
  ...more,
});

const filled = (files: Readonly<Record<string, string>>): string => {
  const dir = temporary();
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), content);
  }
  return dir;
};

const model = { 'config.json': '{"model_type": "gpt2"}', 'model.safetensors': 'w'.repeat(3000), 'README.md': '# m' };
const adapterOf = (base: string) => ({
  'adapter_config.json': JSON.stringify({ peft_type: 'LORA', base_model_name_or_path: base }),
  'adapter_model.safetensors': 'a',
});

const push = (name: string, dir: string, { hub: given, ...options }: PushOptions = {}): Promise<Pushed> =>
  orThrow(pushToHub(name, dir, { ...options, hub: settings(given) }));

const refused = async (name: string, dir: string, more: Partial<HubSettings> = {}): Promise<string> => {
  const done = await pushToHub(name, dir, { hub: settings(more) })();
  if (E.isRight(done)) throw new Error('it was not refused');
  return render(done.left);
};

const texts = ({ files }: Commit): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(files).map(([path, content]) => [path, content.toString()]));

describe('pushToHub', () => {
  test('a directory becomes one commit: the same bytes, of large files too, without checkpoints, logs and hidden files', async () => {
    const dir = filled({
      ...model,
      'runs/events.out.tfevents.1': 'e',
      'sub/model.gguf': 'g'.repeat(2000),
      'checkpoint-2/model.safetensors': 'old',
      'log.jsonl': '{}',
      'samples.jsonl': '{}',
      'evaluations.jsonl': '{}',
      'error.json': '{}',
      '.run.1-ab.tmp': '',
      '_notes/a.txt': 'x',
      'checkpoint-notes.md': 'kept',
    });
    const uploads: Array<HubUpload> = [];
    const pushed = await push('ada/m', dir, { hub: { onUpload: (upload) => uploads.push(upload) } });
    const [commit, ...more] = hub.commits;
    expect(more).toEqual([]);
    expect(commit).toMatchObject({ repo: 'ada/m', branch: 'main', summary: 'Upload model' });
    if (commit === undefined) throw new Error('no commit');
    expect(texts(commit)).toEqual({
      ...model,
      'runs/events.out.tfevents.1': 'e',
      'sub/model.gguf': 'g'.repeat(2000),
      'checkpoint-notes.md': 'kept',
    });
    expect(pushed).toMatchObject({ repo: 'ada/m', warnings: [], files: Object.keys(commit.files).toSorted() });
    expect(pushed.commit.url).toBe(`${hub.endpoint}/ada/m/commit/${pushed.commit.oid}`);
    expect(uploads.find(({ path }) => path === 'model.safetensors')).toEqual({
      repo: 'ada/m',
      path: 'model.safetensors',
      bytes: 3000,
    });
    expect(hub.repos.get('ada/m')?.isPrivate).toBe(undefined);
  });

  test('a name alone is one of the own; a branch is made; what is there takes a second commit', async () => {
    const dir = filled(model);
    await push('m@next', dir, { private: true });
    await push('m@next', filled({ ...model, 'config.json': '{}' }), { commitMessage: 'Again' });
    expect(hub.commits.map(({ repo, branch, summary }) => [repo, branch, summary])).toEqual([
      ['ada/m', 'next', 'Upload model'],
      ['ada/m', 'next', 'Again'],
    ]);
    expect(hub.repos.get('ada/m')?.isPrivate).toBe(true);
    expect(hub.requests.filter((asked) => asked === 'PUT blob')).toHaveLength(1); // the weights were there already
  });

  test('files larger than the store takes at once go in parts', async () => {
    await hub.close();
    hub = await writableHub({ users: { [token]: 'ada' }, partBytes: 1000 });
    const weights = Array.from({ length: 400 }, (_, i) => `number ${i};`).join('');
    await push('ada/m', filled({ ...model, 'model.safetensors': weights }));
    expect(hub.commits[0]?.files['model.safetensors']?.toString()).toBe(weights);
    expect(hub.requests.filter((asked) => asked === 'PUT blob')).toHaveLength(Math.ceil(weights.length / 1000));
  });

  test('files go as chunks of content where the Hub asks for them so', async () => {
    await hub.close();
    hub = await writableHub({ users: { [token]: 'ada' }, xet: true });
    const dir = filled(model);
    const weights = Buffer.concat(
      Array.from({ length: 6000 }, (_, i) => createHash('sha256').update(String(i)).digest()),
    );
    writeFileSync(join(dir, 'model.safetensors'), weights);
    await push('ada/m', dir);
    expect(hub.commits[0]?.files['model.safetensors']?.equals(weights)).toBe(true);
    expect(hub.requests).toEqual(expect.arrayContaining(['POST /v1/xorbs/default/HASH', 'POST /v1/shards']));
  });

  test('what may pass is tried again: busy answers and connections that break', async () => {
    hub.faults.push({ path: /whoami/, status: 503 }, { path: /^\/[0-9a-f]{64}$/ }, { path: /commit/, status: 429 });
    await push('ada/m', filled(model));
    expect(hub.faults).toEqual([]);
    expect(hub.commits).toHaveLength(1);
    expect(Object.keys(hub.commits[0]?.files ?? {})).toHaveLength(3);
  });

  test('an adapter of a base on this machine is told of; of one on the Hub nothing is', async () => {
    const [local] = (await push('ada/a', filled(adapterOf('./base')))).warnings;
    expect(local).toMatchObject({ code: 'W_BASE_NOT_ON_HUB', actual: '"./base"' });
    expect((await push('ada/a', filled(adapterOf('acme/base')))).warnings).toEqual([]);
  });

  test('what cannot be uploaded says why, and makes nothing', async () => {
    const dir = filled(model);
    const other = 'hf_zyxwvutsrqponmlkjihgfe';
    expect(await refused('ada/m', dir, { token: undefined })).toMatch(/E_HUB_TOKEN[^]*HF_TOKEN/);
    expect(await refused('ada/m', dir, { offline: true })).toContain('E_HUB_OFFLINE');
    expect(await refused('ada/m', dir, { token: other })).toMatch(
      /does not know who asks \(HTTP 401\)[^]*E_HUB_DENIED/,
    );
    expect(await refused('bob/m', dir)).toMatch(
      /bob\/m: the token may not write there[^]*actual: {3}You have no rights/,
    );
    expect(await refused('a/b/c', dir)).toContain('E_HUB_NAME');
    expect(await refused('ada/m', join(dir, 'none'))).toContain('E_NO_FILE');
    expect(await refused('ada/m', filled({ 'log.jsonl': '' }))).toMatch(/holds nothing to upload[^]*E_NO_FILE/);
    expect(await refused('ada/m', dir, { endpoint: 'http://127.0.0.1:9' })).toContain('E_HUB_UNREACHABLE');
    expect(await refused('ada/m', dir, { endpoint: 'no address' })).toMatch(
      /an address that is none[^]*E_HUB_UNREACHABLE/,
    );
    expect([...hub.repos.keys()]).toEqual([]);
    hub.faults.push({ path: /commit/, status: 400, error: 'Invalid metadata in README.md' });
    const said = await refused('ada/m', dir);
    expect(said).toMatch(/refuses it \(HTTP 400\) \[E_HUB_ANSWER\]\n {2}actual: {3}Invalid metadata in README\.md/);
    expect(said).not.toContain(token);
    expect(hub.commits).toEqual([]);
  });

  test('a repository that is there is written to by a token that may make none', async () => {
    await push('ada/m', filled(model));
    hub.faults.push({ path: /repos\/create/, status: 403, error: 'no' });
    await push('ada/m', filled({ ...model, 'README.md': '# 2' }));
    expect(hub.commits).toHaveLength(2);
  });
});

describe('a run', () => {
  const run = (options: SftOptions, setup: Partial<SftSetup> = {}): ReturnType<typeof started> =>
    started(
      { outputDir: temporary(), pushToHub: true, hubModelId: 'ada/m', ...options },
      { hub: settings(), ...setup },
    );

  const told = (events: ReadonlyArray<RunEvent>): ReadonlyArray<HubPush> =>
    events.flatMap((event) => (event.kind === 'pushed' ? [event.pushed] : []));

  const summaries = (): ReadonlyArray<string> => hub.commits.map(({ summary }) => summary);

  test('uploads the model of each checkpoint, and what it leaves at the end', async () => {
    const outputDir = temporary();
    const { run: running, events } = await run({ outputDir, saveSteps: 3, hubAlwaysPush: true, hubPrivateRepo: true });
    await lastValueFrom(running);
    expect(summaries()).toEqual(['Training in progress, step 3', 'Training in progress, step 6', 'End of training']);
    expect(told(events).map(({ title, step, repo }) => [title, step, repo])).toEqual([
      ['Training in progress, step 3', 3, 'ada/m'],
      ['Training in progress, step 6', 6, 'ada/m'],
      ['End of training', 6, 'ada/m'],
    ]);
    expect(kinds(events).at(-1)).toBe('finished');
    const [first, , last] = hub.commits;
    expect(Object.keys(first?.files ?? {}).toSorted()).toEqual(['config.json', 'model.safetensors']);
    const saved = (path: string): Buffer => readFileSync(join(outputDir, path));
    expect(first?.files['model.safetensors']).toEqual(saved('checkpoint-3/model.safetensors'));
    expect(last?.files['model.safetensors']).toEqual(saved('model.safetensors'));
    expect(Object.keys(last?.files ?? {}).toSorted()).toEqual(['README.md', 'config.json', 'model.safetensors']);
    // Who uses it calls it by the name it has there, and how it got there is no part of how it was made.
    expect(last?.files['README.md']?.toString()).toContain('from_pretrained("ada/m")');
    expect(last?.files['README.md']?.toString()).not.toMatch(/hubModelId|pushToHub/);
    expect(hub.repos.get('ada/m')?.isPrivate).toBe(true);
    expect(readdirSync(outputDir).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  test.each(['end', 'every_save', 'checkpoint', 'all_checkpoints'] as const)(
    'makes the commits that TRL makes: hubStrategy %s',
    async (hubStrategy) => {
      const { run: running } = await run({ saveSteps: 3, hubStrategy, hubAlwaysPush: true, saveTotalLimit: 1 });
      await lastValueFrom(running);
      const folders = (files: ReadonlyArray<string>): ReadonlyArray<string> => [...new Set(files.map(dirname))];
      // TRL's script saves once more what the last commit holds.
      const expected = (trl.strategies[hubStrategy] ?? []).filter(({ summary }) => summary !== 'Model save');
      expect(hub.commits.map(({ summary, files }) => [summary, folders(Object.keys(files))])).toEqual(
        expected.map(({ summary, files }) => [summary, folders(files)]),
      );
      hub.commits.forEach(({ files }, i) => {
        const [folder = ''] = folders(Object.keys(files));
        const needed = ['config.json', 'model.safetensors', 'trainer_state.json'].map((name) => join(folder, name));
        const theirs = needed.filter((path) => expected[i]?.files.includes(path));
        expect(Object.keys(files)).toEqual(expect.arrayContaining(theirs));
        expect(Object.keys(files).some((path) => path.includes('optimizer'))).toBe(folder !== '.');
      });
    },
  );

  test('does not wait for an upload: the checkpoints due meanwhile are passed over, and one that is removed is still uploaded', async () => {
    let release = (): void => undefined;
    hub.hold = new Promise((resolve) => {
      release = resolve;
    });
    const outputDir = temporary();
    const { run: running, events } = await run({ outputDir, saveSteps: 1, saveTotalLimit: 1 });
    running.events.subscribe((event) => {
      if (event.kind !== 'checkpoint' || event.checkpoint.step < 6) return;
      expect(existsSync(join(outputDir, 'checkpoint-1'))).toBe(false);
      hub.hold = undefined;
      release();
    });
    await lastValueFrom(running);
    expect(summaries()).toEqual(['Training in progress, step 1', 'End of training']);
    expect(hub.commits[0]?.files['model.safetensors']).not.toEqual(hub.commits[1]?.files['model.safetensors']);
    expect(told(events)).toHaveLength(2);
  });

  test('goes on when an upload on the way fails, and says so; one that fails at the end fails the run, whose model is there', async () => {
    hub.faults.push({ path: /commit/, status: 400, error: 'not now' });
    const first = await run({ saveSteps: 6 });
    await lastValueFrom(first.run);
    expect(summaries()).toEqual(['End of training']);
    expect(kinds(first.events)).toContain('W_HUB_PUSH');
    const outputDir = temporary();
    hub.faults.push({ path: /commit/, status: 400, error: 'not now' });
    const second = await run({ outputDir, hubStrategy: 'end' });
    const { code, text } = await failure(second.run);
    expect(code).toBe('E_HUB_ANSWER');
    expect(text).toMatch(/the model is saved, and its upload failed[^]*not now[^]*rxtune push --dir/);
    expect(existsSync(join(outputDir, 'model.safetensors'))).toBe(true);
  });

  test('tries a whole checkpoint once more at its end, where its upload failed', async () => {
    hub.faults.push({ path: /commit/, status: 400, error: 'not now' });
    const { run: running, events } = await run({ saveSteps: 6, hubStrategy: 'checkpoint' });
    await lastValueFrom(running);
    expect(kinds(events)).toContain('W_HUB_PUSH');
    expect(summaries()).toEqual([
      'Training in progress, step 6',
      'Training in progress, step 6, checkpoint',
      'End of training',
    ]);
  });

  test('that could not upload does not begin', async () => {
    const outputDir = temporary();
    const { run: unknown, events } = await run(
      { outputDir },
      { hub: settings({ token: 'hf_zyxwvutsrqponmlkjihgfe' }) },
    );
    expect((await failure(unknown)).code).toBe('E_HUB_DENIED');
    expect(kinds(events)).toEqual([]);
    const { run: other, events: later } = await run({ hubModelId: 'bob/m' });
    expect((await failure(other)).code).toBe('E_HUB_DENIED');
    expect(kinds(later)).not.toContain('begun');
    const { run: nowhere } = await started({ pushToHub: true });
    expect((await failure(nowhere)).text).toMatch(/outputDir[^]*E_OPTIONS/);
  });

  test('that is left to be resumed has its newest checkpoint uploaded, and no final model', async () => {
    let release = (): void => undefined;
    hub.hold = new Promise((resolve) => {
      release = resolve;
    });
    const { run: running, events } = await run({ saveSteps: 2 });
    running.events.subscribe((event) => {
      if (event.kind === 'step' && event.step.step === 3) running.stop({ checkpoint: true });
      if (event.kind !== 'checkpoint' || event.checkpoint.step !== 3) return;
      hub.hold = undefined;
      release();
    });
    await lastValueFrom(running);
    expect(summaries()).toEqual(['Training in progress, step 2', 'Training in progress, step 3']);
    expect(kinds(events).at(-1)).toBe('finished');
  });

  test('that is left takes its upload with it', async () => {
    let release = (): void => undefined;
    hub.hold = new Promise((resolve) => {
      release = resolve;
    });
    const outputDir = temporary();
    const { run: running } = await run({ outputDir, saveSteps: 1 });
    await lastValueFrom(running.pipe(take(2)));
    hub.hold = undefined;
    release();
    const leftovers = (): ReadonlyArray<string> => readdirSync(outputDir).filter((name) => name.includes('push'));
    while (leftovers().length > 0) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(hub.commits).toEqual([]);
  });
});

test('the token goes to the Hub and to nobody else', async () => {
  const seen: Array<string | undefined> = [];
  const other = createServer(({ headers }, response) => {
    seen.push(headers.authorization);
    response.end();
  });
  await new Promise<void>((done) => other.listen(0, '127.0.0.1', done));
  const { port } = other.address() as AddressInfo;
  const endpoint = `http://127.0.0.1:${port}`;
  const asked = { headers: { authorization: `Bearer ${standIn}` } };
  for (const at of [endpoint, hub.endpoint])
    await uploadFetch('m', { cacheDir: '', offline: false, token, endpoint: at })(`${endpoint}/a`, asked);
  await uploadFetch('m', { cacheDir: '', offline: false, token, endpoint: `http://u:p%40@127.0.0.1:${port}` })(
    endpoint,
    asked,
  );
  expect(seen).toEqual([`Bearer ${token}`, undefined, `Basic ${Buffer.from('u:p@').toString('base64')}`]);
  other.close();
});

/** A module after which the package that uploads cannot be found, as where it was never installed. */
const hubLibraryGone = ((): string => {
  const asModule = (text: string): string => `data:text/javascript,${encodeURIComponent(text)}`;
  const hook = `export const resolve = (name, context, next) => {
    if (name === '@huggingface/hub') throw Object.assign(new Error('gone'), { code: 'ERR_MODULE_NOT_FOUND' });
    return next(name, context);
  };`;
  return asModule(`import { register } from 'node:module'; register(${JSON.stringify(asModule(hook))});`);
})();

test('rxtune push uploads a directory; without a token, or the package, it says what is missing', async () => {
  const dir = filled(model);
  const asked = ['push', '--dir', dir, '--hub-model-id', 'm', '--hub-revision', 'next', '--commit-message', 'By hand'];
  const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: temporary(), HF_HUB_OFFLINE: '', HF_TOKEN: '' };
  const denied = await start(asked, undefined, env);
  expect(denied.code).toBe(2);
  expect(denied.err).toMatch(/E_HUB_TOKEN[^]*HF_TOKEN/);
  const without = await start(asked, undefined, {
    ...env,
    HF_TOKEN: token,
    NODE_OPTIONS: `--import ${hubLibraryGone}`,
  });
  expect(without.code).toBe(2);
  expect(without.err).toMatch(/E_HUB_PACKAGE[^]*npm install @huggingface\/hub/);
  const { code, err } = await start(asked, undefined, { ...env, HF_TOKEN: token });
  expect({ code, err }).toMatchObject({ code: 0 });
  expect(err).toMatch(/^uploading to ada\/m: model\.safetensors, 3 kB$/m);
  expect(err).toMatch(/^pushed 3 files to ada\/m@next: http/m);
  expect(hub.commits.map(({ branch, summary }) => [branch, summary])).toEqual([['next', 'By hand']]);
  rmSync(dir, { recursive: true });
});
