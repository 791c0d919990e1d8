/** Snippets of pages, as programs. */
import { execFile, spawnSync } from 'node:child_process';
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import ts from 'typescript';
import { inTemporary, root } from './cli/rxtune.js';

/** Blocks of a language in a page, in its order. */
export const blocksOf = (page: string, language: string): ReadonlyArray<string> =>
  [...page.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\``, 'gm'))].map((match) => match[1] ?? '');

/** A place that sees the examples, where snippets may write. */
export const inPlace = <A>(use: (directory: string) => Promise<A>): Promise<A> =>
  inTemporary(async (directory) => {
    await symlink(join(root, 'examples'), join(directory, 'examples'));
    return use(directory);
  });

interface Output {
  readonly stdout: string;
  readonly stderr: string;
}

export const node = async (cwd: string, ...argv: ReadonlyArray<string>): Promise<Output> =>
  promisify(execFile)(process.execPath, [...argv], { cwd });

/**
 * What the compiler has to say of the snippets, each a module of its own, as "name.ts(line,column): error …". `name` keeps apart
 * those that are compiled at once.
 */
export const complaints = async (name: string, snippets: ReadonlyArray<string>): Promise<ReadonlyArray<string>> => {
  // Within the package, where `from 'rxtune'` means it.
  const directory = join(root, 'test', `.${name}-${process.pid}`);
  await mkdir(directory);
  try {
    const files = snippets.map((_, i) => `snippet${i}.ts`);
    await Promise.all(snippets.map((text, i) => writeFile(join(directory, `snippet${i}.ts`), text)));
    const config = { extends: '../../tsconfig.json', compilerOptions: { paths: {} }, include: [], files };
    await writeFile(join(directory, 'tsconfig.json'), JSON.stringify(config));
    const argv = [join(root, 'node_modules', '.bin', 'tsc'), '-p', directory, '--pretty', 'false'];
    const { status, stdout } = spawnSync(process.execPath, argv, { encoding: 'utf8' });
    return status === 0 ? [] : stdout.trim().split('\n');
  } finally {
    await rm(directory, { recursive: true });
  }
};

/** Runs a snippet in a place of its own. */
export const runSnippet = async (name: string, text: string): Promise<Output> => {
  const { outputText } = ts.transpileModule(text, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true },
  });
  const script = join(root, 'test', `.${name}-${process.pid}.mjs`);
  await writeFile(script, outputText);
  try {
    return await inPlace((cwd) => node(cwd, script));
  } finally {
    await rm(script);
  }
};
