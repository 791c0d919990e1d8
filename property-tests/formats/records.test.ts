import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import * as E from 'fp-ts/lib/Either.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { render } from '../../src/errors.js';
import type { FatalError } from '../../src/errors.js';
import { adapterKey, nameOfAdapterKey } from '../../src/formats/checkpoints/adapterKeys.js';
import { decodeAdapterConfig, encodeAdapterConfig } from '../../src/formats/checkpoints/adapterConfig.js';
import { readAdapter, writeAdapter } from '../../src/formats/checkpoints/adapterFiles.js';
import type { AdapterConfig } from '../../src/formats/checkpoints/adapterConfig.js';
import { writeTextAtomically } from '../../src/formats/files/atomicFile.js';
import {
  listCheckpoints,
  newestCheckpoint,
  outdated,
  writeCheckpoint,
} from '../../src/formats/checkpoints/checkpoint.js';
import {
  boolean,
  fraction,
  integer,
  json,
  list,
  nullable,
  oneOf,
  positiveInteger,
  string,
} from '../../src/formats/optionCodecs.js';
import { closed, option, optional } from '../../src/formats/closed.js';
import { fieldFromText } from '../../src/formats/optionText.js';
import { verifyDirectory, writeDirectoryAtomically } from '../../src/formats/files/directory.js';
import { decodeExample, recogniseFormat } from '../../src/formats/examples/example.js';
import { encodeExample } from '../arbitraries/encodeExample.js';
import { readJson, writeJson } from '../../src/formats/json/json.js';
import { jsonFault } from '../../src/formats/json/jsonFault.js';
import { editDistance, nearest } from '../../src/nearest.js';
import { temporaryDirectory } from '../../test/formats/temporary.js';
import { damages, jsonValues, utf8 } from '../arbitraries/bytes.js';
import { examples } from '../arbitraries/example.js';

const dir = temporaryDirectory();
const right = async <A>(task: TaskEither<FatalError, A>): Promise<A> => {
  const result = await task();
  if (E.isLeft(result)) throw new Error(render(result.left));
  return result.right;
};
const parses = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

describe('laws of examples', () => {
  it('decoding what was encoded gives it back, through JSON too', () => {
    fc.assert(
      fc.property(examples(), (example) => {
        expect(decodeExample(encodeExample(example))).toEqual(E.right(example));
        expect(decodeExample(JSON.parse(JSON.stringify(encodeExample(example))))).toEqual(E.right(example));
      }),
      { numRuns: 300 },
    );
  });

  const column = fc.constantFrom(
    ...['text', 'messages', 'conversations', 'prompt', 'completion', 'instruction', 'input', 'output', 'response'],
    ...['question', 'answer', 'input_ids', 'labels', 'attention_mask', 'weight', 'system', 'tools', 'history', 'other'],
  );
  const value = fc.oneof(
    jsonValues(),
    fc.string(),
    fc.array(fc.nat(5), { maxLength: 3 }),
    fc.array(
      fc.record(
        {
          role: fc.oneof(fc.string(), fc.nat()),
          content: jsonValues(),
          from: fc.constantFrom('human', 'gpt', 'x'),
          value: fc.string(),
        },
        { requiredKeys: [] },
      ),
      { maxLength: 3 },
    ),
  );

  it('any row is an example or is refused with its place; the report says the same', () => {
    fc.assert(
      fc.property(fc.oneof(fc.dictionary(column, value, { noNullPrototype: true }), jsonValues()), (row) => {
        const place = { file: 'f', line: 3 };
        const result = decodeExample(row, place);
        const report = recogniseFormat(row);
        if (E.isLeft(result)) {
          expect(result.left).toMatchObject({ _tag: 'DataError', ...place });
          expect(report.error?.code).toBe(result.left.code);
          expect(report.kind).toBeUndefined();
        } else {
          expect(report).toMatchObject({ kind: result.right.kind });
          expect(report.format).toBeDefined();
        }
      }),
      { numRuns: 600 },
    );
  });

  it('columns beside those of the shape change nothing', () => {
    fc.assert(
      fc.property(
        examples(),
        fc.dictionary(fc.constantFrom('id', 'source', 'meta'), jsonValues(), { noNullPrototype: true }),
        (example, extra) => {
          expect(decodeExample({ ...extra, ...encodeExample(example) })).toEqual(E.right(example));
        },
      ),
      { numRuns: 150 },
    );
  });
});

