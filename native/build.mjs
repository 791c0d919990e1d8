// Compiles the native engine to native/build/rxtune.node with g++ or clang++: no node-gyp, no install script. What is up to
// date (by content, flags and compiler) is not compiled again. Without a compiler one line says so and the exit code is 0.
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const here = dirname(fileURLToPath(import.meta.url));
const isX64 = (target) => /^(x86_64|amd64)/.test(target);
const sources = join(here, 'cc');
const build = join(here, 'build');
const objects = join(build, 'objects');

/** Whether the compiler and its assembler know Intel's matrix tiles: g++ and clang++ from 11 on. */
const knowsTiles = (path) => {
  const input = '#include <immintrin.h>\nvoid f() { _tile_zero(0); }\n';
  const args = [...tiles, '-x', 'c++', '-c', '-o', '/dev/null', '-'];
  return spawnSync(path, args, { input, stdio: ['pipe', 'ignore', 'ignore'] }).status === 0;
};

const avx512 = ['-mavx512f', '-mavx512bw', '-mavx512vl', '-mavx512dq', '-mavx2', '-mfma', '-mprefer-vector-width=512'];
const avx512bf16 = [...avx512, '-mavx512bf16'];
const tiles = ['-mamx-tile', '-mamx-bf16', '-DRX_AMX'];

/**
 * The first of CXX, g++, clang++ and c++ that answers, the machine that it compiles for (`aarch64-linux-gnu`), and whether it knows the
 * tiles of that machine.
 */
export const findCompiler = () => {
  for (const candidate of [process.env['CXX'], 'g++', 'clang++', 'c++']) {
    if (!candidate) continue;
    const ask = (question) => execFileSync(candidate, [question], { stdio: 'pipe' }).toString();
    try {
      const target = ask('-dumpmachine').trim();
      return {
        path: candidate,
        version: ask('--version'),
        target,
        tiles: /linux/.test(target) && isX64(target) && knowsTiles(candidate),
      };
    } catch {
      // try the next one
    }
  }
  return undefined;
};

/** Flags of each instruction set that a compiler knows; kernels whose name ends in _bf16 are compiled for the sets ending in bf16 alone. */
export const instructionSetsOf = ({ target, tiles: withTiles }) => {
  if (isX64(target))
    return {
      portable: [],
      avx2: ['-mavx2', '-mfma'],
      avx512,
      avx512bf16,
      ...(withTiles ? { amxbf16: [...avx512bf16, ...tiles] } : {}),
    };
  if (/^(aarch64|arm64)/.test(target)) return { neon: [], neonbf16: ['-march=armv8.2-a+bf16'] };
  return { portable: [] };
};
export const isBf16 = (name) => name.endsWith('bf16');

const baseFlags = [
  '-std=c++17',
  '-O3',
  '-fPIC',
  '-fvisibility=hidden',
  '-fno-math-errno',
  '-Wno-psabi',
  '-pthread',
  '-DNDEBUG',
];
const filesIn = (folder, extension) =>
  readdirSync(join(sources, folder))
    .filter((name) => name.endsWith(extension))
    .sort()
    .map((name) => join(folder, name));

export const kernelNames = () =>
  filesIn('kernels', '.cc')
    .map((file) => file.slice('kernels/'.length, -'.cc'.length))
    .filter((name) => !/_(test|bench)$/.test(name));

/** [source, instruction set, flags] of everything that becomes part of the library. */
export const units = (compiler) => [
  ...kernelNames().flatMap((name) =>
    Object.entries(instructionSetsOf(compiler))
      .filter(([set]) => isBf16(name) === isBf16(set))
      .map(([set, flags]) => [`kernels/${name}.cc`, set, [...flags, `-DRX_ISA=${set}`]]),
  ),
  // The host's side of the CUDA device needs nothing of CUDA: it opens the driver when it is asked for.
  ...['', 'ops', join('..', 'cuda', 'host')].flatMap((folder) =>
    filesIn(folder, '.cc')
      .filter((file) => !/_(test|bench)\.cc$/.test(file))
      .map((file) => [file, 'base', []]),
  ),
];

/** dispatch.cc learns from this header which kernels there are, and whether those of Intel's tiles are among them. */
export const writeKernelList = (folder, { tiles: withTiles }) => {
  const list = (names) => names.map((name) => `X(${name}, isa)`).join(' ');
  const names = kernelNames();
  const text =
    `#define RX_KERNELS(X, isa) ${list(names.filter((name) => !isBf16(name)))}\n` +
    `#define RX_BFLOAT16_KERNELS(X, isa) ${list(names.filter(isBf16))}\n` +
    (withTiles ? '#define RX_TILES\n' : '');
  const path = join(folder, 'kernel_list.h');
  if (!existsSync(path) || readFileSync(path, 'utf8') !== text) writeFileSync(path, text);
};

const hash = (...parts) => {
  const digest = createHash('sha256');
  for (const part of parts) digest.update(part).update('\0');
  return digest.digest('hex').slice(0, 16);
};

