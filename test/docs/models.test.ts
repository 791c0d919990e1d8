import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { architectureOf, knownModelTypes, modelConfig } from '../../src/model/architectures.js';
import { ggufModelTypes } from '../../src/model/gguf/layouts.js';
import { orThrow } from '../model/loadModel.js';
import { makeRaw } from '../model/rawConfigs.js';

describe('docs/models.md', () => {
  const text = readFileSync('docs/models.md', 'utf8');
  const rows = [...text.matchAll(/^\| ([\w .-]+) \| `(\w+)` \| [^|]+ \| ([^|]+) \| (yes|no) \|$/gm)];

  test('has one row for every model type that is known, and no other', () => {
    expect(rows.map(([, , type]) => type).sort()).toEqual([...knownModelTypes()].sort());
  });

  test('has them in alphabetical order', () => {
    const names = rows.map(([, name = '']) => name);
    expect(names).toEqual(names.toSorted(new Intl.Collator('en', { numeric: true }).compare));
  });

  test.each(rows.map(([, , type = '', targets = '', gguf = '']) => ({ type, targets, gguf })))(
    '$type: what is adapted, and whether it can be GGUF',
    ({ type, targets, gguf }) => {
      const { loraTargets } = architectureOf(orThrow(modelConfig(makeRaw(type))));
      expect([...targets.matchAll(/`(\w+)`/g)].map(([, name]) => name)).toEqual([...loraTargets]);
      expect(gguf).toBe(ggufModelTypes.includes(type) ? 'yes' : 'no');
    },
  );

  test('links to files that are there', () => {
    const links = [...text.matchAll(/\]\(([^)#]+)\)/g)].map(([, link = '']) => link);
    expect(links.length).toBeGreaterThan(1);
    for (const link of links) expect({ link, there: existsSync(resolve('docs', link)) }).toEqual({ link, there: true });
  });
});