const Options = closed('Options', {
  learningRate: option(fraction, 0.5, 'a'),
  maxLength: option(nullable(positiveInteger), 1024, 'b'),
  packing: option(boolean, false, 'c'),
  lossType: option(oneOf('nll', 'dft'), 'nll', 'd'),
  seed: optional(integer, 'e'),
  targetModules: option(list(string), ['q'], 'f'),
  nested: optional(json(closed('Nested', { r: option(positiveInteger, 8, 'g') }).codec), 'h'),
});
const options = () =>
  fc.record(
    {
      learningRate: fc.double({ min: 0, max: 1, noNaN: true }),
      maxLength: fc.option(fc.integer({ min: 1 })),
      packing: fc.boolean(),
      lossType: fc.constantFrom('nll' as const, 'dft' as const),
      seed: fc.integer(),
      targetModules: fc.array(fc.string()),
      nested: fc.record({ r: fc.integer({ min: 1 }) }),
    },
    { requiredKeys: [], noNullPrototype: true },
  );

describe('laws of closed records', () => {
  it('decoding fills in defaults and nothing else, and is undone by encoding', () => {
    fc.assert(
      fc.property(options(), (given) => {
        const decoded = Options.decode(given);
        expect(decoded).toEqual(E.right({ ...Options.defaults, ...given }));
        if (E.isRight(decoded)) expect(Options.decode(Options.encode(decoded.right))).toEqual(decoded);
      }),
    );
  });

  it('one key that is not known is enough to be refused, and named', () => {
    fc.assert(
      fc.property(options(), fc.string(), jsonValues(), (given, key, value) => {
        fc.pre(!Object.keys(Options.fields).includes(key) && value !== undefined);
        const result = Options.decode({ ...given, ...Object.fromEntries([[key, value]]) });
        expect(E.isLeft(result) && result.left.message.includes(`unknown option "${key}"`)).toBe(true);
      }),
    );
  });

  it('a value of any other kind is refused with the name of its field', () => {
    fc.assert(
      fc.property(
        options(),
        fc.constantFrom('learningRate', 'packing', 'lossType', 'targetModules'),
        jsonValues(),
        (given, key, value) => {
          // One text is a list of one.
          const fits = Options.fields[key].codec.is(
            key === 'targetModules' && typeof value === 'string' ? [value] : value,
          );
          const result = Options.decode({ ...given, [key]: value });
          if (fits) expect(E.isRight(result)).toBe(true);
          else expect(E.isLeft(result) && result.left.details.field?.startsWith(key)).toBe(true);
        },
      ),
    );
  });

  it('a flag says what its value says', () => {
    fc.assert(
      fc.property(options(), (given) => {
        for (const [name, value] of Object.entries(given)) {
          const field = Object.entries(Options.fields).find(([key]) => key === name)?.[1];
          if (field === undefined) throw new Error(name);
          const text = typeof value === 'object' ? JSON.stringify(value) : String(value);
          expect(fieldFromText(field, text)).toEqual(value);
        }
      }),
    );
  });

  it('edit distance is a metric, up to its swaps; a name misspelt once is found again', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 5 });
    fc.assert(
      fc.property(word, word, (a, b) => {
        expect(editDistance(a, b)).toBe(editDistance(b, a));
        expect(editDistance(a, b) === 0).toBe(a === b);
        expect(editDistance(a, b)).toBeLessThanOrEqual(Math.max(a.length, b.length));
        expect(editDistance(a, b)).toBeGreaterThanOrEqual(Math.abs(a.length - b.length));
        expect(editDistance(`${a}x`, a)).toBe(1);
        expect(editDistance(`xy${a}`, `yx${a}`)).toBe(1);
      }),
    );
    const known = [
      'learningRate',
      'maxLength',
      'packing',
      'perDeviceTrainBatchSize',
      'warmupRatio',
      'gradientCheckpointing',
    ];
    fc.assert(
      fc.property(
        fc.constantFrom(...known),
        fc.nat(),
        fc.constantFrom('x', '_', ''),
        fc.boolean(),
        (name, where, what, overwrite) => {
          const at = where % name.length;
          expect(nearest(name.slice(0, at) + what + name.slice(overwrite ? at + 1 : at), known)).toBe(name);
        },
      ),
    );
  });
});

