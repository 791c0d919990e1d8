import { afterAll, describe, expect, test } from '@jest/globals';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { arch, platform, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..', '..');
const built = ['native/build/rxtune.node', 'dist/index.js'].every((file) => existsSync(join(root, file)));
// Without a build there is nothing to publish: npm run build, or no compiler on this machine.
const whenBuilt = built ? test : test.skip;

const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { readonly version: string };
const name = `native-${platform()}-${arch()}`;

let laid: string | undefined;

/** A folder with the published packages, laid out once. */
const published = (): string => {
  if (laid !== undefined) return laid;
  laid = mkdtempSync(join(tmpdir(), 'rxtune-published-'));
  execFileSync(process.execPath, [join(root, 'native', 'package.mjs'), laid, 'linux-x64', 'darwin-arm64']);
  return laid;
};

afterAll(() => {
  if (laid !== undefined) rmSync(laid, { recursive: true, force: true });
});

/** Runs with the published packages where npm would put them. */
const installed = (use: (modules: string) => void): void => {
  const dir = mkdtempSync(join(tmpdir(), 'rxtune-package-'));
  try {
    const modules = join(dir, 'node_modules');
    mkdirSync(join(modules, '@rxtune'), { recursive: true });
    cpSync(join(published(), 'rxtune'), join(modules, 'rxtune'), { recursive: true });
    cpSync(join(published(), name), join(modules, '@rxtune', name), { recursive: true });
    for (const entry of readdirSync(join(root, 'node_modules'))) {
      if (entry !== '@rxtune' && !entry.startsWith('.'))
        symlinkSync(join(root, 'node_modules', entry), join(modules, entry));
    }
    use(modules);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
};

const doctor = (modules: string): string =>
  execFileSync(process.execPath, [join(modules, 'rxtune', 'dist', 'cli', 'main.js'), 'doctor'], {
    cwd: modules,
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: '' },
  });

/** Writes a program beside the packages and runs it, as Node.js is started by default. */
const run = (modules: string, file: string, program: string): string => {
  writeFileSync(join(modules, file), program);
  return execFileSync(process.execPath, [join(modules, file)], {
    cwd: modules,
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: '' },
  });
};

/** The laws of a stage, and a run; what waits for a package of ES modules (Parquet) or for a thread is asked for, too. */
const testOfAUser = `
  const { dirname, join } = require('node:path');
  const { left, right } = require('fp-ts/lib/Either');
  const { lastValueFrom, toArray } = require('rxjs');
  const { dataError, jsonl, load, mapping, openDataset, orThrow, pull, sftTrainer } = require('rxtune');
  const { boundedInFlight, examples, operatorLaws, orderKept, rightsOf } = require('rxtune/laws');

  const quickstart = join(dirname(require.resolve('rxtune/package.json')), 'examples', 'quickstart');
  const shortRow = (row) =>
    row.kind === 'text' && row.text.length > 8 ? left(dataError('E_LONG', 'too long')) : right(row);
  const short = (options) => mapping('short', shortRow, options);
  const laws = [
    ...operatorLaws(short, examples(), rightsOf(shortRow), { oneToOne: true }),
    orderKept(short, examples(), (row) => row),
    boundedInFlight(short, examples(), () => 1),
  ];
  for (const { name, check } of laws) test(name, check);

  test('a run', async () => {
    const { model, tokenizer } = await orThrow(load(join(quickstart, 'base')));
    const steps = sftTrainer(
      { model, tokenizer, trainDataset: jsonl(join(quickstart, 'train.jsonl')), peftConfig: {} },
      { maxLength: 256, packing: true, learningRate: 1e-2, maxSteps: 5, outputDir: null, datasetNumProc: 2, preparedCache: true },
    );
    const losses = (await lastValueFrom(steps.pipe(toArray()))).map(({ loss }) => loss);
    expect(losses).toHaveLength(5);
    expect(losses[4]).toBeLessThan(losses[0]);
  });

  test('Parquet', async () => {
    const file = ${JSON.stringify(join(root, 'test', 'formats', 'data', 'rows-snappy.parquet'))};
    expect(await lastValueFrom(pull(openDataset(file)).pipe(toArray()))).toHaveLength(7);
  });`;

