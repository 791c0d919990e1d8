/** What a machine has for bench/gpu.mjs: the card, Python and its packages, what is built or was carried there. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { here } from '../turns.mjs';
import { part, tail } from './part.mjs';

export const root = resolve(here('..'));
export const packed = existsSync(join(root, 'packed.json'));
export const built = (name) => join(root, 'native', 'build', name);
export const interpreter = process.env.PYTHON ?? 'python3';
export const torch = here('reference/torch_gpu.py');

export const firstLine = (command, args) => {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8', timeout: 20_000 });
  return status === 0 ? stdout.trim().split('\n').at(-1) : undefined;
};

const useEmulatedCard = ({ environment }) => {
  const mock = execFileSync(process.execPath, [join(root, 'native/cuda/compile.mjs'), 'mock'], {
    encoding: 'utf8',
  }).trim();
  if (!existsSync(mock)) throw new Error(mock);
  Object.assign(environment, {
    RXTUNE_LIBCUDA: mock,
    RXTUNE_LIBCUBLASLT: mock,
    RXTUNE_CUDA_KERNELS: built('cuda/emulated.image'),
    RXTUNE_MOCK_MEMORY: String(16 * 2 ** 30),
  });
};

/** pip's packages: the compiler, and the library that torch brings along. Packages that were carried are found first. */
const findInPython = ({ environment }) => {
  const script =
    'import glob, json, sysconfig; p = sysconfig.get_path("purelib"); f = lambda *n: [x for y in n for x in glob.glob(p + "/nvidia/" + y)]; ' +
    'print(json.dumps({"nvcc": f("cu1*/bin/nvcc", "cuda_nvcc/bin/nvcc"), "blas": f("cu1*/lib/libcublasLt.so.1*", "cublas/lib/libcublasLt.so.1*")}))';
  const { nvcc, blas } = JSON.parse(firstLine(interpreter, ['-c', script]) ?? '{"nvcc":[],"blas":[]}');
  if (nvcc.length > 0 && process.env.CUDA_HOME === undefined)
    environment.PATH = `${process.env.PATH}:${join(nvcc[0], '..')}`;
  if (blas.length > 0 && process.env.RXTUNE_LIBCUBLASLT === undefined) environment.RXTUNE_LIBCUBLASLT = blas[0];
};

/** Tells what there is. False: there is no card. */
export const lookAround = async (session) => {
  const { dry, result, environment, tell, share, logged } = session;
  const card = dry
    ? 'emulated'
    : firstLine('nvidia-smi', ['--query-gpu=name,memory.total,driver_version', '--format=csv,noheader']);
  result.machine = {
    card: card ?? 'none',
    processor: cpus()[0]?.model,
    threads: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    ...(packed ? { packed: JSON.parse(readFileSync(join(root, 'packed.json'), 'utf8')) } : {}),
  };
  tell(JSON.stringify(result.machine));
  session.save();
  const carried = join(root, 'python');
  if (existsSync(carried)) environment.PYTHONPATH = [carried, process.env.PYTHONPATH].filter(Boolean).join(':');
  if (dry) useEmulatedCard(session);
  else findInPython(session);
  if (!dry && card === undefined && !existsSync('/dev/nvidiactl')) return false;
  const about = await part(interpreter, [torch, 'about'], { seconds: share(60), env: environment, line: logged });
  const said = about.output.findLast((text) => text.startsWith('{'));
  result.machine.python =
    said === undefined
      ? { absent: tail(about.output, 2).join(' | ') || `${interpreter} ended with code ${about.code}` }
      : JSON.parse(said);
  tell(JSON.stringify(result.machine.python));
  return true;
};
