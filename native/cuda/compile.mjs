// What is made of native/cuda: the kernels with nvcc, and, for tests, the same kernels emulated on the processor behind stand-ins of the
// driver and of cublasLt.
//   node native/cuda/compile.mjs kernels   native/build/rxtune.fatbin, for cards from Ampere on (npm run build:cuda)
//   node native/cuda/compile.mjs check     whether everything compiles for sm_80 and sm_90a, and what each kernel takes of registers and
//                                          memory: none may spill registers, want more of them than a card has for its threads, or have
//                                          products of warpgroups that wait for each other, or whose registers are written while they
//                                          run (products.mjs, where nvdisasm is found); and whether NVIDIA's headers and library declare
//                                          and take what the host's side does (npm run check:cuda)
//   node native/cuda/compile.mjs mock      native/build/cuda/mock.so
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findCompiler, inParallel, run } from '../build.mjs';
import { productsOf } from './products.mjs';
import { disassembled, findDisassembler, functionsOf } from './sass.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const build = join(here, '..', 'build');
const kernels = readdirSync(join(here, 'kernels'))
  .filter((name) => name.endsWith('.cu'))
  .sort();

/**
 * Machine code for the two architectures that are tuned for, and the portable form, which the driver compiles for later cards. sm_90a is
 * sm_90 with the instructions that Hopper alone has (wgmma.h): it runs on compute capability 9.0, as sm_90 would, and on nothing else.
 */
const targets = [
  ['arch=compute_80', 'sm_80'],
  ['arch=compute_90a', 'sm_90a'],
  ['arch=compute_80', 'compute_80'],
];
/** RXTUNE_CUDA_ARCH=sm_90a: for that one alone, in a third of the time, to try something. */
const architectures = targets
  .filter(([, code]) => [undefined, code].includes(process.env['RXTUNE_CUDA_ARCH']))
  .flatMap(([arch, code]) => ['-gencode', `${arch},code=${code}`]);
const nvccFlags = ['-std=c++17', '-O3', '-Xptxas', '-v,-warn-spills'];

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

/**
 * What ptxas says of each kernel and architecture: [{kernel, arch, registers, shared, stack, spilled}], bytes but for registers. `shared`
 * is what a kernel has of itself; attention asks for more when it starts.
 */
export const resources = (said) => {
  const found = [];
  for (const line of said.split('\n')) {
    const [, kernel, arch] = /Compiling entry function '(\w+)' for '(\w+)'/.exec(line) ?? [];
    if (kernel !== undefined) found.push({ kernel, arch, registers: 0, shared: 0, stack: 0, spilled: 0 });
    const last = found.at(-1);
    if (last === undefined) continue;
    const [, stack, stores, loads] =
      /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line) ?? [];
    if (stack !== undefined) Object.assign(last, { stack: Number(stack), spilled: Number(stores) + Number(loads) });
    const [, registers] = /Used (\d+) registers/.exec(line) ?? [];
    if (registers !== undefined) last.registers = Number(registers);
    const [, shared] = /(\d+) bytes smem/.exec(line) ?? [];
    if (shared !== undefined) last.shared = Number(shared);
  }
  return found;
};

/** Threads a block at most, of the kernels that say so: { rx_flash_64: 256, … }. The others may be started with 1024. */
const launchBounds = () =>
  Object.fromEntries(
    kernels.flatMap((name) =>
      [
        ...readFileSync(join(here, 'kernels', name), 'utf8').matchAll(
          /__global__ void __launch_bounds__\((\d+)[^)]*\)\s+(rx_\w+)/g,
        ),
      ].map(([, threads, kernel]) => [kernel, Number(threads)]),
    ),
  );

/** Kernels of which a card cannot start a block: it has 65536 registers, and gives them to warps by 256. */
export const unstartable = (found, bounds) =>
  found
    .filter(
      ({ kernel, registers }) =>
        Math.ceil((registers * 32) / 256) * 256 * Math.ceil((bounds[kernel] ?? 1024) / 32) > 65536,
    )
    .map(({ kernel, arch, registers }) => `${kernel} (${arch}): ${registers} registers`);

