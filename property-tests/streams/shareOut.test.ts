import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Crew } from '../../src/streams/crew.js';
import { shareOut } from '../../src/streams/shareOut.js';
import { beats, pacedIterable, wait } from '../arbitraries/pace.js';
import type { Beat, Watched } from '../arbitraries/pace.js';

/** What becomes of an item that a helper is offered: taken and done, taken and given back, refused, or the helper's end. */
type Offer = 'done' | 'back' | 'full' | 'broken';

interface Plan {
  readonly offers: ReadonlyArray<Offer>;
  readonly pace: ReadonlyArray<Beat>;
  readonly ahead: number;
}

const plans = (...offers: ReadonlyArray<Offer>): fc.Arbitrary<Plan> =>
  fc.record({
    offers: fc.array(fc.constantFrom<Offer>(...offers), { minLength: 1, maxLength: 8 }),
    pace: beats(),
    ahead: fc.integer({ min: 1, max: 6 }),
  });

interface Seen {
  /** Items that are with a helper and in no one else's hands. */
  readonly away: Set<number>;
  closed: boolean;
}

const crewOf = ({ offers, pace, ahead }: Plan, seen: Seen): Crew<number, string> => {
  let asked = 0;
  return {
    take: (item) => {
      const offer = offers[asked % offers.length];
      const beat = pace[asked % pace.length] ?? 'now';
      asked++;
      if (offer === 'full') return undefined;
      seen.away.add(item);
      return wait(beat).then(() => {
        seen.away.delete(item);
        if (offer === 'broken') throw new Error('the helper broke down');
        return offer === 'done' ? `there ${item}` : undefined;
      });
    },
    ahead: () => ahead,
    onRoom: () => undefined,
    worked: () => undefined,
    close: () => {
      seen.closed = true;
    },
  };
};

const numbers = (count: number): ReadonlyArray<number> => Array.from({ length: count }, (_, i) => i);
const itemOf = (result: string): number => Number(result.split(' ')[1]);

describe('shareOut', () => {
  it('gives each result once and in order, whoever works on it, and reads no further ahead than the crew says', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(30),
        beats(),
        plans('done', 'back', 'full'),
        fc.func(fc.boolean()),
        fc.option(fc.constant(new Error('the source failed')), { nil: undefined }),
        async (count, pace, plan, later, error) => {
          const watched: Watched = { pulled: 0, closed: false };
          const seen: Seen = { away: new Set(), closed: false };
          const given: Array<number> = [];
          const check = (item: number): void => {
            expect(seen.away.has(item)).toBe(false);
            expect(watched.pulled - given.length).toBeLessThanOrEqual(plan.ahead);
          };
          const here = {
            inTurn: (item: number): string => {
              check(item);
              expect(item).toBe(given.length);
              return `here ${item}`;
            },
            outOfTurn: (item: number): string | undefined => {
              check(item);
              return later(item) ? undefined : `here ${item}`;
            },
          };
          const run = async (): Promise<void> => {
            for await (const result of shareOut(pacedIterable(numbers(count), pace, { watched, error }), here, () =>
              crewOf(plan, seen),
            )) {
              given.push(itemOf(result));
            }
          };
          if (error === undefined) await run();
          else await expect(run()).rejects.toBe(error);
          expect(given).toEqual(numbers(count));
          expect(seen.closed).toBe(true);
        },
      ),
    );
  });

  it('ends at once when a helper breaks down, and closes the crew and the source', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 30 }), beats(), plans('broken'), async (count, pace, plan) => {
        const watched: Watched = { pulled: 0, closed: false };
        const seen: Seen = { away: new Set(), closed: false };
        const given: Array<string> = [];
        const here = { inTurn: (item: number) => `here ${item}`, outOfTurn: (item: number) => `here ${item}` };
        const run = async (): Promise<void> => {
          for await (const result of shareOut(pacedIterable(numbers(count), pace, { watched }), here, () =>
            crewOf(plan, seen),
          )) {
            given.push(result);
          }
        };
        await expect(run()).rejects.toThrow('the helper broke down');
        expect(given).toEqual([]);
        expect(seen.closed).toBe(true);
        // A source closes when what it was asked for has come.
        for (let turns = 0; turns < 100 && !watched.closed; turns++) await wait('timer');
        expect(watched.closed).toBe(true);
      }),
    );
  });

  it('closes both when its consumer leaves, and begins nothing more', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 10 }), beats(), plans('done', 'full'), async (wanted, pace, plan) => {
        const watched: Watched = { pulled: 0, closed: false };
        const seen: Seen = { away: new Set(), closed: false };
        const here = { inTurn: (item: number) => `here ${item}`, outOfTurn: (item: number) => `here ${item}` };
        const shared = shareOut(pacedIterable(numbers(100), pace, { watched }), here, () => crewOf(plan, seen))[
          Symbol.asyncIterator
        ]();
        for (let i = 0; i < wanted; i++)
          expect(await shared.next()).toMatchObject({ done: false, value: expect.stringMatching(` ${i}$`) });
        await shared.return?.();
        expect(seen.closed).toBe(true);
        expect((await shared.next()).done).toBe(true);
        const { pulled } = watched;
        await wait('timer');
        await wait('timer');
        // One that was asked for already may still come.
        expect(watched.pulled).toBeLessThanOrEqual(pulled + 1);
        if (pulled > 0) expect(watched.closed).toBe(true);
      }),
    );
  });
});
