import { describe, expect, test } from '@jest/globals';
import { errorInFlags, rejectedInFlags, textInFlags, warningInFlags } from '../../src/cli/inFlags.js';
import { dataError, fatal, usage, warning } from '../../src/errors.js';

const options = ['trainDataset', 'maxLength', 'evalStrategy', 'datasetNumProc', 'packing', 'model', 'bnb4bitQuantType'];
const isOption = (name: string): boolean => options.includes(name);

describe('a text in the words of a command line', () => {
  test.each([
    ['set evalStrategy to steps or epoch', 'set --eval-strategy to steps or epoch'],
    ['datasetNumProc: 1 prepares them in the main thread', '--dataset-num-proc 1 prepares them in the main thread'],
    ['option "model" is required', 'option --model is required'],
    ['wrong value for packing', 'wrong value for --packing'],
    ['/data/maxLength/rows.jsonl and maxLength.jsonl stay', '/data/maxLength/rows.jsonl and maxLength.jsonl stay'],
    ['a model and its packing are words, too', 'a model and its packing are words, too'],
    ['the default of bnb4bitQuantType', 'the default of --bnb-4bit-quant-type'],
    ['unknownOption stays', 'unknownOption stays'],
  ])('%s', (text, told) => {
    expect(textInFlags(text, isOption)).toBe(told);
  });
});

describe('an error in the words of a command line', () => {
  test('names the flag of a call, with what to do', () => {
    const error = usage('E_OPTIONS', 'sft: option "trainDataset" is required', {
      field: 'trainDataset',
      hint: 'maxLength: 4',
    });
    expect(errorInFlags(error, isOption)).toMatchObject({
      code: 'E_OPTIONS',
      kind: 'usage',
      message: 'option --train-dataset is required',
      details: { field: '--train-dataset', hint: '--max-length 4' },
    });
  });

  test('keeps the names of a file of options, and the columns of a row', () => {
    const ofFile = usage('E_OPTIONS', 'wrong value for maxLength', { file: 'run.yaml', line: 3, field: 'maxLength' });
    expect(errorInFlags(ofFile, isOption)).toBe(ofFile);
    const cause = new Error('why');
    const ofRow = fatal('E_ROW', 'no text', { field: 'model', hint: 'lower maxLength', cause });
    expect(errorInFlags(ofRow, isOption)).toMatchObject({
      kind: 'run',
      cause,
      details: { field: 'model', hint: 'lower --max-length' },
    });
  });

  test('of a run that failed, options of several words are flags, and those of engines', () => {
    const isKnown = (name: string): boolean => isOption(name) || name === 'engine';
    const fieldOf = (code: `E_${string}`, field: string) =>
      errorInFlags(fatal(code, 'no', { field }), isKnown).details.field;
    expect(fieldOf('E_NO_CHECKPOINT', 'datasetNumProc')).toBe('--dataset-num-proc');
    expect(fieldOf('E_ENGINE_UNAVAILABLE', 'engine')).toBe('--engine');
    expect(fieldOf('E_ROW', 'engine')).toBe('engine');
  });

  test('a refused row keeps its column, and is told which flags would help', () => {
    const refused = dataError('E_NO', 'no text under packing: datasetNumProc', {
      field: 'maxLength',
      hint: 'raise maxLength',
    });
    expect(rejectedInFlags(refused, isOption)).toEqual(
      dataError('E_NO', 'no text under packing: --dataset-num-proc', {
        field: 'maxLength',
        hint: 'raise --max-length',
      }),
    );
  });

  test('so does a warning', () => {
    expect(warningInFlags(warning('W_CUT', 'rows are cut', { hint: 'raise maxLength' }), isOption)).toEqual(
      warning('W_CUT', 'rows are cut', { hint: 'raise --max-length' }),
    );
  });
});
