import { expect, test } from '@jest/globals';
import { Command } from 'commander';
import * as E from 'fp-ts/lib/Either.js';
import fc from 'fast-check';
import * as t from 'io-ts';
import { stringify } from 'yaml';
import { parseConfig } from '../../src/cli/configFile.js';
import { addFlags, flagsGiven } from '../../src/cli/flags.js';
import { camel, kebab } from '../../src/cli/names.js';
import { boolean, integer, json, list, nullable, number, oneOf, string } from '../../src/formats/optionCodecs.js';
import { optional, type Field } from '../../src/formats/closed.js';
import { SftConfig } from '../../src/train/options/config.js';

/** A word that no flag, list or null reads as anything else. */
const word = fc
  .stringMatching(/^[a-z_][a-z_.0-9]{0,8}$/)
  .filter((text) => !/^(null|none|true|false|yes|no|on|off)$/i.test(text));

const kinds: ReadonlyArray<readonly [Field, fc.Arbitrary<unknown>]> = [
  [optional(number, ''), fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => (Object.is(x, -0) ? 0 : x))],
  [optional(integer, ''), fc.maxSafeInteger()],
  [optional(boolean, ''), fc.boolean()],
  [optional(string, ''), fc.string({ unit: 'grapheme', minLength: 1 })],
  [optional(oneOf('linear', 'cosine'), ''), fc.constantFrom('linear', 'cosine')],
  [optional(nullable(number), ''), fc.option(fc.integer(), { nil: null })],
  [optional(list(string), ''), fc.array(word, { minLength: 1, maxLength: 4 })],
  [optional(list(number), ''), fc.array(fc.integer(), { minLength: 1, maxLength: 4 })],
  [optional(json(t.unknown), ''), fc.dictionary(word, fc.oneof(fc.integer(), word, fc.boolean()))],
];

const fields = Object.fromEntries(kinds.map(([field], i) => [`anOption${String.fromCharCode(65 + i)}`, field]));
const options = fc.record(
  Object.fromEntries(Object.keys(fields).map((name, i) => [name, kinds[i]?.[1] ?? fc.constant(0)])),
  { requiredKeys: [] },
);

const written = (name: string, value: unknown, { kind }: Field): ReadonlyArray<string> => {
  const flag = `--${kebab(name)}`;
  if (kind === 'boolean') return [value === true ? flag : `--no-${flag.slice(2)}`];
  if (Array.isArray(value)) return [flag, value.join(',')];
  // Written as one word: a text that begins with a dash is a value all the same.
  return [`${flag}=${typeof value === 'string' ? value : JSON.stringify(value)}`];
};

test('options written as flags are read back as they were', () => {
  fc.assert(
    fc.property(options, (given) => {
      const command = new Command('x').exitOverride();
      addFlags(command, fields, { heading: 'options' });
      const argv = Object.entries(fields).flatMap(([name, field]) =>
        given[name] === undefined ? [] : written(name, given[name], field),
      );
      command.parse(argv, { from: 'user' });
      expect(flagsGiven(command, fields)).toEqual(given);
    }),
  );
});

test('options written as a YAML file are read back as they were, in either spelling', () => {
  fc.assert(
    fc.property(options, fc.boolean(), (given, snake) => {
      const spelt = Object.entries(given).map(([name, value]) => [
        snake ? kebab(name).replaceAll('-', '_') : name,
        value,
      ]);
      const parsed = parseConfig('x.yaml', stringify(Object.fromEntries(spelt)));
      expect(E.isRight(parsed) ? parsed.right.options : parsed).toEqual(given);
    }),
  );
});

test('every option’s flag names that option alone', () => {
  const names = Object.keys(SftConfig.fields);
  expect(names.map((name) => camel(kebab(name)))).toEqual(names);
  expect(names.map((name) => camel(kebab(name).replaceAll('-', '_')))).toEqual(names);
  for (const name of names) expect(kebab(name)).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/);
  expect(new Set(names.map(kebab)).size).toBe(names.length);
});
