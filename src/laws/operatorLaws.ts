/** Laws of every operator: whatever the pace of its source, and whoever leaves early. */
import fc from 'fast-check';
import { lastValueFrom, take, toArray } from 'rxjs';
import type { Observable, OperatorFunction } from 'rxjs';
import { known } from '../checked.js';
import type { Transform } from '../records.js';
import { drain } from '../streams/drain.js';
import { makeGate } from '../streams/gate.js';
import type { Rejecting } from '../streams/operator.js';
import { pull } from '../streams/pull.js';
import { makeRejects } from '../streams/rejects.js';
import type { Rejects } from '../streams/rejects.js';
import { hold, law, same, lawOptionNames } from './law.js';
import type { Law, LawOptions } from './law.js';
import { beats, endlessly, pacedIterable, pacedObservable, wait, watchedIterable } from './pace.js';
import type { Watched } from './pace.js';

/** The operator under test with the side door that the law gives it: `(options) => mapping(…, options)`. */
export type MakeOperator<A, B> = (options: Rejecting) => OperatorFunction<A, B>;

/** What kind of operator it is, and how hard the laws are tried. */
export interface OperatorLawOptions extends LawOptions {
  /** False for operators that wait for the end of their source before they release anything. */
  readonly endless?: boolean | undefined;
  /** True when every record that goes in comes out or is refused. */
  readonly oneToOne?: boolean | undefined;
}

const collect = <A>(stream: Observable<A>): Promise<ReadonlyArray<A>> => lastValueFrom(stream.pipe(toArray()));

const openDoor = (): Rejects => makeRejects({ maxRate: 1 });

/** What a transform makes of many records: its Rights. */
export const rightsOf =
  <A, B>(transform: Transform<A, B>) =>
  (inputs: ReadonlyArray<A>): ReadonlyArray<B> =>
    inputs.flatMap((input) => {
      const result = transform(input);
      return result._tag === 'Right' ? [result.right] : [];
    });

/** An operator, what goes into it, and what is to come out. */
interface Subject<A, B> {
  readonly makeOperator: MakeOperator<A, B>;
  readonly input: fc.Arbitrary<A>;
  readonly inputs: fc.Arbitrary<Array<A>>;
  readonly oracle: (inputs: ReadonlyArray<A>) => ReadonlyArray<B>;
}

const pacedAlike = <A, B>(
  { makeOperator, inputs, oracle }: Subject<A, B>,
  options: LawOptions,
  oneToOne: boolean,
): Law =>
  law(
    'gives what its pure half gives, however the source is paced',
    fc.asyncProperty(inputs, beats(), async (values, pace) => {
      const rejects = openDoor();
      const pushed = await collect(pacedObservable(values, pace).pipe(makeOperator({ rejects })));
      same(pushed, oracle(values), 'what came out');
      if (oneToOne) {
        same(pushed.length + rejects.counts().rejected, values.length, 'records that came out or were refused');
      }
      const pulled = await collect(pull(pacedIterable(values, pace)).pipe(makeOperator({ rejects: openDoor() })));
      same(pulled, pushed, 'what came of a source that is pulled');
    }),
    options,
  );

const completesEmpty = <A, B>({ makeOperator, oracle }: Subject<A, B>, options: LawOptions): Law =>
  law(
    'completes an empty source',
    fc.asyncProperty(fc.constant(undefined), async () => {
      const out = await collect(pacedObservable<A>([], ['now']).pipe(makeOperator({ rejects: openDoor() })));
      same(out, oracle([]), 'what came of nothing');
    }),
    options,
  );

const handlesOne = <A, B>({ makeOperator, input, oracle }: Subject<A, B>, options: LawOptions): Law =>
  law(
    'handles a single record',
    fc.asyncProperty(fc.tuple(input), async (values) => {
      const out = await collect(pacedObservable(values, ['now']).pipe(makeOperator({ rejects: openDoor() })));
      same(out, oracle(values), 'what came of one record');
    }),
    options,
  );

const passesError = <A, B>({ makeOperator, inputs, oracle }: Subject<A, B>, options: LawOptions): Law =>
  law(
    'passes on the error of its source, after a beginning of what it would have given',
    fc.asyncProperty(inputs, beats(), async (values, pace) => {
      const error = new Error('the source broke');
      const seen: Array<B> = [];
      const end = await new Promise((resolve) => {
        pacedObservable(values, pace, { error })
          .pipe(makeOperator({ rejects: openDoor() }))
          .subscribe({
            next: (value) => seen.push(value),
            error: resolve,
            complete: () => resolve('completed'),
          });
      });
      hold(end === error, `it ended with ${String(end)}, not with the source's error`);
      same(seen, oracle(values).slice(0, seen.length), 'what came before the error');
    }),
    options,
  );

const leavesSource = <A, B>({ makeOperator, inputs, oracle }: Subject<A, B>, options: LawOptions): Law =>
  law(
    'leaves its source when it is left',
    fc.asyncProperty(inputs, beats(), fc.nat(5), async (values, pace, few) => {
      const expected = oracle(values);
      fc.pre(expected.length > few);
      const watched: Watched = { pulled: 0, closed: false };
      const out = await collect(
        pacedObservable(values, pace, { watched }).pipe(makeOperator({ rejects: openDoor() }), take(few + 1)),
      );
      same(out, expected.slice(0, few + 1), 'what came before it was left');
      hold(watched.closed, 'the source was not closed');
    }),
    options,
  );

