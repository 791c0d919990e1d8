// What is made of native/cuda: the kernels with nvcc, and, for tests, the same kernels emulated on the processor behind stand-ins of the
// driver and of cublasLt.
//   node native/cuda/compile.mjs kernels   native/build/rxtune.fatbin, for cards from Ampere on (npm run build:cuda)
//   node native/cuda/compile.mjs check     only whether everything compiles for sm_80 and sm_90 (npm run check:cuda)
//   node native/cuda/compile.mjs mock      native/build/cuda/mock.so
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findCompiler, inParallel, run } from '../build.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const build = join(here, '..', 'build');
const kernels = readdirSync(join(here, 'kernels'))
  .filter((name) => name.endsWith('.cu'))
  .sort();

/** Machine code for the two architectures that are tuned for, and the portable form, which the driver compiles for later cards. */
const architectures = [
  ...['-gencode', 'arch=compute_80,code=sm_80'],
  ...['-gencode', 'arch=compute_90,code=sm_90'],
  ...['-gencode', 'arch=compute_80,code=compute_80'],
];
const nvccFlags = ['-std=c++17', '-O3', '-Xptxas', '-warn-spills'];

export const findNvcc = () => {
  const home = process.env['CUDA_HOME'] ?? process.env['CUDA_PATH'];
  for (const path of [home && join(home, 'bin', 'nvcc'), 'nvcc', '/usr/local/cuda/bin/nvcc']) {
    if (!path) continue;
    try {
      const version = /release ([\d.]+)/.exec(execFileSync(path, ['--version'], { stdio: 'pipe' }).toString())?.[1];
      return { path, version };
    } catch {
      // try the next one
    }
  }
  return undefined;
};

/** All kernels in one file: one module to load. */
const compileKernels = (nvcc, target) => {
  const folder = mkdtempSync(join(tmpdir(), 'rxtune-cuda-'));
  try {
    const all = join(folder, 'all.cu');
    writeFileSync(all, kernels.map((name) => `#include "${join(here, 'kernels', name)}"\n`).join(''));
    const made = join(folder, 'kernels.fatbin');
    execFileSync(nvcc.path, [...nvccFlags, ...architectures, '-fatbin', all, '-o', made], { stdio: 'inherit' });
    if (target === undefined) return statSync(made).size;
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(`${target}.${process.pid}`, '');
    execFileSync('cp', [made, `${target}.${process.pid}`]);
    renameSync(`${target}.${process.pid}`, target);
    return statSync(target).size;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

const sources = (folder, pattern) =>
  readdirSync(join(here, folder))
    .filter((name) => pattern.test(name))
    .map((name) => join(here, folder, name));

/** The stand-in of libcuda and libcublasLt; compiled again when anything of native/cuda is newer. */
export const compileMock = async (sanitize) => {
  const compiler = findCompiler();
  if (compiler === undefined) return undefined;
  const folder = join(build, 'cuda');
  mkdirSync(folder, { recursive: true });
  const target = join(folder, sanitize === undefined ? 'mock.so' : `mock-${sanitize}.so`);
  const all = ['kernels', 'emulate', 'host', 'test'].flatMap((name) => sources(name, /\.(cu|cc|h)$/));
  const newest = Math.max(...all.map((file) => statSync(file).mtimeMs));
  if (existsSync(target) && statSync(target).mtimeMs > newest) return target;
  const units = [...sources('kernels', /\.cu$/), ...sources('emulate', /\.cc$/), join(here, 'test', 'mock.cc')];
  const flags = ['-std=c++17', '-O2', '-fPIC', '-fvisibility=hidden', '-Wall', '-Wextra', '-Wno-unused-function'];
  if (sanitize !== undefined) flags.push('-g', `-fsanitize=${sanitize}`, '-fno-sanitize-recover=all');
  const objects = units.map((_, i) => join(folder, `${process.pid}-${i}.o`));
  try {
    await inParallel(
      units.map((unit, i) => async () => {
        await run(compiler.path, [...flags, '-DRX_EMULATE', '-x', 'c++', '-c', unit, '-o', objects[i]]);
      }),
      2,
    );
    await run(compiler.path, [...flags, '-shared', ...objects, '-o', `${target}.${process.pid}`]);
    renameSync(`${target}.${process.pid}`, target);
  } finally {
    for (const object of objects) rmSync(object, { force: true });
  }
  writeFileSync(join(folder, 'emulated.image'), 'emulated\n');
  return target;
};

/** What stands in for compiled kernels under emulation. */
export const mockImage = join(build, 'cuda', 'emulated.image');
export const kernelImage = join(build, 'rxtune.fatbin');

const main = async (action) => {
  if (action === 'mock') {
    console.log((await compileMock()) ?? 'no C++ compiler (g++ or clang++) found: the emulation was not built');
    return;
  }
  const nvcc = findNvcc();
  if (nvcc === undefined) {
    console.log('nvcc (of the CUDA toolkit 13) was not found: the CUDA kernels were not compiled');
    // The check has found nothing wrong; who asks for the kernels does not get them.
    if (action === 'kernels') process.exitCode = 1;
    return;
  }
  const started = Date.now();
  const bytes = compileKernels(nvcc, action === 'kernels' ? kernelImage : undefined);
  if (action === 'check') {
    const include = join(
      dirname(
        dirname(
          execFileSync('realpath', [
            nvcc.path === 'nvcc' ? execFileSync('which', ['nvcc']).toString().trim() : nvcc.path,
          ])
            .toString()
            .trim(),
        ),
      ),
      'include',
    );
    const prototypes = join(here, 'test', 'prototypes.cc');
    execFileSync(nvcc.path, ['-std=c++17', `-I${include}`, '-x', 'c++', '-c', prototypes, '-o', '/dev/null'], {
      stdio: 'inherit',
    });
  }
  const seconds = ((Date.now() - started) / 1000).toFixed(0);
  console.log(
    `${kernels.length} kernel files compiled for sm_80, sm_90 and later by nvcc ${nvcc.version} in ${seconds} s: ${(bytes / 1024).toFixed(0)} kB`,
  );
};

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv[2] ?? 'kernels');
