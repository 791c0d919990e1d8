import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { camel } from '../../src/cli/names.js';
import { ownAliases } from '../../src/cli/sftFlags.js';
import { SftConfig } from '../../src/train/options/config.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import { foreignArguments } from '../../src/train/options/foreignArguments.js';
import { kwargsNames } from '../../src/train/options/kwargs.js';
import { sftAliases, understoodNames } from '../../src/train/options/optionNames.js';

const page = readFileSync('docs/parity.md', 'utf8');
const partOf = (heading: string): string => page.split(/^## /m).find((part) => part.startsWith(heading)) ?? '';

/** Names of the libraries followed (reference/argument_names.py), by library. */
const theirs = JSON.parse(readFileSync(new URL('../golden/argumentNames.json', import.meta.url), 'utf8')) as Readonly<
  Record<string, ReadonlyArray<string>>
>;

const foreignHeading = 'Arguments that are no options here';

describe('docs/parity.md', () => {
  const options = page.replace(partOf(foreignHeading), '');
  const rows = [...options.matchAll(/^\| `([A-Za-z0-9]+)` \| ([^|]+) \|/gm)].filter(
    ([, , verdict = '']) => !verdict.includes('of `sftTrainer`') && !verdict.includes('argument'),
  );
  const documented = rows.map((row) => row[1]);

  test('has one row for every option of SftConfig, and no other', () => {
    expect([...documented].sort()).toEqual(Object.keys(SftConfig.fields).sort());
  });

  test('says of every option whether it is the same', () => {
    for (const [, name, verdict = ''] of rows) {
      expect([name, verdict]).toEqual([name, expect.stringMatching(/^(same|differs|ours|later( TRL| PEFT)?)( ¶)?$/)]);
    }
  });
});

test('other names of options are told, each with the option', () => {
  const part = partOf('Other names').replace(/\s+/g, ' ');
  const told = [...part.matchAll(/((?:`\w+`(?:, | and )?)+) for `(\w+)`/g)].flatMap(([, names = '', option = '']) =>
    [...names.matchAll(/`(\w+)`/g)].map(([, alias = '']) => [alias, option]),
  );
  expect(Object.fromEntries(told)).toEqual(sftAliases);
});

describe('arguments that are no options here', () => {
  const table = [...partOf(foreignHeading).matchAll(/^\| (`[^|]+`) \| ([^|]+) \|/gm)].flatMap(
    ([, names = '', accepted = '']) =>
      [...names.matchAll(/`(\w+)`/g)].map(([, name = '']) => ({ name, accepted: accepted.trim() })),
  );

  test('are those of the table', () => {
    expect(table.map(({ name }) => name).sort()).toEqual([...Object.keys(foreignArguments), ...kwargsNames].sort());
  });

  test.each(
    table.filter(({ name }) => Object.hasOwn(foreignArguments, name) && !Object.hasOwn(SftConfig.fields, name)),
  )('$name is accepted at $accepted and refused otherwise', ({ name, accepted }) => {
    const outcome = (value: unknown): unknown => {
      const decoded = decodeSftConfig({ [name]: value });
      return E.isRight(decoded) ? decoded.right : decoded.left.details;
    };
    const plain = SftConfig.defaults;
    const values = [...accepted.matchAll(/`([^`]+)`/g)].map(([, text = '']) => JSON.parse(text) as unknown);
    const harmless =
      accepted === 'anything' ? ['whatever', 1.5, true] : accepted === 'a whole number' ? [0, 4] : values;
    for (const value of [...harmless, null, undefined, ...(accepted === 'empty' ? ['', []] : [])]) {
      expect(outcome(value)).toEqual(plain);
    }
    if (accepted === 'anything') return;
    const [refused] = [false, true, 'whatever'].filter((value) => !foreignArguments[name]?.harmless(value));
    expect(outcome(refused)).toMatchObject({ field: name, hint: foreignArguments[name]?.reason });
    expect(JSON.stringify(outcome('secret-7'))).not.toContain('secret-7');
  });
});

describe('names of the libraries followed', () => {
  const notOptions = [...page.matchAll(/^\| ((?:`\w+`(?:, )?)+) \| /gm)].flatMap(([, names = '']) =>
    [...names.matchAll(/`(\w+)`/g)].map(([, name = '']) => name),
  );

  test.each(Object.entries(theirs))(
    'every one of %s is an option, another name for one, or listed with a reason',
    (_, names) => {
      expect(names.length).toBeGreaterThan(5);
      const known = new Set([
        ...Object.keys(SftConfig.fields),
        ...Object.keys(sftAliases),
        ...Object.keys(understoodNames),
        ...Object.keys(ownAliases),
        // Of the constructor, in the last table.
        ...notOptions,
      ]);
      expect(names.filter((name) => !known.has(camel(name)) && !known.has(name))).toEqual([]);
    },
  );
});
