/** The parts of bench/gpu.mjs that tell right from wrong: attention by each way, all kernels, models. */
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { built, packed, root } from './machine.mjs';
import { part, tail } from './part.mjs';

/** The compiled check: as carried, where it starts; what was linked on another machine and does not is built here. */
export const check = async ({ dry, environment, share }, options, seconds, line) => {
  const carried = built('cuda/check-plain');
  const blas = environment.RXTUNE_LIBCUBLASLT;
  const way = environment.RXTUNE_CUDA_ATTENTION ?? process.env.RXTUNE_CUDA_ATTENTION;
  const given = [
    ...(dry || blas === undefined ? [] : [`--blas=${blas}`]),
    ...(way === undefined ? [] : [`--attention=${way}`]),
    ...options,
  ];
  if (packed && !dry && existsSync(carried)) {
    const ran = await part(carried, [`--image=${built('rxtune.fatbin')}`, ...given], {
      seconds: share(seconds),
      env: environment,
      line,
    });
    if (ran.cut || ran.output.some((text) => /compute capability|^no card/.test(text))) return ran;
  }
  const how = dry ? [] : ['--card'];
  return part(process.execPath, [join(root, 'native/cuda/test.mjs'), ...how, ...given], {
    seconds: share(seconds),
    env: environment,
    line,
  });
};

/** A line of the check of ways: '64 columns, 2/1 heads, 207 rows by wgmma: out 2.1e-03 dq … WRONG …'. */
const wayOf = (text) => {
  const [, shape, way, said] = /^ +(\d+ columns, .* rows) by (\w+) *: *(.*)$/.exec(text) ?? [];
  if (shape === undefined) return undefined;
  const errors = Object.fromEntries(
    [...said.matchAll(/(\w+) (-?nan|inf|[\d.e+-]+)/g)].map(([, name, error]) => [
      name,
      /n/.test(error) ? null : Number(error),
    ]),
  );
  const wrong = [...said.matchAll(/(\w+) \S+ WRONG/g)].map(([, name]) => name);
  if (said.includes('NOT THE SAME AGAIN')) wrong.push('bits of another run');
  return { shape, way, errors, wrong, whole: 'dv' in errors };
};

/**
 * Attention by mma and by wgmma, against the processor's: which of output and gradients is wrong, of heads of which width. wgmma is used
 * whatever the check at the device's start says of it.
 */
