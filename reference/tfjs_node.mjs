// Runs the models, the laws of ops and steps, and the quick start on tfjs-node's backend `tensorflow`, in a copy of this repository
// outside it. tfjs-node's own installer downloads a library built years ago; here its binding is compiled against the library inside
// pip's tensorflow-cpu, which exports the same C interface. Wants npm, a C++ compiler, Python 3 with venv, 3 GB of disk.
//   node reference/tfjs_node.mjs FOLDER            makes FOLDER (what is there already is kept) and runs everything in it
//   node reference/tfjs_node.mjs FOLDER setup      makes it only
//   node reference/tfjs_node.mjs FOLDER run [path …]   runs it: all, or these test files
// PYTHON and CXX name another python3 and compiler; NODE another Node.js to run on.
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const tensorflowVersion = '2.21.0';
const bindingVersion = '4.22.0';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const [place, action = 'all', ...paths] = process.argv.slice(2);
if (place === undefined) {
  console.error('usage: node reference/tfjs_node.mjs FOLDER [setup | run [test file …]]');
  process.exit(2);
}
const folder = resolve(place);
const copy = join(folder, 'rxtune');
const binding = join(copy, 'node_modules', '@tensorflow', 'tfjs-node');
const node = process.env['NODE'] ?? process.execPath;

const must = (program, args, options = {}) => {
  console.log(`> ${program} ${args.join(' ')}`);
  execFileSync(program, args, { stdio: 'inherit', ...options });
};

/** The sources as they are now, committed or not. */
const copySources = () => {
  const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: root });
  mkdirSync(copy, { recursive: true });
  for (const entry of readdirSync(copy))
    if (!['node_modules', 'dist'].includes(entry)) rmSync(join(copy, entry), { recursive: true, force: true });
  for (const file of listed.toString().split('\n').filter(Boolean))
    if (existsSync(join(root, file))) cpSync(join(root, file), join(copy, file));
};

/** tensorflow's folder in a virtual environment that holds that alone. */
const wheel = () => {
  const environment = join(folder, 'venv');
  const python = join(environment, 'bin', 'python');
  if (!existsSync(python)) must(process.env['PYTHON'] ?? 'python3', ['-m', 'venv', environment]);
  const library = execFileSync(python, ['-c', 'import sysconfig; print(sysconfig.get_path("purelib"))']);
  const path = join(library.toString().trim(), 'tensorflow');
  if (!existsSync(path))
    must(python, ['-m', 'pip', 'install', '-q', '--no-deps', `tensorflow-cpu==${tensorflowVersion}`]);
  return path;
};

/** Its two sources are compiled by hand: node-gyp would do no more, and fetch the headers that node-api-headers has. */
const compile = (tensorflow) => {
  const libraries = join(binding, 'deps', 'lib');
  const target = join(binding, 'lib', 'napi-v8');
  for (const made of [libraries, target]) mkdirSync(made, { recursive: true });
  const link = (from, name) => {
    if (!existsSync(join(libraries, name))) symlinkSync(join(tensorflow, from), join(libraries, name));
  };
  // The two names by which the linker and the loader ask, and the one whose presence tells the installer to keep away.
  for (const name of ['libtensorflow_cc.so.2', 'libtensorflow.so', 'libtensorflow.so.2.9.1'])
    link('libtensorflow_cc.so.2', name);
  for (const name of ['libtensorflow_framework.so.2', 'libtensorflow_framework.so'])
    link('libtensorflow_framework.so.2', name);
  must(process.env['CXX'] ?? 'g++', [
    ...['-std=c++17', '-O2', '-shared', '-fPIC', '-DNAPI_VERSION=8', '-w'],
    `-I${join(copy, 'node_modules', 'node-api-headers', 'include')}`,
    `-I${join(tensorflow, 'include')}`,
    ...['tfjs_backend.cc', 'tfjs_binding.cc'].map((name) => join(binding, 'binding', name)),
    `-L${libraries}`,
    ...['-ltensorflow', '-ltensorflow_framework', '-Wl,-rpath,$ORIGIN/../../deps/lib'],
    ...['-o', join(target, 'tfjs_binding.node')],
  ]);
};

const setup = () => {
  copySources();
  if (!existsSync(join(copy, 'node_modules', 'jest')))
    must('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: copy });
  // A package that is an optional peer is not installed by --no-save: the copy's package.json takes it in.
  if (!existsSync(join(binding, 'package.json'))) {
    const options = ['--save-dev', '--ignore-scripts', '--no-audit', '--no-fund'];
    must('npm', ['install', ...options, `@tensorflow/tfjs-node@${bindingVersion}`], { cwd: copy });
  }
  const tensorflow = wheel();
  if (!existsSync(join(binding, 'lib', 'napi-v8', 'tfjs_binding.node'))) compile(tensorflow);
  must(node, [join('node_modules', '@typescript', 'native', 'bin', 'tsc'), '-p', 'tsconfig.build.json'], { cwd: copy });
};

/** What computes on an engine, and lets it be chosen. */
const suite = [
  'test/model',
  'test/train/recorded.test.ts',
  'test/train/tinyRuns.test.ts',
  'property-tests/model',
  'property-tests/train/optimizer.test.ts',
  'property-tests/train/trainer.test.ts',
  'property-tests/train/resume.test.ts',
];

const run = () => {
  const env = {
    ...process.env,
    NODE_OPTIONS: '--experimental-vm-modules',
    RXTUNE_TEST_ENGINE: 'tensorflow',
    TF_CPP_MIN_LOG_LEVEL: '2',
  };
  const shared = resolve(root, process.env['RXTUNE_SHARED'] ?? '../shared');
  if (existsSync(shared)) env.RXTUNE_SHARED = shared;
  const started = (args, extra) => {
    console.log(`> node ${args.join(' ')}`);
    return spawnSync(node, args, { cwd: copy, stdio: 'inherit', env: extra }).status === 0;
  };
  const jest = join('node_modules', 'jest', 'bin', 'jest.js');
  const tests = started([jest, '-w', '1', ...(paths.length > 0 ? paths : suite)], env);
  const { NODE_OPTIONS: _jestOnly, ...plain } = env;
  const quickstart = paths.length > 0 || started([join('examples', 'quickstart', 'run.mjs'), 'tensorflow'], plain);
  console.log(`tests ${tests ? 'pass' : 'FAIL'}, quick start ${quickstart ? 'passes' : 'FAILS'}, on ${node}`);
  if (!tests || !quickstart) process.exitCode = 1;
};

if (action !== 'run') setup();
if (action !== 'setup') run();
