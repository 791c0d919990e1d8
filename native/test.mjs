// Compiles the C++ tests of the kernels for every instruction set and runs them where the processor can.
//   node native/test.mjs [name …] [--isa=avx2] [--sanitize=address|thread|undefined] [--bench]
// A test is kernels/<name>_test.cc with a main of its own; it is linked with those kernels whose RX_FILL(name) it mentions.
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { cpuFlags, isas } from './isas.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const cc = join(here, 'cc');
const kernels = join(cc, 'kernels');

const words = process.argv.slice(2);
const option = (name) => words.find((word) => word.startsWith(`--${name}=`))?.slice(name.length + 3);
const sanitize = option('sanitize');
const onlyIsa = option('isa');
const bench = words.includes('--bench');
const wanted = words.filter((word) => !word.startsWith('--'));
const compiler = process.env.CXX ?? 'g++';

const suffix = bench ? '_bench.cc' : '_test.cc';
const sources = readdirSync(kernels).filter((file) => file.endsWith('.cc'));
const tests = sources.filter((file) => file.endsWith(suffix) && (wanted.length === 0 || wanted.includes(file.slice(0, -suffix.length))));
const shared = ['pool.cc', 'scratch.cc', 'pages.cc'];
const headers = [cc, kernels].flatMap((dir) => readdirSync(dir).filter((file) => file.endsWith('.h')).map((file) => join(dir, file)));
const newestHeader = Math.max(...headers.map((file) => statSync(file).mtimeMs), statSync(join(here, 'isas.mjs')).mtimeMs);

const flags = [
  '-std=c++17', '-fPIC', '-pthread', '-fno-math-errno', '-fno-trapping-math', '-Wall', '-Wextra', '-Wno-psabi', '-Wno-unused-function',
  // GCC 12 reports the deliberately undefined operands inside its own AVX-512 headers
  '-Wno-uninitialized', '-Wno-maybe-uninitialized',
  ...(sanitize === undefined ? ['-O2'] : ['-O1', '-g', '-fno-omit-frame-pointer', `-fsanitize=${sanitize}`, '-fno-sanitize-recover=all']),
];

const run = promisify(execFile);
const call = async (args) => {
  const { stderr } = await run(compiler, args, { maxBuffer: 1 << 26 }).catch(({ stderr }) => {
    process.stderr.write(stderr);
    process.exit(1);
  });
  if (stderr) process.stderr.write(stderr);
};
const stale = (target, source) =>
  !existsSync(target) || statSync(target).mtimeMs < Math.max(statSync(source).mtimeMs, newestHeader);

const compile = async (isa, source, target) => {
  if (!stale(target, source)) return;
  const extra = isa.extra?.[basename(source, '.cc')]?.flags ?? [];
  await call([...flags, ...isa.flags, ...extra, `-DRX_ISA=${isa.name}`, '-c', source, '-o', target]);
};

let failures = 0;
const has = cpuFlags();
for (const isa of isas) {
  if (onlyIsa !== undefined && isa.name !== onlyIsa) continue;
  const out = join(here, 'build', 'test', `${isa.name}${sanitize === undefined ? '' : `-${sanitize}`}`);
  mkdirSync(out, { recursive: true });
  for (const test of tests) {
    const name = test.slice(0, -suffix.length);
    const needed = [...readFileSync(join(kernels, test), 'utf8').matchAll(/RX_FILL\((\w+)\)/g)].map((match) => `${match[1]}.cc`);
    const parts = [...shared.map((file) => join(cc, file)), ...[...new Set(needed), test].map((file) => join(kernels, file))];
    const objects = parts.map((source) => join(out, `${basename(source, '.cc')}.o`));
    for (const [i, source] of parts.entries()) await compile(isa, source, objects[i]);
    const program = join(out, basename(test, '.cc'));
    await call([...flags, ...objects, '-o', program]);
    if (isa.cpu.some((flag) => !has.has(flag))) {
      console.log(`${isa.name} ${name}: compiled, not run: this processor lacks ${isa.cpu.filter((flag) => !has.has(flag)).join(', ')}`);
      continue;
    }
    const started = performance.now();
    const { status, signal } = spawnSync(program, words.filter((word) => /^--[0-9]/.test(word)), { stdio: 'inherit' });
    const ok = status === 0;
    if (!ok) failures++;
    console.log(`${isa.name} ${name}: ${ok ? 'ok' : `FAILED (${signal ?? status})`} ${((performance.now() - started) / 1000).toFixed(1)} s`);
  }
}
if (tests.length === 0) {
  console.error(`no test ${wanted.join(', ')}`);
  failures++;
}
process.exitCode = failures === 0 ? 0 : 1;