/** Types of each entry, and that they are not `any`. */
const typedProgram = `
  import { mapping, sftTrainer, SftConfig } from 'rxtune';
  import type { Example, Rejecting, StepResult, Transform } from 'rxtune';
  import { openDataset } from 'rxtune/data';
  import { examples, operatorLaws, rightsOf } from 'rxtune/laws';
  import { right } from 'fp-ts/lib/Either.js';
  import type { Observable } from 'rxjs';
  declare const setup: Parameters<typeof sftTrainer>[0];
  const steps: Observable<StepResult> = sftTrainer(setup, { maxSteps: 1 });
  // @ts-expect-error: no such option
  sftTrainer(setup, { maxStep: 1 });
  // @ts-expect-error: a file has a name
  openDataset(1);
  const same: Transform<Example, Example> = (row) => right(row);
  const laws = operatorLaws((options: Rejecting) => mapping('same', same, options), examples(), rightsOf(same));
  // @ts-expect-error: laws are none
  const none: never = laws;
  const config: SftConfig | undefined = undefined;
  export { steps, none, config, SftConfig };`;

const [tsc6, tsc7] = [join('typescript', 'bin', 'tsc6'), join('@typescript', 'native', 'bin', 'tsc')] as const;

/** Compilers, each with a way to find modules. */
const resolutions = [
  [tsc6, '--module', 'commonjs', '--moduleResolution', 'node10', '--ignoreDeprecations', '6.0'],
  [tsc7, '--module', 'commonjs', '--moduleResolution', 'bundler'],
  [tsc7, '--module', 'esnext', '--moduleResolution', 'bundler'],
  [tsc7, '--module', 'node16'],
  [tsc7, '--module', 'nodenext'],
] as const;

const strictly = ['--noEmit', '--strict', '--skipLibCheck', '--target', 'es2022', '--lib', 'es2023'];

