// Compiles the C++ tests and runs them.
//   node native/test.mjs [name …] [--isa=avx2] [--sanitize=address|thread|undefined] [--bench] [-- arguments of the tests]
// cc/kernels/<name>_test.cc is compiled once an instruction set and linked with those kernels whose RX_FILL(name) it mentions;
// cc/<name>_test.cc is linked with the kernels of all instruction sets. --bench takes <name>_bench.cc instead.
// Tests of an instruction set that this processor lacks are passed over, unless --isa names it: then they are compiled.
// Without a sanitizer the tests are linked with the very objects that the library is made of.
// A compiler for another processor will do: CXX=aarch64-linux-gnu-g++ runs the tests in qemu, where that is found.
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { builtObjects, findCompiler, inParallel, instructionSetsOf, isBf16, units, writeKernelList } from './build.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const cc = join(here, 'cc');
const kernels = join(cc, 'kernels');

const [words, passed] = [process.argv.slice(2), []];
if (words.includes('--')) passed.push(...words.splice(words.indexOf('--')).slice(1));
const option = (name) => words.find((word) => word.startsWith(`--${name}=`))?.slice(name.length + 3);
const sanitize = option('sanitize');
const bench = words.includes('--bench');
const suffix = bench ? '_bench.cc' : '_test.cc';
const wanted = words.filter((word) => !word.startsWith('--'));

const compiler = findCompiler();
if (compiler === undefined) {
  console.log('no C++ compiler (g++ or clang++) found: the C++ tests were not run');
  process.exit(0);
}

const instructionSets = instructionSetsOf(compiler);

