// Compiles and runs native/cuda/test/check.cc: every kernel against the processor's.
//   node native/cuda/test.mjs [--rounds=N] [--only=NAME,…]     emulated on the processor, with and without the stand-in of cublasLt, and
//                                                              with races looked for, in fewer rounds
//   node native/cuda/test.mjs --card [--rounds=N] …            on a card: driver, cublasLt and native/build/rxtune.fatbin of this machine
//   --sanitize=address|undefined                               the emulated kernels and the host's code under a sanitizer
//   --races                                                    this last run alone: every access is looked at, two threads that meet at a
//                                                              byte with no barrier between them end it, and so does a launch that
//                                                              touches other bytes than test/moved.h counts
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findCompiler, inParallel, run, units, writeKernelList } from '../build.mjs';
import { compileMock, kernelImage, mockImage } from './compile.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const cc = join(here, '..', 'cc');
const folder = join(here, '..', 'build', 'cuda');
const words = process.argv.slice(2);
const card = words.includes('--card');
const sanitize = words.find((word) => word.startsWith('--sanitize='))?.slice('--sanitize='.length);
const races = words.includes('--races');
const passed = words.filter((word) => word !== '--card' && word !== '--races' && !word.startsWith('--sanitize='));

const compiler = findCompiler();
if (compiler === undefined) {
  console.log('no C++ compiler (g++ or clang++) found: the CUDA kernels were not tested');
  process.exit(0);
}

/** The processor's kernels for comparison, the host's side of the device, and the test. */
const build = async () => {
  mkdirSync(folder, { recursive: true });
  writeKernelList(folder, compiler);
  const sanitizing = sanitize === undefined ? [] : ['-g', `-fsanitize=${sanitize}`, '-fno-sanitize-recover=all'];
  const flags = [
    '-std=c++17',
    '-O2',
    '-pthread',
    '-fno-math-errno',
    '-Wno-psabi',
    `-I${folder}`,
    `-I${cc}`,
    ...sanitizing,
  ];
  const wanted = [
    ...units(compiler)
      .filter(([source]) => source.startsWith('kernels') || /^(dispatch|pages|pool|routes|scratch)\.cc$/.test(source))
      .map(([source, set, extra]) => [join(cc, source), set, extra]),
    ...readdirSync(join(here, 'host'))
      .filter((name) => name.endsWith('.cc'))
      .map((name) => [join(here, 'host', name), 'host', []]),
    [join(here, 'test', 'check.cc'), 'test', []],
  ];
  const objects = wanted.map(([source, set]) =>
    join(folder, `${source.replace(/[/.]/g, '-').slice(-60)}-${set}-${sanitize ?? 'plain'}.o`),
  );
  await inParallel(
    wanted.map(([source, , extra], i) => async () => {
      // make's rule: the compiler writes down what it read
      const upToDate = () => {
        try {
          const read = readFileSync(`${objects[i]}.d`, 'utf8').replaceAll('\\\n', ' ').split(':').slice(1).join(':');
          const files = read.trim().split(/\s+/);
          return spawnSync('find', [...files, '-newer', objects[i]], { encoding: 'utf8' }).stdout === '';
        } catch {
          return false;
        }
      };
      if (!upToDate())
        await run(compiler.path, [...flags, ...extra, '-MD', '-MF', `${objects[i]}.d`, '-c', source, '-o', objects[i]]);
    }),
    2,
  );
  const program = join(folder, `check-${sanitize ?? 'plain'}`);
  await run(compiler.path, [...flags, ...objects, '-ldl', '-o', program]);
  return program;
};

/** The emulated instructions by themselves, against layouts that come from elsewhere. */
const checkLayouts = async () => {
  const program = join(folder, 'layouts');
  const sources = ['fibers', 'watch', 'wgmma'].map((name) => join(here, 'emulate', `${name}.cc`));
  const flags = ['-std=c++17', '-O1', '-Wno-unknown-pragmas', '-DRX_EMULATE', '-x', 'c++'];
  await run(compiler.path, [...flags, ...sources, join(here, 'test', 'layouts.cc'), '-o', program]);
  return spawnSync(program, { stdio: 'inherit' }).status ?? 1;
};

const program = await build();
if (!card && !races && sanitize === undefined && passed.every((word) => !word.startsWith('--only=')))
  process.exitCode = await checkLayouts();
const runs = card
  ? [['on the card', [`--image=${kernelImage}`]]]
  : await (async () => {
      const emulated = (mock) => [`--image=${mockImage}`, `--driver=${mock}`];
      const plainly = async () => {
        const mock = await compileMock(sanitize);
        return [
          ['emulated', [...emulated(mock), `--blas=${mock}`]],
          ['emulated, without cublasLt', [...emulated(mock), '--blas=none']],
        ];
      };
      const watched = async () => {
        const mock = await compileMock('races');
        const few = ['--rounds=12'];
        return [
          ['emulated, races looked for', [...emulated(mock), `--blas=${mock}`, ...few]],
          ['emulated, races looked for, without cublasLt', [...emulated(mock), '--blas=none', ...few]],
        ];
      };
      return [...(races ? [] : await plainly()), ...(sanitize === undefined ? await watched() : [])];
    })();
for (const [title, args] of runs) {
  console.log(title);
  const { status } = spawnSync(program, [...args, ...passed], { stdio: 'inherit' });
  if (status === 3) console.log('nothing was checked on a card');
  if (status !== 0) process.exitCode = status ?? 1;
}