describe('laws of JSON', () => {
  it('a text has a fault exactly when JSON.parse refuses it', () => {
    const damaged = fc
      .tuple(jsonValues(), fc.integer({ min: 0, max: 2 }), damages())
      .map(([value, indent, damage]) => new TextDecoder().decode(damage(utf8(JSON.stringify(value, null, indent)))));
    const soup = fc
      .array(
        fc.constantFrom(
          '{',
          '}',
          '[',
          ']',
          ',',
          ':',
          '"',
          '\\',
          'u00',
          '1',
          '0',
          '-',
          '.',
          'e',
          'true',
          'nul',
          ' ',
          '\n',
          'é',
          '\u0001',
        ),
        { maxLength: 10 },
      )
      .map((parts) => parts.join(''));
    fc.assert(
      fc.property(fc.oneof(damaged, soup), (text) => {
        const fault = jsonFault(text);
        expect(fault === undefined).toBe(parses(text));
        if (fault === undefined) return;
        expect(fault.position).toBeLessThanOrEqual(text.length);
        // What stands before the fault can be gone on from; at the fault itself nothing helps.
        if (!fault.truncated) expect(jsonFault(text.slice(0, fault.position))?.truncated ?? true).toBe(true);
      }),
      { numRuns: 1500 },
    );
  });

  it('every part of a list or record that stops early is told to be truncated', () => {
    fc.assert(
      fc.property(jsonValues(), fc.nat(), (value, where) => {
        const text = JSON.stringify([value]);
        expect(jsonFault(text.slice(0, where % text.length))?.truncated).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it('files give back what was written, whatever the order of keys', async () => {
    const path = join(dir, 'law.json');
    await fc.assert(
      fc.asyncProperty(jsonValues(), fc.boolean(), fc.integer({ min: 0, max: 3 }), async (value, sortKeys, indent) => {
        await right(writeJson(path, value, { sortKeys, indent }));
        expect(await right(readJson(path))).toEqual(value);
      }),
      { numRuns: 40 },
    );
  });
});

describe('laws of adapters', () => {
  const name = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 6 });
  const names = fc.oneof(name, fc.array(name, { maxLength: 3 }));
  const configs: fc.Arbitrary<AdapterConfig> = fc.record(
    {
      lora: fc.record(
        {
          r: fc.integer({ min: 1, max: 256 }),
          loraAlpha: fc.double({ min: 0, max: 64, noNaN: true }).map((x) => x + 0),
          loraDropout: fc.double({ min: 0, max: 1, noNaN: true }).map((x) => x + 0),
          bias: fc.constantFrom('none', 'all', 'lora_only'),
          fanInFanOut: fc.boolean(),
          useRslora: fc.boolean(),
          useDora: fc.boolean(),
          initLoraWeights: fc.constantFrom<boolean | 'gaussian'>(true, false, 'gaussian'),
          rankPattern: fc.dictionary(name, fc.integer({ min: 1, max: 64 }), { maxKeys: 2, noNullPrototype: true }),
          alphaPattern: fc.dictionary(name, fc.integer({ min: 1, max: 64 }), { maxKeys: 2, noNullPrototype: true }),
          targetModules: names,
          excludeModules: names,
          modulesToSave: fc.array(name, { maxLength: 2 }),
          layersToTransform: fc.oneof(fc.nat(9), fc.array(fc.nat(9), { maxLength: 3 })),
          layersPattern: names,
        },
        {
          requiredKeys: [
            ...(['r', 'loraAlpha', 'loraDropout', 'bias', 'fanInFanOut', 'useRslora', 'useDora'] as const),
            ...(['initLoraWeights', 'rankPattern', 'alphaPattern'] as const),
          ],
        },
      ),
      baseModelNameOrPath: name,
      revision: name,
      taskType: fc.constant('CAUSAL_LM'),
      autoMapping: fc.dictionary(name, jsonValues(), { maxKeys: 2, noNullPrototype: true }),
    },
    { requiredKeys: ['lora'] },
  );

  it('a configuration comes back from its JSON, without a warning', () => {
    fc.assert(
      fc.property(configs, (config) => {
        const onDisk: unknown = JSON.parse(JSON.stringify(encodeAdapterConfig(config)));
        expect(decodeAdapterConfig(onDisk)).toEqual(E.right({ config, warnings: [] }));
      }),
      { numRuns: 150 },
    );
  });

  it('any JSON is a configuration or is refused with a type', () => {
    const key = fc.constantFrom(
      'r',
      'peft_type',
      'bias',
      'lora_alpha',
      'target_modules',
      'use_dora',
      'rank_pattern',
      'init_lora_weights',
      'x',
    );
    const value = fc.oneof(jsonValues(), fc.constantFrom('LORA', 8, 'none', null, 'pissa'));
    fc.assert(
      fc.property(
        fc.oneof(
          jsonValues(),
          fc.dictionary(key, value).map((row) => ({ r: 8, peft_type: 'LORA', ...row })),
        ),
        (json_) => {
          const result = decodeAdapterConfig(json_);
          if (E.isLeft(result)) expect(result.left.code).toMatch(/^E_ADAPTER_/);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('a name comes back from its key', () => {
    const part = fc.constantFrom('model', 'layers', '0', 'q_proj', 'lm_head', 'default');
    const end = fc.constantFrom('lora_A.weight', 'lora_B.weight', 'weight', 'bias', 'lora_embedding_A');
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 4 }), end, fc.boolean(), (path, last, adapted) => {
        const module = path.join('.');
        const key = adapterKey(`${module}.${last}`, new Set(adapted ? [module] : []));
        expect(key.startsWith('base_model.model.')).toBe(true);
        expect(nameOfAdapterKey(key)).toBe(`${module}.${last}`);
      }),
    );
  });

  it('a directory comes back: configuration and every value', async () => {
    const home = join(dir, 'adapter');
    const modules = fc.uniqueArray(fc.constantFrom('a.q_proj', 'a.v_proj', 'b.q_proj', 'head'), { minLength: 1 });
    await fc.assert(
      fc.asyncProperty(
        configs,
        modules,
        fc.integer({ min: 1, max: 3 }),
        fc.boolean(),
        async (config, all, rank, bias) => {
          rmSync(home, { recursive: true, force: true });
          mkdirSync(home);
          const filled = (length: number): Float32Array =>
            Float32Array.from({ length }, (_, i) => Math.sin(i + length));
          const tensors = all.flatMap((module) => [
            { name: `${module}.lora_A.weight`, dtype: 'F32' as const, shape: [rank, 5], data: filled(rank * 5) },
            { name: `${module}.lora_B.weight`, dtype: 'F32' as const, shape: [4, rank], data: filled(rank * 4) },
            ...(bias ? [{ name: `${module}.bias`, dtype: 'F32' as const, shape: [4], data: filled(4) }] : []),
          ]);
          await right(writeAdapter(home, { config, tensors }));
          const read = await right(readAdapter(home));
          expect(read.config).toEqual(config);
          expect([...read.tensors.keys()].toSorted()).toEqual(tensors.map(({ name: own }) => own).toSorted());
          for (const { name: own, data } of tensors) {
            const stored = read.tensors.get(own);
            expect(stored === undefined ? undefined : await right(stored.read())).toEqual(data);
          }
        },
      ),
      { numRuns: 25 },
    );
  });
});

describe('laws of checkpoints', () => {
  it('rotation keeps the newest and the best, and as many as wanted; what goes is older than what stays, but for the best', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.nat(50)),
        fc.integer({ min: -1, max: 6 }),
        fc.option(fc.nat(50), { nil: undefined }),
        fc.option(fc.nat(), { nil: undefined }),
        (steps, limit, best, which) => {
          const written = which === undefined ? undefined : steps[which % Math.max(1, steps.length)];
          const gone = outdated(steps, {
            limit,
            ...(best === undefined ? {} : { best }),
            ...(written === undefined ? {} : { written }),
          });
          const stay = steps.filter((step) => !gone.includes(step));
          if (limit < 1) expect(gone).toEqual([]);
          if (steps.length > 0) expect(stay).toContain(written ?? Math.max(...steps));
          if (best !== undefined && steps.includes(best)) expect(stay).toContain(best);
          if (limit >= 2) expect(stay.length).toBe(Math.min(limit, steps.length));
          if (limit === 1) expect(stay.length).toBeLessThanOrEqual(2);
          const others = stay.filter((step) => step !== best);
          // Steps beyond the one just written belong to another run and count as older than all of this one.
          const age = (step: number): number => (written !== undefined && step > written ? step - 1000 : step);
          for (const step of gone) for (const kept of others) expect(age(step)).toBeLessThan(age(kept));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('any change of any byte of any file is found out', async () => {
    const home = join(dir, 'sealed');
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.constantFrom('a', 'b.gz', 'c.safetensors'), { minLength: 1 }),
        fc.uint8Array({ minLength: 1, maxLength: 40 }),
        fc.nat(),
        damages(),
        async (names, content, which, damage) => {
          await right(
            writeDirectoryAtomically(home, (temporary) => async () => {
              for (const one of names) await right(writeTextAtomically(join(temporary, one), content));
              return E.right(undefined);
            }),
          );
          expect(Object.keys((await right(verifyDirectory(home))).files)).toEqual(names.toSorted());
          const path = join(home, names[which % names.length] ?? '');
          const before = readFileSync(path);
          const after = damage(before);
          fc.pre(!before.equals(after));
          writeFileSync(path, after);
          const result = await verifyDirectory(home)();
          expect(E.isLeft(result) && result.left.code).toBe('E_DIRECTORY_CORRUPT');
        },
      ),
      { numRuns: 25 },
    );
  });

  it('the newest one that is whole is chosen, with a warning for each newer one', async () => {
    const run = join(dir, 'run');
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.tuple(fc.nat(1000), fc.boolean()), { selector: ([step]) => step, maxLength: 4 }),
        async (all) => {
          rmSync(run, { recursive: true, force: true });
          for (const [step, whole] of all) {
            const { dir: at } = await right(
              writeCheckpoint(run, step, (temporary) => writeTextAtomically(join(temporary, 'x'), 'abc')),
            );
            if (!whole) writeFileSync(join(at, 'x'), 'abd');
          }
          const ascending = all.toSorted(([a], [b]) => a - b);
          expect((await right(listCheckpoints(run))).map(({ step }) => step)).toEqual(ascending.map(([step]) => step));
          const good = ascending.filter(([, whole]) => whole).map(([step]) => step);
          const newest = good[good.length - 1];
          const { checkpoint, warnings } = await right(newestCheckpoint(run));
          expect(checkpoint?.step).toBe(newest);
          expect(warnings.length).toBe(ascending.filter(([step]) => step > (newest ?? -1)).length);
        },
      ),
      { numRuns: 12 },
    );
  });
});
