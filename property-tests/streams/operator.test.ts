import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import * as E from 'fp-ts/lib/Either.js';
import { from, lastValueFrom, toArray } from 'rxjs';
import type { OperatorFunction } from 'rxjs';
import { dataError, isFatal } from '../../src/errors.js';
import type { DataError } from '../../src/errors.js';
import { asyncMapping } from '../../src/streams/asyncMapping.js';
import { makeGate } from '../../src/streams/gate.js';
import { mapping, windowed } from '../../src/streams/operator.js';
import type { Machine, Rejecting } from '../../src/streams/operator.js';
import { pull } from '../../src/streams/pull.js';
import { makeRejects } from '../../src/streams/rejects.js';
import type { Rejected } from '../../src/streams/rejects.js';
import { wait } from '../arbitraries/pace.js';
import type { Beat } from '../arbitraries/pace.js';
import { operatorLaws, rightsOf } from '../laws.js';

const odd: DataError = dataError('E_ODD', 'odd');
const halve = (a: number): E.Either<DataError, string> => (a % 2 === 0 ? E.right(`half ${a / 2}`) : E.left(odd));

operatorLaws('mapping', (options) => mapping('halve', halve, options), fc.nat(9), rightsOf(halve), { oneToOne: true });

/** Pairs of even numbers, the last alone. */
const pairs = (): Machine<number, ReadonlyArray<number>> => {
  let held: Array<number> = [];
  return {
    push: (a) => {
      if (a % 2 === 1) return E.left(odd);
      held.push(a);
      if (held.length < 2) return E.right([]);
      const pair = held;
      held = [];
      return E.right([pair]);
    },
    flush: () => (held.length > 0 ? [held] : []),
  };
};
const pairsOf = (values: ReadonlyArray<number>): ReadonlyArray<ReadonlyArray<number>> => {
  const even = values.filter((a) => a % 2 === 0);
  return even.flatMap((_, i) => (i % 2 === 0 ? [even.slice(i, i + 2)] : []));
};
operatorLaws('windowed', (options) => windowed('pairs', pairs, options), fc.nat(9), pairsOf);

const beatOf: ReadonlyArray<Beat> = ['macrotask', 'microtask', 'timer', 'now', 'macrotask'];
for (const concurrency of [1, 3]) {
  operatorLaws(
    `asyncMapping, ${concurrency} at once,`,
    (options) =>
      asyncMapping('halve', (a: number) => wait(beatOf[a % 5] ?? 'now').then(() => halve(a)), {
        ...options,
        concurrency,
      }),
    fc.nat(9),
    rightsOf(halve),
    { oneToOne: true },
  );
}
operatorLaws(
  'asyncMapping of tasks',
  (options) => asyncMapping('halve', (a: number) => () => Promise.resolve(halve(a)), { ...options, concurrency: 2 }),
  fc.nat(9),
  rightsOf(halve),
  { oneToOne: true },
);

interface Boxed {
  readonly value: number;
}
const unbox = ({ value }: Boxed): E.Either<DataError, Boxed> =>
  value % 2 === 0 ? E.right({ value: value / 2 }) : E.left(odd);

