import { describe, expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { parseConfig, readConfig } from '../../src/cli/configFile.js';
import { render } from '../../src/errors.js';

const optionsOf = (text: string): unknown =>
  E.match(render, ({ options }: { options: unknown }) => options)(parseConfig('run.yaml', text));

describe('a configuration file', () => {
  test('holds options under their own names, or as TRL writes them', () => {
    expect(optionsOf('learning_rate: 1e-4\nmaxLength: 512\nper-device-train-batch-size: 4\n')).toEqual({
      learningRate: 1e-4,
      maxLength: 512,
      perDeviceTrainBatchSize: 4,
    });
  });

  test('may be JSON, and may be empty', () => {
    expect(optionsOf('{"maxLength": 512, "targetModules": ["q_proj"]}')).toEqual({
      maxLength: 512,
      targetModules: ['q_proj'],
    });
    expect(optionsOf('# nothing yet\n')).toEqual({});
  });

  test('knows the line of each option', () => {
    const parsed = parseConfig('run.yaml', '# a run\nseed: 1\n\nmax_steps: 3\n');
    expect(E.isRight(parsed) && [...parsed.right.lines]).toEqual([
      ['seed', 2],
      ['maxSteps', 4],
    ]);
  });

  test.each([
    [
      'seed: 1\nlearning_rate: 1\nlearningRate: 2\n',
      'run.yaml:3: option "learningRate" is given twice [E_CONFIG_FILE]',
    ],
    ['seed: 1\nseed: 2\n', 'run.yaml:2: Map keys must be unique [E_CONFIG_FILE]'],
    ['- seed\n', 'run.yaml:1: not a mapping of options to values [E_CONFIG_FILE]'],
  ])('%j is refused', (text, message) => {
    expect(optionsOf(text)).toBe(message);
  });

  test('a file that is not there is named once', async () => {
    const missing = await readConfig('missing.yaml')();
    expect(E.mapLeft(render)(missing)).toEqual(
      E.left('missing.yaml does not exist [E_CONFIG_FILE]\n  try:      give a file of options in YAML or JSON'),
    );
  });

  test('broken YAML is refused with its line', () => {
    expect(optionsOf('seed: 1\nname: "open\n')).toMatch(/^run\.yaml:\d+: .*\[E_CONFIG_FILE\]$/);
  });
});
