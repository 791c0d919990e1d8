import { describe as group, expect, it } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { render } from '../../src/errors.js';
import {
  boolean,
  json,
  list,
  nonEmptyString,
  nullable,
  oneOf,
  positiveInteger,
  positiveNumber,
  string,
} from '../../src/formats/optionCodecs.js';
import { closed, option, optional, required } from '../../src/formats/closed.js';
import { fieldFromText } from '../../src/formats/optionText.js';
import type { ClosedValue } from '../../src/formats/closed.js';

const Lora = closed('LoraOptions', {
  r: option(positiveInteger, 8, 'Rank.'),
  targetModules: optional(list(string), 'Names.'),
});
const Options = closed('SftConfig', {
  learningRate: option(positiveNumber, 2e-5, 'Peak learning rate.'),
  packing: option(boolean, false, 'Pack rows.'),
  lossType: option(oneOf('nll', 'chunked_nll', 'dft'), 'nll', 'Loss.'),
  maxLength: option(nullable(positiveInteger), 1024, 'Longest row.'),
  outputDir: required(nonEmptyString, 'Where to write.'),
  peft: optional(json(Lora.codec), 'Adapter.'),
});
const typed = (value: ClosedValue<typeof Options>): ClosedValue<typeof Options> => value;

const messageOf = (value: unknown): string => {
  const result = Options.decode(value);
  if (E.isRight(result)) throw new Error('decoded');
  expect(result.left.kind).toBe('usage');
  return render(result.left);
};

group('closed', () => {
  it('fills the defaults and leaves optional fields absent', () => {
    expect(Options.decode({ outputDir: 'out' })).toEqual(
      E.right(typed({ learningRate: 2e-5, packing: false, lossType: 'nll', maxLength: 1024, outputDir: 'out' })),
    );
    expect(Options.decode({ outputDir: 'out', peft: null })).toEqual(Options.decode({ outputDir: 'out' }));
  });

  it('fills the defaults of a nested record', () => {
    expect(Options.decode({ outputDir: 'o', maxLength: null, peft: { targetModules: ['q'] } })).toMatchObject(
      E.right({ maxLength: null, peft: { r: 8, targetModules: ['q'] } }),
    );
  });

  it('takes one value for a list of one', () => {
    expect(Lora.decode({ targetModules: 'q' })).toMatchObject(E.right({ targetModules: ['q'] }));
    expect(Lora.decode({ targetModules: { q: 1 } })).toMatchObject({ left: { code: 'E_OPTIONS' } });
  });

  it('refuses an unknown key with the nearest known one', () => {
    expect(messageOf({ outputDir: 'o', lerningRate: 1 })).toContain('did you mean "learningRate"?');
    expect(messageOf({ outputDir: 'o', learning_rate: 1 })).toContain('did you mean "learningRate"?');
    expect(messageOf({ outputDir: 'o', zzzzzzzzzz: 1 })).toContain('known options: learningRate, packing');
    const many = closed(
      'many',
      { maxSteps: option(positiveNumber, 1, ''), maxLength: option(positiveNumber, 1, '') },
      'see there',
    );
    const hintOf = (name: string): string | undefined => {
      const decoded = many.decode({ [name]: 1 });
      return E.isLeft(decoded) ? decoded.left.details.hint : undefined;
    };
    expect(hintOf('zzzzzzzzzz')).toBe('see there');
    expect(hintOf('tokenLengthLimit')).toBe('did you mean "maxLength"? Else: see there');
    expect(messageOf(JSON.parse('{"outputDir":"o","__proto__":1,"toString":2}'))).toContain(
      'unknown option "__proto__"',
    );
  });

  it('names field, expected and actual, for every fault at once', () => {
    const message = messageOf({ learningRate: '2e-5', lossType: 'nul', maxLength: 0, peft: { r: 1.5, alpha: 3 } });
    expect(message).toContain('field "learningRate"');
    expect(message).toContain('expected: a number > 0');
    expect(message).toContain('"2e-5" (a string)');
    expect(message).toContain('lossType: expected one of nll, chunked_nll, dft, got "nul"');
    expect(message).toContain('maxLength: expected a whole number ≥ 1, or null, got 0');
    expect(message).toContain('option "outputDir" is required');
    expect(message).toContain('peft.r');
    expect(message).toContain('unknown option "alpha"');
  });

  it('tells what a missing option is for', () => {
    const Call = closed('call', {
      model: required(string, 'Directory of the model.'),
      out: required(string, 'A file.'),
    });
    const decoded = Call.decode({});
    if (E.isRight(decoded)) throw new Error('nothing is required');
    expect(render(decoded.left).split('\n')).toEqual([
      'field "model": call: option "model" is required',
      '  also option "out" is required: expected A file [E_OPTIONS]',
      '  expected: Directory of the model',
    ]);
  });

  it('refuses what is no record', () => {
    for (const value of [null, undefined, 3, 'x', [], new Float32Array(2)])
      expect(E.isLeft(Options.decode(value))).toBe(true);
  });

  it('describes its fields', () => {
    expect(Options.fields.learningRate).toMatchObject({ kind: 'number', default: 2e-5, doc: 'Peak learning rate.' });
    expect(Options.fields.lossType).toMatchObject({ kind: 'enum', values: ['nll', 'chunked_nll', 'dft'] });
    expect(Options.fields.maxLength.kind).toBe('integer');
    expect(Options.fields.peft).toMatchObject({ kind: 'json', presence: 'optional' });
    expect(Lora.fields.targetModules).toMatchObject({ kind: 'list', itemKind: 'string' });
  });

  it('reads flags', () => {
    const { learningRate, packing, lossType, maxLength, peft } = Options.fields;
    expect(fieldFromText(learningRate, '1e-4')).toBe(1e-4);
    expect(fieldFromText(learningRate, 'fast')).toBe('fast');
    expect(fieldFromText(learningRate, '')).toBe('');
    expect(fieldFromText(packing, 'false')).toBe(false);
    expect(fieldFromText(lossType, 'dft')).toBe('dft');
    expect(fieldFromText(maxLength, 'none')).toBeNull();
    expect(fieldFromText(maxLength, '12')).toBe(12);
    expect(fieldFromText(peft, '{"r":4}')).toEqual({ r: 4 });
    expect(fieldFromText(Lora.fields.targetModules, 'q_proj, v_proj')).toEqual(['q_proj', 'v_proj']);
    expect(fieldFromText(Lora.fields.targetModules, '["a,b"]')).toEqual(['a,b']);
  });
});