/** Kernels whose warpgroup products ptxas makes wait for each other, since it cannot tell who uses their registers. */
export const serialized = (said) => [
  ...new Set([...said.matchAll(/wgmma\S* instructions are serialized due to .* '(\w+)'/g)].map(([, kernel]) => kernel)),
];

/** A line a kernel, registers / stack / shared memory of each architecture. Returns the kernels that spill. */
const reportResources = (found) => {
  const architectures = [...new Set(found.map(({ arch }) => arch))].sort();
  const of = (kernel, arch) => found.find((each) => each.kernel === kernel && each.arch === arch);
  console.log(
    `${'kernel'.padEnd(28)}${architectures.map((arch) => `${arch}: registers stack shared`.padEnd(36)).join('')}`,
  );
  for (const kernel of [...new Set(found.map((each) => each.kernel))].sort()) {
    const cells = architectures.map((arch) => {
      const { registers, stack, shared, spilled } = of(kernel, arch) ?? {};
      const spill = spilled > 0 ? `  SPILLS ${spilled} bytes` : '';
      return `${' '.repeat(7)}${`${registers}`.padStart(9)} ${`${stack}`.padStart(5)} ${`${shared}`.padStart(6)}${spill}`.padEnd(
        36,
      );
    });
    console.log(kernel.padEnd(28) + cells.join(''));
  }
  return [...new Set(found.filter(({ spilled }) => spilled > 0).map(({ kernel, arch }) => `${kernel} (${arch})`))];
};

