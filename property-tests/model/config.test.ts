/** Laws of config.json and of the tensors that fit it. */
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import * as E from 'fp-ts/lib/Either.js';
import { expectedTensors, matchTensors, modelConfig } from '../../src/model/architectures.js';
import type { ModelConfig } from '../../src/model/config.js';
import { architectureNames, configs } from '../arbitraries/models.js';

const right = <A>(result: E.Either<Error, A>): A => {
  if (E.isLeft(result)) throw result.left;
  return result.right;
};
const rawOf = (name: string): Readonly<Record<string, unknown>> => configs[name] ?? {};
const configOf = (name: string): ModelConfig => right(modelConfig(rawOf(name)));
const without = (raw: Readonly<Record<string, unknown>>, field: string): Record<string, unknown> =>
  Object.fromEntries(Object.entries(raw).filter(([key]) => key !== field));

const required = ['model_type', 'vocab_size', 'hidden_size', 'n_embd', 'num_hidden_layers', 'num_layers', 'n_layer'];

/** Kinds of models whose files may leave out even sizes. */
const withUsualSizes = ['bloom', 'mpt'];

/** Those whose files name every layer, and need not count them. */
const withNamedLayers = ['nemotron_h'];

describe('config.json', () => {
  it('that lacks a field, or has nonsense in it, is refused by that name', () => {
    fc.assert(
      fc.property(
        architectureNames,
        fc.constantFrom(...required),
        fc.constantFrom(undefined, 'x', -3, {}, []),
        (name, field, value) => {
          fc.pre(field in rawOf(name));
          // Classes that see images have sizes of their own for their text models.
          const hasSizes = configOf(name).within !== undefined || withUsualSizes.includes(name);
          const isCounted = field === 'num_hidden_layers' && withNamedLayers.includes(name);
          fc.pre(field === 'model_type' || value !== undefined || !(hasSizes || isCounted));
          const broken = value === undefined ? without(rawOf(name), field) : { ...rawOf(name), [field]: value };
          const result = modelConfig(broken);
          if (E.isRight(result)) throw new Error(`accepted ${JSON.stringify(broken)}`);
          const unknownType = field === 'model_type' && value === 'x';
          expect(result.left.code).toBe(unknownType ? 'E_UNKNOWN_ARCHITECTURE' : 'E_MODEL_CONFIG');
          expect(result.left.details.field).toBe(field);
        },
      ),
    );
  });

  it('says the same whatever fields it has beside those that are read', () => {
    fc.assert(
      fc.property(
        architectureNames,
        fc.dictionary(fc.stringMatching(/^other_[a-z]{1,8}$/), fc.jsonValue()),
        (name, extra) => {
          const { raw, ...config } = right(modelConfig({ ...extra, ...rawOf(name) }));
          const { raw: own, ...expected } = configOf(name);
          expect(config).toEqual(expected);
          expect(raw).toEqual({ ...extra, ...own });
        },
      ),
    );
  });

  it('may spell an absent optional field as null', () => {
    const optional = [
      'bos_token_id',
      'eos_token_id',
      'pad_token_id',
      'rope_scaling',
      'n_inner',
      'sliding_window',
      'head_dim',
      'activation_function',
    ];
    fc.assert(
      fc.property(architectureNames, fc.subarray(optional), (name, fields) => {
        const nulls = Object.fromEntries(
          fields.filter((field) => !(field in rawOf(name))).map((field) => [field, null]),
        );
        const { raw: _, ...config } = right(modelConfig({ ...rawOf(name), ...nulls }));
        const { raw: _own, ...expected } = configOf(name);
        expect(config).toEqual(expected);
      }),
    );
  });
});

describe('tensors', () => {
  const prefixes: Readonly<Record<string, string>> = { gpt2: 'transformer.', gpt_neo: 'transformer.' };

  it('are all found, whichever of them lack the base prefix and in whatever order', () => {
    fc.assert(
      fc.property(architectureNames, fc.infiniteStream(fc.boolean()), fc.nat(50), (name, bare, turn) => {
        const prefix = prefixes[name] ?? 'model.';
        const specs = expectedTensors(configOf(name));
        const turned = [...specs.slice(turn % specs.length), ...specs.slice(0, turn % specs.length)];
        const stored = turned.map(({ name: full, shape }) => ({
          name: bare.next().value === true && full.startsWith(prefix) ? full.slice(prefix.length) : full,
          shape,
        }));
        const { tensors, unexpected } = right(matchTensors(configOf(name), stored));
        expect(tensors.map((tensor) => tensor.name)).toEqual(turned.map((spec) => spec.name));
        expect(tensors.map((tensor) => tensor.stored)).toEqual(stored.map((tensor) => tensor.name));
        expect(unexpected).toEqual([]);
      }),
      { numRuns: 50 },
    );
  });

  it('of which one is missing or misshapen are refused by its name', () => {
    fc.assert(
      fc.property(architectureNames, fc.nat(200), fc.boolean(), (name, at, missing) => {
        const specs = expectedTensors(configOf(name));
        const victim = specs[at % specs.length];
        if (victim === undefined) return;
        const stored = missing
          ? specs.filter((spec) => spec !== victim)
          : specs.map((spec) => (spec === victim ? { ...spec, shape: [...spec.shape, 2] } : spec));
        const result = matchTensors(configOf(name), stored);
        if (E.isRight(result)) throw new Error('accepted');
        expect(result.left.code).toBe(missing ? 'E_WEIGHTS_MISSING' : 'E_WEIGHTS_SHAPE');
        expect(`${result.left.message} ${result.left.details.expected ?? ''}`).toContain(victim.name);
      }),
      { numRuns: 50 },
    );
  });

  it('have distinct names', () => {
    fc.assert(
      fc.property(architectureNames, (name) => {
        const names = expectedTensors(configOf(name)).map((spec) => spec.name);
        expect(new Set(names).size).toBe(names.length);
      }),
    );
  });
});