/** What programs of the compiler's machine are run with: nothing here, qemu's user mode for another processor; none: they cannot be. */
const runner = (() => {
  const [ours, theirs] = [process.arch === 'x64' ? 'x86_64' : 'aarch64', compiler.target.split('-')[0]];
  if (ours === theirs || (ours === 'aarch64' && theirs === 'arm64')) return [];
  const emulator = [`qemu-${theirs}-static`, `qemu-${theirs}`].find(
    (name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0,
  );
  return emulator === undefined ? undefined : [emulator, '-L', `/usr/${compiler.target}`];
})();

const flags = [
  '-std=c++17',
  '-fPIC',
  '-pthread',
  '-fno-math-errno',
  '-Wall',
  '-Wextra',
  '-Wno-psabi',
  '-Wno-unused-function',
  // GCC 12 reports the deliberately undefined operands inside its own AVX-512 headers
  '-Wno-uninitialized',
  '-Wno-maybe-uninitialized',
  ...(sanitize === undefined
    ? [bench ? '-O3' : '-O2']
    : ['-O1', '-g', '-fno-omit-frame-pointer', `-fsanitize=${sanitize}`, '-fno-sanitize-recover=all']),
];
const buildFolder = join(here, 'build', 'test', runner?.length === 0 ? '' : compiler.target);
mkdirSync(buildFolder, { recursive: true });
writeKernelList(buildFolder, compiler);

const call = async (args) => {
  try {
    const { stderr } = await promisify(execFile)(compiler.path, args, { maxBuffer: 1 << 26 });
    if (stderr) process.stderr.write(stderr);
  } catch (error) {
    process.stderr.write(error.stderr ?? String(error));
    process.exit(1);
  }
};

const headers = [cc, kernels, join(cc, 'ops')].flatMap((folder) =>
  readdirSync(folder)
    .filter((file) => file.endsWith('.h'))
    .map((file) => join(folder, file)),
);
const changed = (file) => statSync(file).mtimeMs;
const newestHeader = Math.max(
  ...headers.map(changed),
  changed(join(here, 'build.mjs')),
  changed(join(here, 'test.mjs')),
);

/** When the source, or another source that it includes whole, was changed last. */
const sourceChanged = (source) =>
  Math.max(
    changed(source),
    ...[...readFileSync(source, 'utf8').matchAll(/^#include "(.*\.cc)"/gm)].map(([, name]) =>
      changed(join(dirname(source), name)),
    ),
  );

// GCC 12 for aarch64 ends with an internal error over a reduction of quantize_test.cc. The kernels themselves are compiled as ever.
const ofTests = compiler.target.startsWith('aarch64') ? ['-fno-tree-vectorize'] : [];

const libraryObject = sanitize === undefined && runner?.length === 0 ? await builtObjects(compiler) : () => undefined;

const folderOf = (set) => {
  const folder = join(buildFolder, `${set}${sanitize === undefined ? '' : `-${sanitize}`}${bench ? '-bench' : ''}`);
  mkdirSync(folder, { recursive: true });
  return folder;
};
const isFresh = (target, source) =>
  existsSync(target) && changed(target) >= Math.max(sourceChanged(source), newestHeader);
const flagsOf = (set) => [...flags, ...(instructionSets[set] ?? []), `-I${buildFolder}`, `-I${cc}`, `-DRX_ISA=${set}`];

const isKernelTest = (source) => dirname(source) === kernels && source.endsWith(suffix);
const testHeader = join(kernels, 'test.h');
const headerOf = (set) => join(folderOf(set), 'test.h');
/**
 * Compiles the header of all tests of kernels once an instruction set: it takes longer to read than most of them. Where g++ refuses
 * what it finds compiled it reads the header itself. clang++ wants other flags for it, and goes without.
 */
const precompileHeader = async (set) => {
  const target = `${headerOf(set)}.gch`;
  if (isFresh(target, testHeader)) return;
  writeFileSync(headerOf(set), `#include "${testHeader}"\n`);
  await call([...flagsOf(set), ...ofTests, '-x', 'c++-header', headerOf(set), '-o', target]);
};
const precompiles = !bench && !/clang/.test(compiler.version);

/** The object of a source for an instruction set, compiled when it is older than the source or any header. */
const objectOf = async (source, set) => {
  const built = libraryObject(source, set);
  if (built !== undefined) return built;
  // Two folders may have a file of one name.
  const target = join(folderOf(set), relative(here, source).replace(/\.cc$/, '.o').replaceAll(sep, '-'));
  if (!isFresh(target, source))
    await call([
      ...flagsOf(set),
      ...(source.endsWith('_test.cc') ? ofTests : []),
      ...(precompiles && isKernelTest(source) ? ['-include', headerOf(set)] : []),
      '-c',
      source,
      '-o',
      target,
    ]);
  return target;
};

const has = (() => {
  try {
    return new Set(/^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.trim().split(/\s+/) ?? []);
  } catch {
    return new Set();
  }
})();
const needs = (set) =>
  (instructionSets[set] ?? [])
    .filter((flag) => /^-m(avx|fma|amx)/.test(flag))
    .map((flag) => flag.slice(2).replace('avx512bf16', 'avx512_bf16').replace('amx-', 'amx_'));

const lackingOf = (set) => needs(set).filter((flag) => !has.has(flag));

let failures = 0;
const found = [];
const linked = async ({ test, pairs, set }) => {
  const object = await objectOf(test, set);
  const program = object.replace(/\.o$/, '');
  const objects = [];
  for (const [source, ofSet] of pairs) objects.push(await objectOf(source, ofSet));
  await call([...flags, ...objects, object, '-o', program]);
  return program;
};
const runOne = ({ title, set, program }) => {
  if (runner === undefined) {
    console.log(`${title}: compiled for ${compiler.target}, not run: no emulator of it was found (qemu-user-static)`);
    return;
  }
  const lacking = lackingOf(set);
  if (lacking.length > 0) {
    console.log(`${title}: compiled, not run: this processor lacks ${lacking.join(', ')}`);
    return;
  }
  const started = performance.now();
  const [command, ...args] = [...runner, program, ...passed];
  const { status, signal } = spawnSync(command, args, { stdio: 'inherit' });
  if (status !== 0) failures++;
  console.log(
    `${title}: ${status === 0 ? 'ok' : `FAILED (${signal ?? status})`} ${((performance.now() - started) / 1000).toFixed(1)} s`,
  );
};

const testsIn = (folder) =>
  readdirSync(folder)
    .filter((file) => file.endsWith(suffix) && (wanted.length === 0 || wanted.includes(file.slice(0, -suffix.length))))
    .map((file) => join(folder, file));
const core = ['pool.cc', 'scratch.cc', 'pages.cc'].map((file) => [join(cc, file), 'base']);

const passedOver = option('isa') === undefined && runner?.length === 0 ? lackingOf : () => [];
const sets = Object.keys(instructionSets)
  .filter((set) => (option('isa') ?? set) === set)
  .filter((set) => {
    const lacking = passedOver(set);
    if (lacking.length > 0) console.log(`tests of ${set}: not run, this processor lacks ${lacking.join(', ')}`);
    return lacking.length === 0;
  });
const ofBf16 = (test) => isBf16(basename(test, suffix));
/** Attention of bfloat16 operands is x86's alone. */
const isThere = (test, set) => !(set === 'neonbf16' && basename(test).startsWith('attention'));
for (const set of sets.reverse())
  for (const test of testsIn(kernels).filter((file) => ofBf16(file) === isBf16(set) && isThere(file, set))) {
    const mentioned = [...readFileSync(test, 'utf8').matchAll(/RX_FILL\((\w+)\)/g)]
      .map(([, name]) => join(kernels, `${name}.cc`))
      .filter((file) => isBf16(basename(file, '.cc')) === isBf16(set));
    found.push({
      title: `${set} ${basename(test, suffix)}`,
      test,
      pairs: [...core, ...[...new Set(mentioned)].map((source) => [source, set])],
      set,
    });
  }
for (const test of testsIn(cc)) {
  const all = units(compiler)
    .filter(([source]) => source !== 'binding.cc')
    .map(([source, set]) => [join(cc, source), set]);
  found.push({ title: basename(test, suffix), test, pairs: all, set: 'base' });
}
const needed = found.flatMap(({ test, pairs, set }) => [...pairs, [test, set]]);
const headed = precompiles ? [...new Set(found.filter(({ test }) => isKernelTest(test)).map(({ set }) => set))] : [];
await inParallel(headed.map((set) => () => precompileHeader(set)));
const distinct = [...new Map(needed.map((pair) => [pair.join(' '), pair])).values()];
await inParallel(
  distinct.map(
    ([source, set]) =>
      () =>
        objectOf(source, set),
  ),
);
await inParallel(
  found.map((one) => async () => {
    one.program = await linked(one);
  }),
);
found.forEach(runOne);
if (found.length === 0) {
  console.error(`no ${suffix} called ${wanted.join(', ')}`);
  failures++;
}
process.exitCode = failures === 0 ? 0 : 1;
