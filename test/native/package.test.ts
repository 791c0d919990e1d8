import { describe, expect, test } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { arch, platform, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..', '..');
const built = ['native/build/rxtune.node', 'dist/index.js'].every((file) => existsSync(join(root, file)));
// Without a build there is nothing to publish: npm run build, or no compiler on this machine.
const whenBuilt = built ? test : test.skip;

const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { readonly version: string };
const name = `native-${platform()}-${arch()}`;

/** Runs with the published packages where npm would put them. */
const installed = (run: (modules: string) => void): void => {
  const dir = mkdtempSync(join(tmpdir(), 'rxtune-package-'));
  try {
    execFileSync(process.execPath, [
      join(root, 'native', 'package.mjs'),
      join(dir, 'out'),
      'linux-x64',
      'darwin-arm64',
    ]);
    const modules = join(dir, 'node_modules');
    mkdirSync(join(modules, '@rxtune'), { recursive: true });
    renameSync(join(dir, 'out', 'rxtune'), join(modules, 'rxtune'));
    renameSync(join(dir, 'out', name), join(modules, '@rxtune', name));
    for (const entry of readdirSync(join(root, 'node_modules'))) {
      if (entry !== '@rxtune' && !entry.startsWith('.'))
        symlinkSync(join(root, 'node_modules', entry), join(modules, entry));
    }
    run(modules);
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

  whenBuilt('serve who requires them as who imports them', () => {
    installed((modules) => {
      const program = "console.log(typeof require('rxtune').sftTrainer, typeof require('rxtune/laws').operatorLaws)";
      const out = execFileSync(process.execPath, ['-e', program], {
        cwd: modules,
        encoding: 'utf8',
        env: { ...process.env, NODE_OPTIONS: '' },
      });
      expect(out).toBe('function function\n');
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
        const { rows: made, fromCache } = await orThrow(prepareRows(rows, { tokenizer }, config));
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
      const declared = readFileSync(join(modules, 'rxtune', 'dist', 'train', 'config.d.ts'), 'utf8');
      expect(declared).toContain('/** Rank of the adapter. Default: 8. */\n    r: ');
      const options = [...declared.matchAll(/^ +(\w+): .*\bField</gm)].length;
      expect(options).toBeGreaterThan(100);
      expect([...declared.matchAll(/^ +\/\*\* .* \*\/\n +\w+: .*\bField</gm)]).toHaveLength(options);
    });
  });
});
