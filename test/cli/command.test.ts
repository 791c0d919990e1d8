import { describe, expect, test } from '@jest/globals';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { PassThrough } from 'node:stream';
import { runCommandLine } from '../../src/cli/command.js';
import { addFlags } from '../../src/cli/flags.js';
import { fatal, type FatalError } from '../../src/errors.js';
import { integer } from '../../src/formats/optionCodecs.js';
import { option } from '../../src/formats/closed.js';

const call = async (
  argv: ReadonlyArray<string>,
  run: () => TaskEither<FatalError, void> = () => TE.right(undefined),
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> => {
  const [out, err] = [new PassThrough(), new PassThrough()];
  const command = {
    name: 'walk',
    summary: 'Walks.',
    load: () =>
      Promise.resolve({
        flags: (flags: Parameters<typeof addFlags>[0]) =>
          addFlags(flags, { maxSteps: option(integer, 1, 'Steps.') }, { heading: 'options' }),
        run,
      }),
  };
  const code = await runCommandLine([command], { version: '1.2.3', argv, terminal: { out, err } });
  return { code, out: String(out.read() ?? ''), err: String(err.read() ?? '') };
};

describe('the command line', () => {
  test('done is 0 and says nothing', async () => {
    expect(await call(['walk', '--max-steps', '3'])).toEqual({ code: 0, out: '', err: '' });
  });

  test.each([
    [
      ['walk', '--max-step', '3'],
      'rxtune: unknown option --max-step [E_USAGE]\n  try:      did you mean --max-steps?\n',
    ],
    [
      ['walk', '--max_steps=3'],
      'rxtune: unknown option --max_steps [E_USAGE]\n  try:      did you mean --max-steps?\n',
    ],
    [['walk', '--zebra'], 'rxtune: unknown option --zebra [E_USAGE]\n  try:      rxtune walk --help\n'],
    [['wlak'], 'rxtune: unknown command wlak [E_USAGE]\n  expected: walk\n  try:      did you mean walk?\n'],
    [['walk', '--max-steps'], 'rxtune: option --max-steps needs a value [E_USAGE]\n  try:      rxtune walk --help\n'],
    [
      ['walk', 'far'],
      'rxtune: too many arguments: "far" belongs to no option [E_USAGE]\n  expected: options written --name value, several values with commas between them\n  try:      rxtune walk --help\n',
    ],
  ])('%j is a wrong call: 2', async (argv, err) => {
    expect(await call(argv)).toEqual({ code: 2, out: '', err });
  });

  test('a usage error of the library is 2, a failed run 1', async () => {
    expect(await call(['walk'], () => TE.left(fatal('E_A', 'wrong', { kind: 'usage' })))).toMatchObject({
      code: 2,
      err: 'rxtune: wrong [E_A]\n',
    });
    expect(await call(['walk'], () => TE.left(fatal('E_B', 'broke')))).toMatchObject({
      code: 1,
      err: 'rxtune: broke [E_B]\n',
    });
  });

  test('a bug is told without its stack, and is 1', async () => {
    const { code, err } = await call(['walk'], () => () => Promise.reject(new TypeError('x is not a function')));
    expect(code).toBe(1);
    expect(err).toContain('rxtune: x is not a function [E_BUG]');
    expect(err).not.toMatch(/\n\s+at /);
  });

  test('help and version are asked for, so 0; a bare call is not', async () => {
    expect(await call(['--version'])).toEqual({ code: 0, out: '1.2.3\n', err: '' });
    expect((await call(['walk', '--help'])).out).toContain('--max-steps <n>');
    expect((await call([])).code).toBe(2);
    expect((await call([])).err).toContain('Commands:');
  });
});