const keepsNoState = <A, B>({ makeOperator, inputs, oracle }: Subject<A, B>, options: LawOptions): Law =>
  law(
    'keeps no state between subscriptions',
    fc.asyncProperty(inputs, async (values) => {
      const stream = pacedObservable(values, ['now']).pipe(makeOperator({ rejects: openDoor() }));
      const expected = oracle(values);
      same(await Promise.all([collect(stream), collect(stream)]), [expected, expected], 'two subscriptions');
    }),
    options,
  );

const stopsEndless = <A, B>({ makeOperator, inputs, oracle }: Subject<A, B>, options: LawOptions): Law =>
  law(
    'stops an endless source',
    fc.asyncProperty(inputs, fc.integer({ min: 1, max: 6 }), fc.boolean(), async (values, some, sync) => {
      fc.pre(oracle(values).length > 0);
      const watched: Watched = { pulled: 0, closed: false };
      const source = sync
        ? watchedIterable(endlessly(values), watched)
        : pacedIterable(endlessly(values), ['now', 'microtask'], { watched });
      const out = await collect(pull(source).pipe(makeOperator({ rejects: openDoor() }), take(some)));
      same(out.length, some, 'records taken of an endless source');
      // An async generator closes once what was asked of it has come.
      await wait('timer');
      hold(watched.closed, 'the endless source was not closed');
    }),
    options,
  );

/**
 * Holds an operator against its pure half. `oracle` says what the operator makes of a whole source; refused records leave by the
 * side door that `makeOperator` is given. Lifting equals mapping however the source is paced; empty, single, erring, endless and
 * abandoned sources behave; subscriptions do not share state.
 */
export const operatorLaws = <A, B>(
  makeOperator: MakeOperator<A, B>,
  input: fc.Arbitrary<A>,
  oracle: (inputs: ReadonlyArray<A>) => ReadonlyArray<B>,
  options: OperatorLawOptions = {},
): ReadonlyArray<Law> => {
  const {
    endless = true,
    oneToOne = false,
    numRuns = 40,
    seed,
  } = known(
    'operatorLaws',
    { endless: 'optional', oneToOne: 'optional', numRuns: 'optional', seed: 'optional' },
    options,
  );
  const subject = { makeOperator, input, inputs: fc.array(input, { maxLength: 24 }), oracle };
  const lawOptions: LawOptions = { numRuns, seed };
  return [
    pacedAlike(subject, lawOptions, oneToOne),
    completesEmpty(subject, { ...lawOptions, numRuns: 1 }),
    handlesOne(subject, lawOptions),
    passesError(subject, lawOptions),
    leavesSource(subject, lawOptions),
    keepsNoState(subject, lawOptions),
    ...(endless ? [stopsEndless(subject, lawOptions)] : []),
  ];
};

/** Order kept and nothing lost: what came out and what was refused are the source, each in its order. For one record in, one out. */
export const orderKept = <A, B>(
  makeOperator: MakeOperator<A, B>,
  input: fc.Arbitrary<A>,
  inputOf: (output: B) => A,
  options: LawOptions = {},
): Law => {
  known('orderKept', lawOptionNames, options);
  return law(
    'keeps the order and loses nothing',
    fc.asyncProperty(fc.array(input, { maxLength: 24 }), beats(), async (values, pace) => {
      const rejects = openDoor();
      const refused: Array<number> = [];
      rejects.stream.subscribe(({ index }) => refused.push(index));
      const out = await collect(pacedObservable(values, pace).pipe(makeOperator({ rejects })));
      const gone = new Set(refused);
      same(
        out.map(inputOf),
        values.filter((_, i) => !gone.has(i)),
        'the records that came out',
      );
      same(out.length + refused.length, values.length, 'records that came out or were refused');
    }),
    options,
  );
};

/** How much an operator may hold, and how hard the law is tried. */
export interface InFlightOptions extends LawOptions {
  /** Records that the operator holds before it releases any (the size of its window). Default 1. */
  readonly window?: number | undefined;
}

/**
 * Bounded in flight: between a source that is pulled and a slow end, both on one gate, there are never more records than the gate
 * lets in, a window of the operator for each. `sizeOf` tells how many records an output holds.
 */
export const boundedInFlight = <A, B>(
  makeOperator: MakeOperator<A, B>,
  input: fc.Arbitrary<A>,
  sizeOf: (output: B) => number,
  options: InFlightOptions = {},
): Law => {
  const {
    window = 1,
    numRuns = 40,
    seed,
  } = known('boundedInFlight', { window: 'optional', numRuns: 'optional', seed: 'optional' }, options);
  return law(
    'holds no more records than the gate lets in',
    fc.asyncProperty(
      fc.array(input, { maxLength: 40 }),
      fc.integer({ min: 1, max: 4 }),
      beats(),
      async (values, prefetch, pace) => {
        const gate = makeGate({ prefetch });
        const rejects = openDoor();
        const watched: Watched = { pulled: 0, closed: false };
        let done = 0;
        let most = 0;
        const look = (): void => {
          most = Math.max(most, watched.pulled - done - rejects.counts().rejected);
        };
        await lastValueFrom(
          pull(pacedIterable(values, ['now'], { watched }), gate).pipe(
            makeOperator({ rejects }),
            drain(async (output) => {
              look();
              for (const beat of pace) await wait(beat);
              look();
              done += sizeOf(output);
            }, gate),
          ),
          { defaultValue: undefined },
        );
        hold(
          most <= (prefetch + 1) * window,
          `${most} records in flight, with room for ${prefetch} windows of ${window}`,
        );
      },
    ),
    { numRuns, seed },
  );
};
