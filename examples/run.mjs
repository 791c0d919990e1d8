// Runs an example: node examples/run.mjs customPipeline. (Node 22.18 and later run the .ts files themselves; this serves Node 20.)
import { readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import ts from 'typescript';

const name = basename(process.argv[2] ?? '', '.ts');
const source = await readFile(join(import.meta.dirname, `${name}.ts`), 'utf8');
const { outputText } = ts.transpileModule(source, {
  compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true },
});
// Beside the source, so that imports and paths mean the same.
const compiled = join(import.meta.dirname, `.${name}-${process.pid}.mjs`);
await writeFile(compiled, outputText);
try {
  await import(pathToFileURL(compiled).href);
} finally {
  await rm(compiled);
}
