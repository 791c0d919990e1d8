import { describe, expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { parseConfig } from '../../src/cli/configFile.js';
import { decodeGiven, type Given } from '../../src/cli/options.js';
import { render } from '../../src/errors.js';
import { closed, option } from '../../src/formats/closed.js';
import { integer } from '../../src/formats/optionCodecs.js';

const Options = closed('run', { maxSteps: option(integer, 10, 'Updates.'), seed: option(integer, 42, 'Seed.') });
const file = E.getOrElseW(() => undefined)(parseConfig('run.yaml', 'seed: 1\nmax_steps: 5\n'));
const decoded = (given: Given): unknown => E.mapLeft(render)(decodeGiven(given, Options.decode));

describe('options of a call', () => {
  test('a flag goes before the file, the file before the default', () => {
    if (file === undefined) throw new Error('the file must parse');
    expect(decoded({ flags: {} })).toEqual(E.right({ maxSteps: 10, seed: 42 }));
    expect(decoded({ flags: {}, file })).toEqual(E.right({ maxSteps: 5, seed: 1 }));
    expect(decoded({ flags: { seed: 7 }, file })).toEqual(E.right({ maxSteps: 5, seed: 7 }));
  });

  test('an error names the flag when a flag was wrong', () => {
    expect(decoded({ flags: { maxSteps: 'many' } })).toEqual(
      E.left(expect.stringMatching(/^--max-steps: run: wrong value for maxSteps \[E_OPTIONS\]/)),
    );
  });

  test('and the line of the file when the file was', () => {
    const broken = E.getOrElseW(() => undefined)(parseConfig('run.yaml', '# a run\n\nmax_steps: many\n'));
    if (broken === undefined) throw new Error('the file must parse');
    expect(decoded({ flags: {}, file: broken })).toEqual(
      E.left(expect.stringMatching(/^run\.yaml:3, field "max_steps": wrong value for max_steps /)),
    );
    expect(decoded({ flags: { maxSteps: 2 }, file: broken })).toEqual(E.right({ maxSteps: 2, seed: 42 }));
  });

  const refused = (text: string): unknown => {
    const wrong = E.getOrElseW(() => undefined)(parseConfig('run.yaml', text));
    if (wrong === undefined) throw new Error('the file must parse');
    return decoded({ flags: {}, file: wrong, isOption: (name) => Object.hasOwn(Options.fields, name) });
  };

  test.each([
    ['per_epoch: 2\nmaxstep: 3\n', 'max_steps'],
    ['per-epoch: 2\nmaxstep: 3\n', 'max-steps'],
    ['maxstep: 3\n', 'maxSteps'],
  ])('a name that is meant is spelt as the file spells its own: %j', (text, meant) => {
    expect(refused(text)).toEqual(E.left(expect.stringContaining(`did you mean "${meant}"?`)));
  });

  test('each further fault of the file has its line', () => {
    expect(refused('max_steps: many\n\nseed: none\n')).toEqual(
      E.left(
        expect.stringMatching(/^run\.yaml:1, field "max_steps": .*\n {2}also line 3: wrong value for seed: expected/),
      ),
    );
  });
});