export const ways = async (session) => {
  const { dry, tell, logged, left } = session;
  const rows = [];
  let told = new Set();
  const line = (text) => {
    logged(text);
    const found = wayOf(text);
    if (found === undefined || told.has(text)) return;
    told.add(text);
    rows.push(found);
    tell(`  ${text}`);
  };
  const options = ['--only=ways', '--rounds=1'];
  let ran = await check(session, [...options, '--attention=wgmma'], Math.min(40, left()), line);
  // Cards that are not Hopper have one way.
  if (ran.output.some((text) => /these instructions are 9\.0's alone/.test(text))) {
    told = new Set();
    ran = await check(session, options, 40, line);
  }
  const wrong = rows.flatMap(({ shape, way, wrong: parts, whole }) =>
    whole ? parts.map((name) => `${name} of ${shape} by ${way}`) : [`${shape} by ${way} did not end`],
  );
  const state =
    wrong.length > 0 || rows.length === 0 || (ran.code !== 0 && !ran.cut) ? 'failed' : ran.cut ? 'cut' : 'passed';
  return {
    state,
    rows,
    ...(state === 'passed' ? {} : { why: wrong.join('; ') || tail(ran.output, 4).join(' | ') }),
    ...(dry ? { emulated: true } : {}),
  };
};

export const kernels = async (session) => {
  const { dry, tell, logged, spent } = session;
  const rounds = dry ? 1 : 4;
  const from = spent();
  const rows = [];
  let running;
  const line = (text) => {
    logged(text);
    const [, started] = /^(\w+) +$/.exec(text) ?? [];
    running = started ?? running;
    const [, name, verdict, worst] = /^(\w+) +(ok|FAILED) .*error ([\d.e+-]+)/.exec(text) ?? [];
    if (name === undefined) return;
    running = undefined;
    rows.push({ name, passed: verdict === 'ok', largestError: Number(worst) });
    tell(`   ${name.padEnd(14)} ${verdict === 'ok' ? '' : 'FAILED '}${Number(worst).toExponential(1)}`);
  };
  const only = dry ? ['--only=norms,rope'] : [];
  let ran;
  // A card does nothing more for a process after an error: what was not checked yet is checked by another one.
  for (let after = []; after !== undefined; ) {
    running = undefined;
    ran = await check(session, [`--rounds=${rounds}`, ...only, ...after], 80 - (dry ? 0 : spent() - from), line);
    after = undefined;
    if (running === undefined || ran.cut || rows.some(({ name }) => name === running)) continue;
    rows.push({ name: running, passed: false, why: tail(ran.output, 1).join('') });
    tell(`   ${running.padEnd(14)} FAILED, and ended the check: ${rows.at(-1).why}`);
    after = [`--after=${running}`];
  }
  const failed = rows.filter(({ passed }) => !passed).map(({ name }) => name);
  const state = failed.length > 0 || (ran.code !== 0 && !ran.cut) ? 'failed' : ran.cut ? 'cut' : 'passed';
  return {
    state,
    rounds,
    rows,
    ...(state === 'passed' ? {} : { why: failed.join(', ') || tail(ran.output, 6).join(' | ') }),
  };
};

/** What tells most first: each run has its own end. */
const suites = (dry) =>
  dry
    ? [['test/model/rope.test.ts']]
    : [
        [
          'test/model/goldenModels.test.ts',
          'test/model/quantize',
          'test/model/adapter.test.ts',
          'property-tests/model/kernels',
        ],
        ['test/model', 'property-tests/model'],
      ];

/** Seconds that are left to the lines, whatever the tests of models are not done with. */
const forLines = 270;

export const models = async (session) => {
  const { dry, tell, logged, spent, left, share, environment } = session;
  const files = new Map();
  const failures = [];
  let cut = false;
  for (const paths of suites(dry)) {
    const from = spent();
    const run = await part(
      process.execPath,
      [
        join(root, 'node_modules/jest/bin/jest.js'),
        '--watchman=false',
        ...['-w', String(dry ? 1 : Math.max(1, Math.min(8, availableParallelism() - 2)))],
        ...paths,
      ],
      {
        seconds: dry ? share(3000) : Math.max(5, Math.min(share(60), left() - forLines)),
        cwd: root,
        env: {
          ...environment,
          RXTUNE_TEST_ENGINE: 'native',
          RXTUNE_TEST_DEVICE: 'cuda',
          NODE_OPTIONS: '--experimental-vm-modules',
        },
        line: (text) => {
          logged(text);
          const [, verdict, file] = /^(PASS|FAIL) (\S+)/.exec(text) ?? [];
          if (file !== undefined) files.set(file, verdict === 'PASS');
          if (verdict === 'FAIL') tell(`   FAILED ${file}`);
          if (/^ {2}● /.test(text)) failures.push(text.slice(4));
        },
      },
    );
    cut ||= run.cut;
    if (files.size === 0 && !run.cut) return { state: 'failed', why: tail(run.output, 6).join(' | ') };
    tell(
      `   ${[...files.values()].filter(Boolean).length} of ${files.size} test files pass so far (${(spent() - from).toFixed(0)} s)`,
    );
  }
  const failed = [...files].filter(([, passed]) => !passed).map(([file]) => file);
  return {
    state: failed.length > 0 ? 'failed' : cut ? 'cut' : 'passed',
    files: Object.fromEntries(files),
    ...(failed.length > 0
      ? { why: failed.join(', '), failures: failures.slice(0, 20) }
      : cut
        ? { why: 'not all files were run' }
        : {}),
  };
};
