/** The help of the commands as a reader meets it. */
import { describe, expect, test } from '@jest/globals';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { runCommandLine } from '../../src/cli/command.js';
import { commands } from '../../src/cli/commands.js';

const help = async (name: string): Promise<string> => {
  const [out, err] = [new PassThrough(), new PassThrough()];
  await runCommandLine(commands, { version: '0', argv: [name, '--help'], terminal: { out, err } });
  out.end();
  return text(out);
};

const names = commands.map(({ name }) => name);

describe.each(names)('rxtune %s --help', (name) => {
  test('names options as they are written there, and nothing that was not said before', async () => {
    const told = await help(name);
    expect(told).toContain(`Usage: rxtune ${name} [options]`);
    expect(told.match(/\b(?:max|output|lora|logging|eval|response|chat|outer|per)[A-Z]\w+/g) ?? []).toEqual([]);
    const dataset = /^ +--(?:train|eval)-dataset .*$/gm;
    const first = told.match(dataset)?.[0] ?? '';
    expect(first).not.toContain('The same');
  });
});

test('a command shows the options that it reads; those of training are taken all the same', async () => {
  const shown = async (name: string): Promise<ReadonlyArray<boolean>> => {
    const told = await help(name);
    return ['--max-length', '--learning-rate', '--load-in-4bit', 'other options of rxtune sft'].map((part) =>
      told.includes(part),
    );
  };
  expect(await shown('sft')).toEqual([true, true, true, false]);
  expect(await shown('inspect')).toEqual([true, true, true, false]);
  expect(await shown('prepare')).toEqual([true, false, false, true]);
  expect(await shown('evaluate')).toEqual([true, false, true, true]);
  expect(await shown('quantize')).toEqual([true, false, false, true]);
});

test('the flag that the README has for the rank is told', async () => {
  expect(await help('sft')).toMatch(/--r <n> .*Also --lora-r\./);
});