describe('refusals', () => {
  const refusalsOf = async <B>(
    values: ReadonlyArray<Boxed>,
    stages: (options: Rejecting) => OperatorFunction<Boxed, B>,
  ): Promise<ReadonlyArray<Rejected>> => {
    const rejects = makeRejects({ maxRate: 1 });
    const refused: Array<Rejected> = [];
    rejects.stream.subscribe((rejected) => refused.push(rejected));
    await lastValueFrom(pull(values).pipe(stages({ rejects }), toArray()));
    return refused;
  };

  it('name the record and its place in the source, however deep the stage', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.record({ value: fc.nat(40) })), fc.boolean(), async (values, asynchronous) => {
        const refused = await refusalsOf(
          values,
          (options) => (source) =>
            source.pipe(
              mapping('first', unbox, options),
              asynchronous
                ? asyncMapping('second', (box: Boxed) => wait('microtask').then(() => unbox(box)), {
                    ...options,
                    concurrency: 3,
                  })
                : mapping('second', unbox, options),
              mapping('third', unbox, options),
            ),
        );
        const expected = values.flatMap(({ value }, index) => {
          for (const [depth, stage] of ['first', 'second', 'third'].entries()) {
            const there = value / 2 ** depth;
            if (there % 2 === 1) return [{ stage, index, error: odd, record: { value: there } }];
          }
          return [];
        });
        expect([...refused].sort((a, b) => a.index - b.index)).toEqual(expected);
      }),
      { numRuns: 60 },
    );
  });

  it('are counted by code and stage, and what goes in comes out or is counted', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(40)), async (values) => {
        const rejects = makeRejects({ maxRate: 1 });
        const out = await lastValueFrom(from(values).pipe(mapping('halve', halve, { rejects }), toArray()));
        const { seen, rejected, byCode, byStage } = rejects.counts();
        expect(seen).toBe(values.length);
        expect(out.length + rejected).toBe(values.length);
        expect(byCode['E_ODD'] ?? 0).toBe(rejected);
        expect(byStage['halve'] ?? 0).toBe(rejected);
      }),
    );
  });

  it('turn fatal exactly when their rate passes the limit', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(9), { maxLength: 40 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.integer({ min: 1, max: 50 }),
        async (values, maxRate, minSeen) => {
          const rejects = makeRejects({ maxRate, minSeen });
          let fatalAfter: number | undefined;
          let refused = 0;
          for (const [i, value] of values.entries()) {
            if (value % 2 === 1) {
              refused++;
              if (i + 1 >= minSeen && refused > maxRate * (i + 1)) {
                fatalAfter = i + 1;
                break;
              }
            }
          }
          const atEnd = fatalAfter === undefined && refused > maxRate * values.length;
          const seen: Array<string> = [];
          const end = await new Promise((resolve) => {
            from(values)
              .pipe(mapping('halve', halve, { rejects }))
              .subscribe({ next: (a) => seen.push(a), error: resolve, complete: () => resolve('completed') });
          });
          if (fatalAfter === undefined && !atEnd) expect(end).toBe('completed');
          else expect(isFatal(end) && end.code).toBe('E_TOO_MANY_REJECTED');
          expect(rejects.counts().seen).toBe(fatalAfter ?? values.length);
        },
      ),
    );
  });

  it('end the stream at once where there is no side door', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(9)), fc.constantFrom('mapping', 'windowed', 'async'), async (values, kind) => {
        const first = values.findIndex((a) => a % 2 === 1);
        const before: Array<unknown> = [];
        const lift: OperatorFunction<number, unknown> =
          kind === 'mapping'
            ? mapping('halve', halve)
            : kind === 'windowed'
              ? windowed('pairs', pairs)
              : asyncMapping('halve', (a: number) => Promise.resolve(halve(a)), { concurrency: 2, gate: makeGate() });
        const end = await new Promise((resolve) => {
          from(values)
            .pipe(lift)
            .subscribe({ next: (a) => before.push(a), error: resolve, complete: () => resolve('completed') });
        });
        if (first === -1) expect(end).toBe('completed');
        else {
          expect(isFatal(end) && end.code).toBe('E_ODD');
          if (kind !== 'windowed') expect(before.length).toBe(first);
        }
      }),
    );
  });
});

describe('refusals behind a stage that merges rows', () => {
  it('name the place among the rows the refusing stage received', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.record({ value: fc.nat(40) })), async (values) => {
        const rejects = makeRejects({ maxRate: 1 });
        const refused: Array<Rejected> = [];
        rejects.stream.subscribe((rejected) => refused.push(rejected));
        const held: Array<Boxed> = [];
        // The row that goes first is the one that came last, so its place in the source is at hand, and wrong here.
        const reversed = windowed<Boxed, Boxed>('reversed', () => ({
          push: (box) => {
            held.unshift(box);
            return E.right([]);
          },
          flush: () => held,
        }));
        await lastValueFrom(pull(values).pipe(reversed, mapping('halve', unbox, { rejects }), toArray()));
        expect(refused.map(({ index }) => index)).toEqual(
          values.toReversed().flatMap(({ value }, index) => (value % 2 === 1 ? [index] : [])),
        );
      }),
      { numRuns: 40 },
    );
  });
});