/** A source file and every header of ours that it includes, directly or not. */
const included = (file, seen = new Set()) => {
  if (seen.has(file)) return [];
  seen.add(file);
  const names = [...readFileSync(file, 'utf8').matchAll(/^#include "(.*)"/gm)].map(([, name]) => name);
  const found = names.map((name) => [join(dirname(file), name), join(build, name)].find((path) => existsSync(path)));
  return [file, ...found.filter((path) => path !== undefined).flatMap((path) => included(path, seen))];
};

/** Runs tasks, so many at a time. */
export const inParallel = async (tasks, width = Math.max(1, Math.min(availableParallelism(), 8))) => {
  const queue = [...tasks];
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (let task = queue.shift(); task !== undefined; task = queue.shift()) await task();
    }),
  );
};

export const run = promisify(execFile);

const replace = (temporary, path) => renameSync(temporary, path);

/** What becomes part of the library, each with the place of its object, whose name tells its content, flags and compiler. */
const wantedObjects = (compiler) => {
  mkdirSync(objects, { recursive: true });
  writeKernelList(build, compiler);
  const include = join(dirname(createRequire(import.meta.url).resolve('node-api-headers/package.json')), 'include');
  const shared = hash(compiler.path, compiler.version, compiler.target);
  return units(compiler).map(([source, set, extra]) => {
    const flags = [...baseFlags, ...extra, '-DNAPI_VERSION=8'];
    const keyNow = () =>
      hash(shared, flags.join(' '), ...included(join(sources, source)).map((file) => readFileSync(file)));
    const key = keyNow();
    const name = `${source.replace(/[/.]/g, '-')}-${set}-${key}.o`;
    return {
      source,
      set,
      flags: [...flags, `-I${build}`, `-I${sources}`, `-I${include}`],
      path: join(objects, name),
      name,
      unchanged: () => keyNow() === key,
    };
  });
};

/** Compiles those whose objects are missing. Resolves to what the compiler said of those that do not compile. */
const compileMissing = async (compiler, wanted) => {
  const missing = wanted.filter(({ path }) => !existsSync(path));
  const failures = [];
  await inParallel(
    missing.map(({ source, flags, path, unchanged }) => async () => {
      const temporary = `${path}.${process.pid}`;
      try {
        const { stderr } = await run(compiler.path, [...flags, '-c', join(sources, source), '-o', temporary], {
          maxBuffer: 1 << 26,
        });
        if (stderr) process.stderr.write(stderr);
        if (!unchanged()) throw new Error('was edited while it was compiled; build again');
        replace(temporary, path);
      } catch (error) {
        failures.push(`${source}:\n${error.stderr ?? error.message}`);
      }
    }),
  );
  return { compiled: missing.length, failures };
};

/** The library's own objects, by source and instruction set: `objects(source, set)`. Throws where a source does not compile. */
export const builtObjects = async (compiler) => {
  const wanted = wantedObjects(compiler);
  const { failures } = await compileMissing(compiler, wanted);
  if (failures.length > 0) throw new Error(failures.join('\n'));
  const paths = new Map(wanted.map(({ source, set, path }) => [`${join(sources, source)} ${set}`, path]));
  return (source, set) => paths.get(`${source} ${set}`);
};

const main = async () => {
  const compiler = findCompiler();
  if (compiler === undefined) {
    console.log('native engine not built: no C++ compiler (g++ or clang++) found; the wasm engine will be used');
    return;
  }
  const started = Date.now();
  const wanted = wantedObjects(compiler);
  const { compiled, failures } = await compileMissing(compiler, wanted);
  if (failures.length > 0) {
    console.error(failures.join('\n'));
    console.error('native engine not built: the sources do not compile');
    process.exitCode = 1;
    return;
  }
  const target = join(build, 'rxtune.node');
  const stamp = join(build, 'rxtune.key');
  const key = hash(...wanted.map(({ name }) => name));
  if (existsSync(target) && existsSync(stamp) && readFileSync(stamp, 'utf8') === key) {
    console.log('native engine up to date');
    return;
  }
  const linking = /apple/.test(compiler.target)
    ? ['-bundle', '-undefined', 'dynamic_lookup']
    : ['-shared', '-static-libstdc++', '-static-libgcc', '-Wl,--gc-sections', '-Wl,-s', '-pthread', '-ldl'];
  const temporary = `${target}.${process.pid}`;
  await run(compiler.path, [...wanted.map(({ path }) => path), ...linking, '-o', temporary], { maxBuffer: 1 << 26 });
  replace(temporary, target);
  writeFileSync(stamp, key);
  const current = new Set(wanted.map(({ name }) => name));
  for (const name of readdirSync(objects))
    if (!current.has(name) && name.endsWith('.o')) rmSync(join(objects, name), { force: true });
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  console.log(`native engine built in ${seconds} s (${compiled} of ${wanted.length} files compiled): ${target}`);
};

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
