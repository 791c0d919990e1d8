/**
 * The commits that TRL's SFTTrainer makes on a Hub, by hub_strategy, of which the tests' own serves here: test/golden/trl/pushes.json.
 *
 *     PYTHON=python node reference/hub_pushes.mjs test/golden/trl/pushes.json
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';

const out = process.argv[2];
const { PYTHON = 'python3' } = process.env;
const token = 'hf_abcdefghijklmnopqrstuv';
const directory = await mkdtemp(join(tmpdir(), 'rxtune-pushes-'));
const root = join(import.meta.dirname, '..');
const bundle = join(directory, 'hub.mjs');
await build({
  entryPoints: [join(root, 'test/formats/hub/writableHub.ts')],
  bundle: true,
  platform: 'node',
  format: 'esm',
  outfile: bundle,
});
const { writableHub } = await import(pathToFileURL(bundle).href);
const hub = await writableHub({ users: { [token]: 'ada' } });
const env = { ...process.env, HF_ENDPOINT: hub.endpoint, HF_TOKEN: token, HF_HUB_DISABLE_XET: '1' };
let versions = {};
const strategies = {};
for (const strategy of ['end', 'every_save', 'checkpoint', 'all_checkpoints']) {
  const repo = `ada/${strategy.replaceAll('_', '-')}`;
  const args = [join(import.meta.dirname, 'hub_pushes.py'), strategy, repo, join(directory, strategy)];
  const { stdout } = await promisify(execFile)(PYTHON, args, { env });
  versions = JSON.parse(stdout.trim().split('\n').at(-1));
  strategies[strategy] = hub.commits
    .filter((commit) => commit.repo === repo)
    .map(({ summary, files }) => ({ summary, files: Object.keys(files).toSorted() }));
}
await hub.close();
await rm(directory, { recursive: true });
await writeFile(out, `${JSON.stringify({ versions, strategies }, null, 1)}\n`);
