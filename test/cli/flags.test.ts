import { describe, expect, test } from '@jest/globals';
import { Command } from 'commander';
import { addFlags, flagsGiven } from '../../src/cli/flags.js';
import { boolean, integer, json, list, nullable, number, oneOf, string } from '../../src/formats/optionCodecs.js';
import { option, optional } from '../../src/formats/closed.js';
import * as t from 'io-ts';

const fields = {
  learningRate: option(number, 5e-5, 'Peak rate.'),
  maxSteps: option(integer, -1, 'Updates.'),
  maxGradNorm: option(nullable(number), 1, 'Clip.'),
  packing: option(boolean, false, 'Pack.'),
  lrSchedulerType: option(oneOf('linear', 'cosine'), 'linear', 'Schedule.'),
  modulesToSave: optional(list(string), 'Modules.'),
  rankPattern: optional(json(t.record(t.string, t.number)), 'Ranks.'),
  responseTemplate: optional(string, 'Template.'),
  modules: optional(json(t.union([t.string, t.array(t.string)])), 'Names.'),
} as const;

const given = (...argv: ReadonlyArray<string>): unknown => {
  const command = new Command('x').exitOverride().configureOutput({ writeErr: () => undefined });
  addFlags(command, fields, { heading: 'options' });
  command.parse([...argv], { from: 'user' });
  return flagsGiven(command, fields);
};

describe('flags', () => {
  test('a call without flags gives no options: defaults are the codec’s business', () => {
    expect(given()).toEqual({});
  });

  test('each kind is read from text, negative numbers included', () => {
    expect(
      given(
        ...['--learning-rate', '2e-4', '--max-steps', '-1', '--max-grad-norm', 'null', '--packing'],
        ...['--lr-scheduler-type', 'cosine', '--rank-pattern', '{"q_proj": 4}', '--response-template', ' ### Answer:'],
      ),
    ).toEqual({
      learningRate: 2e-4,
      maxSteps: -1,
      maxGradNorm: null,
      packing: true,
      lrSchedulerType: 'cosine',
      rankPattern: { q_proj: 4 },
      responseTemplate: ' ### Answer:',
    });
  });

  test.each([
    [['--packing'], true],
    [['--packing', 'true'], true],
    [['--packing', 'false'], false],
    [['--no-packing'], false],
    [['--packing', '--no-packing'], false],
    [['--no-packing', '--packing'], true],
    [['--packing', 'maybe'], 'maybe'],
  ])('%j gives packing %j', (argv, packing) => {
    expect(given(...argv)).toEqual({ packing });
  });

  test('a list is written with commas or by repeating the flag', () => {
    expect(given('--modules-to-save', 'lm_head,embed_tokens')).toEqual({ modulesToSave: ['lm_head', 'embed_tokens'] });
    expect(given('--modules-to-save', 'lm_head', '--modules-to-save', 'embed_tokens')).toEqual({
      modulesToSave: ['lm_head', 'embed_tokens'],
    });
  });

  test('a field that takes a text or a list is written either way, and keeps the spaces of a text', () => {
    expect(given('--modules', 'q_proj')).toEqual({ modules: 'q_proj' });
    expect(given('--modules', 'q_proj,v_proj')).toEqual({ modules: ['q_proj', 'v_proj'] });
    expect(given('--modules', 'q_proj', '--modules', 'v_proj')).toEqual({ modules: ['q_proj', 'v_proj'] });
    expect(given('--modules', '["q_proj"]')).toEqual({ modules: ['q_proj'] });
    expect(given('--modules', '.*attn.(q|v)_proj')).toEqual({ modules: '.*attn.(q|v)_proj' });
    expect(given('--modules', ' ### Answer:')).toEqual({ modules: ' ### Answer:' });
    expect(given('--modules', '42')).toEqual({ modules: '42' });
  });

  test('of a flag given twice the last one counts', () => {
    expect(given('--learning-rate', '1', '--learning-rate', '2')).toEqual({ learningRate: 2 });
  });

  test('what cannot be read stays text for the codec to refuse', () => {
    expect(given('--learning-rate', 'fast')).toEqual({ learningRate: 'fast' });
  });

  test('the help shows defaults and values', () => {
    const command = new Command('x');
    addFlags(command, fields, { heading: 'options' });
    const help = command.helpInformation();
    expect(help).toContain('--learning-rate <n>');
    expect(help).toContain('(default: 0.00005)');
    expect(help).toContain('--lr-scheduler-type <linear|cosine>');
    expect(help).not.toContain('--no-packing');
  });

  test('the help names other options as flags, and other names of each', () => {
    const command = new Command('x');
    const told = { maxSteps: option(integer, -1, 'Goes before learningRate; someOtherWord stays.') };
    addFlags(command, told, {
      heading: 'options',
      known: { ...fields, ...told },
      others: { maxSteps: ['steps', 'maxUpdates'] },
    });
    expect(command.helpInformation().replace(/\s+/g, ' ')).toContain(
      '--max-steps <n> Goes before --learning-rate; someOtherWord stays. Also --steps, --max-updates. (default: -1)',
    );
  });
});