/** All kernels in one file: one module to load. `look` is shown Hopper's machine code before it is gone. */
const compileKernels = (nvcc, target, look) => {
  const folder = mkdtempSync(join(tmpdir(), 'rxtune-cuda-'));
  try {
    const all = join(folder, 'all.cu');
    writeFileSync(all, kernels.map((name) => `#include "${join(here, 'kernels', name)}"\n`).join(''));
    const made = join(folder, 'kernels.fatbin');
    const { status, stdout, stderr } = spawnSync(
      nvcc.path,
      [
        ...nvccFlags,
        ...architectures,
        ...(look === undefined ? [] : ['-keep', '-keep-dir', folder]),
        '-fatbin',
        all,
        '-o',
        made,
      ],
      {
        encoding: 'utf8',
        maxBuffer: 1 << 26,
      },
    );
    const said = `${stdout}${stderr}`;
    const worthSaying = said
      .split('\n')
      .filter((line) => line.trim() !== '' && !/^ptxas info|bytes stack frame/.test(line));
    if (worthSaying.length > 0) console.error(worthSaying.join('\n'));
    if (status !== 0) throw new Error(`nvcc failed (exit code ${status})`);
    const cubin = readdirSync(folder).find((name) => /_90a\.cubin$/.test(name));
    if (look !== undefined && cubin !== undefined) look(join(folder, cubin));
    if (target === undefined) return { bytes: statSync(made).size, used: resources(said), waiting: serialized(said) };
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(`${target}.${process.pid}`, '');
    execFileSync('cp', [made, `${target}.${process.pid}`]);
    renameSync(`${target}.${process.pid}`, target);
    return { bytes: statSync(target).size, used: resources(said), waiting: serialized(said) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

const sources = (folder, pattern) =>
  readdirSync(join(here, folder))
    .filter((name) => pattern.test(name))
    .map((name) => join(here, folder, name));

/**
 * The stand-in of libcuda and libcublasLt; compiled again when anything of native/cuda is newer. A sanitizer of the compiler's, or
 * 'races': kernels with the calls of ThreadSanitizer's instrumentation, which emulate/watch.cc answers.
 */
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
  const races = sanitize === 'races';
  if (races) flags.push('-g', '-DRX_WATCH');
  else if (sanitize !== undefined) flags.push('-g', `-fsanitize=${sanitize}`, '-fno-sanitize-recover=all');
  const objects = units.map((_, i) => join(folder, `${process.pid}-${i}.o`));
  try {
    await inParallel(
      units.map((unit, i) => async () => {
        const watched = races && unit.endsWith('.cu') ? ['-fsanitize=thread'] : [];
        await run(compiler.path, [...flags, ...watched, '-DRX_EMULATE', '-x', 'c++', '-c', unit, '-o', objects[i]]);
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

/** What the host's side declares of the driver and of cublasLt, held against NVIDIA's headers and the library, where they are. */
const compareDeclarations = (nvcc, home) => {
  const compiled = (source, target, ...flags) =>
    spawnSync(nvcc.path, ['-std=c++17', `-I${join(home, 'include')}`, '-x', 'c++', source, '-o', target, ...flags], {
      stdio: 'inherit',
    }).status === 0;
  if (!compiled(join(here, 'test', 'prototypes.cc'), '/dev/null', '-c')) return false;
  const headers = existsSync(join(home, 'include', 'cublasLt.h'));
  const library = ['lib64', 'lib']
    .map((folder) => join(home, folder, 'libcublasLt.so.13'))
    .find((path) => existsSync(path));
  if (!headers || library === undefined)
    console.log(
      `cublasLt${headers ? '' : '.h'} was not found in ${home}: it was not compared with (pip install nvidia-cublas, where pip has the compiler)`,
    );
  if (library === undefined) return true;
  const program = join(mkdtempSync(join(tmpdir(), 'rxtune-cuda-')), 'library');
  try {
    return (
      compiled(join(here, 'test', 'library.cc'), program, '-ldl') &&
      spawnSync(program, [library], { stdio: 'inherit' }).status === 0
    );
  } finally {
    rmSync(dirname(program), { recursive: true, force: true });
  }
};

/** Tells whether Hopper's machine code leaves registers of its products alone while they run; undefined where nothing reads machine code. */
const lookAtProducts = (nvcc) => {
  const disassembler = findDisassembler(nvcc);
  if (disassembler === undefined) {
    console.log(
      'nvdisasm was not found: registers of warpgroup products were not looked at (pip install nvidia-cuda-nvdisasm, or triton, which has one)',
    );
    return undefined;
  }
  return (cubin) => {
    for (const { kernel, products, fromRegisters, faults } of productsOf(
      functionsOf(disassembled(disassembler, cubin)),
    )) {
      console.log(`${kernel.padEnd(28)} ${products} warpgroup products, ${fromRegisters} of them from registers`);
      for (const fault of faults) console.error(`${kernel}: ${fault}`);
      if (faults.length > 0) process.exitCode = 1;
    }
  };
};

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
  const installed = realpathSync(nvcc.path === 'nvcc' ? execFileSync('which', ['nvcc']).toString().trim() : nvcc.path);
  const { bytes, used, waiting } =
    action === 'kernels'
      ? compileKernels(nvcc, kernelImage)
      : compileKernels(nvcc, undefined, lookAtProducts(installed));
  if (action === 'check') {
    if (!compareDeclarations(nvcc, dirname(dirname(installed)))) process.exitCode = 1;
    const spilling = reportResources(used);
    if (spilling.length > 0) {
      console.error(
        `registers go to memory in ${spilling.join(', ')}: smaller tiles, or fewer threads in __launch_bounds__`,
      );
      process.exitCode = 1;
    }
    if (waiting.length > 0) {
      console.error(`warpgroup products wait for each other in ${waiting.join(', ')}`);
      process.exitCode = 1;
    }
    const large = unstartable(used, launchBounds());
    if (large.length > 0) {
      console.error(`more registers than a card has for a block's threads: ${large.join(', ')}: say __launch_bounds__`);
      process.exitCode = 1;
    }
  }
  const seconds = ((Date.now() - started) / 1000).toFixed(0);
  console.log(
    `${kernels.length} kernel files compiled for sm_80, sm_90a and later by nvcc ${nvcc.version} in ${seconds} s: ${(bytes / 1024).toFixed(0)} kB`,
  );
};

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv[2] ?? 'kernels');