describe('the published packages', () => {
  whenBuilt('run the engine of the platform’s package, and say how to compile it where there is none', () => {
    installed((modules) => {
      const manifest: unknown = JSON.parse(readFileSync(join(modules, 'rxtune', 'package.json'), 'utf8'));
      expect(manifest).toMatchObject({
        optionalDependencies: { '@rxtune/native-linux-x64': version, '@rxtune/native-darwin-arm64': version },
      });
      expect(manifest).not.toHaveProperty('scripts');
      expect(doctor(modules)).toMatch(/\+ native/);
      rmSync(join(modules, '@rxtune', name), { recursive: true });
      expect(doctor(modules)).toMatch(/- native .*node rxtune\/native\/build\.mjs compiles it/);
    });
  });

  whenBuilt('hold what the README links to, and no tests', () => {
    installed((modules) => {
      const packed = execFileSync('npm', ['pack', '--dry-run', '--json'], {
        cwd: join(modules, 'rxtune'),
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      const [{ files }] = JSON.parse(packed) as [{ readonly files: ReadonlyArray<{ readonly path: string }> }];
      const paths = files.map(({ path }) => path);
      expect(paths).toEqual(
        expect.arrayContaining(['dist/cli/main.js', 'docs/data.md', 'examples/quickstart/base/model.safetensors']),
      );
      expect(paths.filter((path) => /_test\.cc$|\/test\/|\/emulate\/|\.map$|quickstart\/out/.test(path))).toEqual([]);
    });
  });

  whenBuilt('serve who requires them and who imports them with one copy', () => {
    installed((modules) => {
      const program = `
        import { createRequire } from 'node:module';
        import * as main from 'rxtune';
        import * as data from 'rxtune/data';
        import * as laws from 'rxtune/laws';
        const require = createRequire(import.meta.url);
        const same = { rxtune: main, 'rxtune/data': data, 'rxtune/laws': laws };
        for (const [name, { default: _, ...values }] of Object.entries(same))
          console.log(name, Object.entries(values).every(([key, value]) => require(name)[key] === value));`;
      expect(run(modules, 'one.mjs', program)).toBe('rxtune true\nrxtune/data true\nrxtune/laws true\n');
    });
  });

  whenBuilt('share an engine where a program loads two copies all the same', () => {
    installed((modules) => {
      const program = `
        import { createRequire } from 'node:module';
        import { matMul, tensor } from '@tensorflow/tfjs-core';
        import * as first from 'rxtune';
        const second = createRequire(import.meta.url)(${JSON.stringify(join(modules, 'rxtune', 'dist', 'index.cjs'))});
        for (const { chooseEngine, orThrow } of [first, second]) {
          await orThrow(chooseEngine({ engine: 'native' }));
          console.log(first === second, await matMul(tensor([[1, 2]]), tensor([[3], [4]])).data());
        }`;
      expect(run(modules, 'two.mjs', program)).toBe('false Float32Array(1) [ 11 ]\nfalse Float32Array(1) [ 11 ]\n');
    });
  });

  whenBuilt('load in jest as it comes, without ES modules', () => {
    installed((modules) => {
      writeFileSync(join(dirname(modules), 'package.json'), '{}');
      writeFileSync(join(dirname(modules), 'rxtune.test.js'), testOfAUser);
      const jest = join(root, 'node_modules', 'jest', 'bin', 'jest.js');
      const { status, stderr } = spawnSync(process.execPath, [jest, '--testTimeout=600000'], {
        cwd: dirname(modules),
        encoding: 'utf8',
        env: { ...process.env, NODE_OPTIONS: '', RXTUNE_CACHE: join(modules, 'cache') },
      });
      expect(stderr).toContain('Tests:       11 passed, 11 total');
      expect(status).toBe(0);
    });
  });

  whenBuilt('declare the same to every kind of module', () => {
    installed((modules) => {
      const files = ['mts', 'cts'].map((extension) => join(modules, `program.${extension}`));
      for (const file of files) writeFileSync(file, typedProgram);
      for (const [compiler, ...options] of resolutions) {
        const { stdout } = spawnSync(
          process.execPath,
          [join(root, 'node_modules', compiler), ...options, ...strictly, ...files],
          {
            cwd: modules,
            encoding: 'utf8',
          },
        );
        expect({ options, stdout }).toEqual({ options, stdout: '' });
      }
    });
  });

  whenBuilt('find their own files, which few others hold', () => {
    installed((modules) => {
      const program = `
        import { readdirSync } from 'node:fs';
        import { decodeSftConfig, loadTokenizer, openDataset, orThrow, prepareRows } from 'rxtune/data';
        import { report } from 'rxtune';
        const tokenizer = await orThrow(loadTokenizer('rxtune/examples/quickstart/base'));
        const { right: config } = decodeSftConfig({ preparedCache: true, datasetNumProc: 2 });
        const rows = openDataset('rxtune/examples/quickstart/train.jsonl');
        const { rows: made, fromCache } = await orThrow(prepareRows(rows, { tokenizer }, { ...config, maxLength: 512 }));
        console.log(made.length > 0, fromCache, report({ title: 'run' }).includes('new EventSource('));`;
      const prepared = (): string =>
        execFileSync(process.execPath, ['--input-type=module', '-e', program], {
          cwd: modules,
          encoding: 'utf8',
          env: { ...process.env, NODE_OPTIONS: '', RXTUNE_CACHE: join(modules, 'cache') },
        });
      expect(prepared()).toBe('true false true\n');
      expect(prepared()).toBe('true true true\n');
      const compiled = readdirSync(join(modules, 'rxtune', 'dist'), { recursive: true, encoding: 'utf8' });
      const code = compiled.filter((name) => name.endsWith('.js'));
      const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' });
      expect(code.length).toBeLessThan(sources.filter((name) => name.endsWith('.ts')).length / 5);
    });
  });

  whenBuilt('declare what their entries name, and nothing else', () => {
    installed((modules) => {
      const dist = join(modules, 'rxtune', 'dist');
      const there = readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.d.ts'));
      const named = there.flatMap((name) =>
        [...readFileSync(join(dist, name), 'utf8').matchAll(/\b(?:from |import\()['"](\..*?)\.js['"]/g)].map(
          ([, path]) => join(dirname(name), `${path ?? ''}.d.ts`),
        ),
      );
      const entries = ['index.d.ts', 'data.d.ts', join('laws', 'index.d.ts')];
      expect([...new Set([...entries, ...named])].toSorted()).toEqual(there.toSorted());
    });
  });

  whenBuilt('say in their declarations what each option is for', () => {
    installed((modules) => {
      const declared = readFileSync(join(modules, 'rxtune', 'dist', 'train', 'options', 'config.d.ts'), 'utf8');
      expect(declared).toContain('/** Rank of the adapter. Default: 8. */\n    r: ');
      const options = [...declared.matchAll(/^ +(\w+): .*\bField</gm)].length;
      expect(options).toBeGreaterThan(100);
      expect([...declared.matchAll(/^ +\/\*\* .* \*\/\n +\w+: .*\bField</gm)]).toHaveLength(options);
    });
  });
});
