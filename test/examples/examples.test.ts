/** The examples run as their readers run them. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { built, root } from '../cli/rxtune.js';

const examples = join(root, 'examples');

const output = async (name: string): Promise<string> => {
  const { stdout } = await promisify(execFile)(process.execPath, [join(examples, 'run.mjs'), name], { cwd: root });
  return stdout;
};

beforeAll(() => void built());

const says: Readonly<Record<string, RegExp>> = {
  answerRequests:
    /^18 refused: the letter is too long \[E_LONG_LETTER\]\n(?=[^]*17 answered: Ada: 3 x mug, red, Friday\n)(?=[^]*19 answered: Ben: 6 x lamp, blue, Monday\n)/,
  beforeInference: /^Ada: 3 x mug, red, Friday\n$/,
  customPipeline: /^(step \d+ {2}loss \d+\.\d{4} {2}\d+ tokens\n){12}$/,
  lawsOfYourData: /^the law holds\n$/,
  lawsOfYourOperator: /^9 laws hold\nrecords in flight\n$/,
  learnFromATeacher: /^the teacher's loss is 0\.\d+\n(step \d+0 {2}loss \d\.\d{3}\n){5}$/,
  ownArchitecture: /^(step \d+ {2}loss \d+\.\d{4}\n){40}$/,
  stopWhenGood: /^\d+ parameters, at most 100 steps\ngood enough after (\d+) steps: 0\.\d+\nended at step \1\n$/,
  watchARun:
    /^(step \d+ {2}mean loss \d\.\d{3}\n|evaluation rose from 0\.\d+ to [\d.]+: rate 0\.\d+\n)+little better than 0\.\d+ in three evaluations\nended at step \d+\n(same |other) \| \{.*\} \| .*\n/,
};

describe('examples', () => {
  test('all are known here, and short', async () => {
    const files = (await readdir(examples)).filter((file) => file.endsWith('.ts'));
    expect(files.sort()).toEqual(Object.keys(says).map((name) => `${name}.ts`));
    for (const file of files) {
      expect((await readFile(join(examples, file), 'utf8')).split('\n').length).toBeLessThanOrEqual(60);
    }
  });

  test.each(Object.entries(says))('%s', async (name, expected) => {
    const text = await output(name);
    expect(text).toMatch(expected);
    const losses = [...text.matchAll(/^step \d+ {2}(?:mean )?loss (\d+\.\d+)/gm)].map((match) => Number(match[1]));
    // Where losses are shown, the run learned.
    for (const last of losses.slice(-1)) expect(last).toBeLessThan((losses[0] ?? 0) / 2);
  });
});
