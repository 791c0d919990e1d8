/** Models as the hub has them: the tensors that transformers makes of their config.json (reference/real_shapes.py). */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from '@jest/globals';
import { expectedTensors, modelConfig } from '../../src/model/architectures.js';
import { orThrow } from './loadModel.js';

interface RealShapes {
  readonly models: Readonly<
    Record<
      string,
      {
        readonly config: unknown;
        readonly parameters: number;
        readonly tensors: number;
        readonly sha256: string;
      }
    >
  >;
}

const { models } = JSON.parse(
  readFileSync(resolve(import.meta.dirname, '..', 'golden', 'real_shapes.json'), 'utf8'),
) as RealShapes;

/** Code point order, as Python sorts. */
const byName = (a: { readonly name: string }, b: { readonly name: string }): number => (a.name < b.name ? -1 : 1);

test.each(Object.entries(models))('%s', (_, { config, parameters, tensors, sha256 }) => {
  const specs = [...expectedTensors(orThrow(modelConfig(config)))].sort(byName);
  expect(specs).toHaveLength(tensors);
  expect(specs.reduce((sum, { shape }) => sum + shape.reduce((size, n) => size * n, 1), 0)).toBe(parameters);
  const lines = specs.map(({ name, shape }) => `${name} ${shape.join('x')}\n`).join('');
  expect(createHash('sha256').update(lines).digest('hex')).toBe(sha256);
});
