/** The first part of bench/gpu.mjs: the engine and the kernels, and whether they open the card. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { built, firstLine, packed, root } from './machine.mjs';
import { part, tail } from './part.mjs';

/** What the engine says of the card, and whether it opens it. */
const doctor = async ({ environment, share, logged }) => {
  const { cut, output } = await part(process.execPath, [join(root, 'dist/cli/main.js'), 'doctor'], {
    // The first one reads half a gigabyte of cublasLt.
    seconds: share(60),
    env: environment,
    line: logged,
  });
  const told = output.find((text) => /^cuda\b/.test(text)) ?? (tail(output, 2).join(' | ') || 'it said nothing');
  return { told, cut, works: /^cuda +\+/.test(told) };
};

export const build = async (session) => {
  const { dry, environment, share, logged, tell } = session;
  const steps = [];
  const must = async (what, args, seconds) => {
    const { code, cut, output } = await part(process.execPath, args, {
      seconds: share(seconds),
      env: environment,
      line: logged,
    });
    steps.push(`${what}: ${cut ? 'cut' : code === 0 ? tail(output, 1)[0] : `failed (${code})`}`);
    tell(`   ${steps.at(-1)}`);
    if (code !== 0) throw new Error(`${what}: ${tail(output, 3).join(' | ')}`);
  };
  if (!existsSync(join(root, 'dist', 'index.js')) && !packed)
    await must('types', [join(root, 'node_modules/@typescript/native/bin/tsc'), '-p', 'tsconfig.build.json'], 90);
  const loads = () =>
    firstLine(process.execPath, ['-e', `require(${JSON.stringify(built('rxtune.node'))}); console.log('loads')`]);
  if (!packed || loads() === undefined) await must('engine', [join(root, 'native/build.mjs')], 150);
  else steps.push('engine: as carried');
  if (dry) steps.push('kernels: emulated');
  else if (!existsSync(built('rxtune.fatbin')) || !packed)
    await must('kernels', [join(root, 'native/cuda/compile.mjs'), 'kernels'], 90);
  else steps.push('kernels: as carried');
  const opened = await doctor(session);
  tell(`   ${opened.told}`);
  if (opened.works) return { state: 'passed', steps, doctor: opened.told };
  // An error of the card ends a process that opens it to try wgmma: what does without is checked and measured then.
  if (environment.RXTUNE_CUDA_ATTENTION === undefined && (opened.cut || /attention by wgmma fails/.test(opened.told))) {
    environment.RXTUNE_CUDA_ATTENTION = 'mma';
    const again = await doctor(session);
    tell(`   by mma alone: ${again.told}`);
    session.opens = again.works;
    return { state: 'failed', steps, why: opened.told, doctor: again.told };
  }
  session.opens = false;
  return { state: 'failed', steps, why: opened.told };
};
