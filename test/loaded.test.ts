/** Which packages are loaded by whom: everything else waits until something asks for it. */
import { describe, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { base, built, inTemporary, root } from './cli/rxtune.js';

const dist = join(built(), '..', '..');
const entry = (name: string): string => JSON.stringify(pathToFileURL(join(dist, name)).href);

/** Told of every file that is imported, but not of what is required inside a CommonJS package. */
const hooks = (told: string): string => `
  import { appendFileSync } from 'node:fs';
  export const load = (url, context, next) => {
    appendFileSync(${JSON.stringify(told)}, url + '\\n');
    return next(url, context);
  };`;

const inlined = (source: string): string => `data:text/javascript,${encodeURIComponent(source)}`;

/** Part of the joined files of a build, and imported by single modules. */
const takenIn: ReadonlySet<string> = new Set(['fp-ts', 'io-ts']);

/** The packages of which a program has loaded anything when it ends, but for those. */
const loadedBy = (program: string): Promise<ReadonlyArray<string>> =>
  inTemporary(async (directory) => {
    const told = join(directory, 'told.txt');
    await writeFile(told, '');
    const watch = `
      import { appendFileSync } from 'node:fs';
      import { createRequire, register } from 'node:module';
      register(${JSON.stringify(inlined(hooks(told)))});
      const { cache } = createRequire(${JSON.stringify(join(directory, 'x.js'))});
      process.on('exit', () => appendFileSync(${JSON.stringify(told)}, Object.keys(cache).join('\\n')));`;
    const script = join(directory, 'program.mjs');
    await writeFile(script, program);
    await promisify(execFile)(process.execPath, ['--import', inlined(watch), script], {
      cwd: root,
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    const files = (await readFile(told, 'utf8')).replaceAll('\\', '/').split('\n');
    const names = files.flatMap((file) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1] ?? []);
    return [...new Set(names.filter((name) => !takenIn.has(name)))].sort();
  });

const always = ['@huggingface/tokenizers', 'rxjs'];

describe('what is loaded', () => {
  test.each([
    ['rxtune', 'index.js', always],
    ['rxtune/data', 'data.js', always],
    ['rxtune/laws', 'laws/index.js', ['fast-check', 'pure-rand', 'rxjs']],
  ])('by import of %s', async (_, file, packages) => {
    expect(await loadedBy(`await import(${entry(file)});`)).toEqual(packages);
  });

  // Without a build there are single modules and no CommonJS.
  const whenJoined = existsSync(join(dist, 'index.cjs')) ? test.each : test.skip.each;
  whenJoined([
    ['rxtune', 'index.cjs', always],
    ['rxtune/data', 'data.cjs', always],
    ['rxtune/laws', 'laws/index.cjs', ['fast-check', 'pure-rand', 'rxjs']],
  ])('by require of %s as CommonJS', async (_, file, packages) => {
    const program = `
      import { createRequire } from 'node:module';
      createRequire(import.meta.url)(${JSON.stringify(join(dist, file))});`;
    expect(await loadedBy(program)).toEqual(packages);
  });

  test('by rxtune --help', async () => {
    expect(await loadedBy(`process.argv[2] = '--help'; await import(${entry('cli/main.js')});`)).toEqual(['commander']);
  });

  test('to read and tokenize rows, no tensors', async () => {
    const program = `
      const { jsonl, loadTokenizer, orThrow, prepare, pull, decodeSftConfig } = await import(${entry('data.js')});
      const tokenizer = await orThrow(loadTokenizer(${JSON.stringify(base)}));
      const { right: config } = decodeSftConfig({});
      const rows = pull(jsonl(${JSON.stringify(join(root, 'examples', 'quickstart', 'train.jsonl'))}));
      await rows.pipe(prepare({ tokenizer }, { ...config, maxLength: 64 })).forEach(() => undefined);`;
    expect(await loadedBy(program)).toEqual(always);
  });

  test('to start an engine: tensors, and that engine alone', async () => {
    const program = `
      const { chooseEngine, orThrow } = await import(${entry('index.js')});
      await orThrow(chooseEngine({ engine: 'cpu' }));`;
    const packages = await loadedBy(program);
    expect(packages).toEqual(expect.arrayContaining(['@tensorflow/tfjs-backend-cpu', '@tensorflow/tfjs-core']));
    expect(packages).not.toContain('@tensorflow/tfjs-backend-wasm');
  });
});
