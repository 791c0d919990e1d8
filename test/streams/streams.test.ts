import { describe, expect, it } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { NEVER, Observable, firstValueFrom, from, lastValueFrom, of, take, toArray } from 'rxjs';
import { dataError, fatal, isFatal } from '../../src/errors.js';
import { sourced } from '../../src/formats/datasets/sourced.js';
import { decodeExample } from '../../src/formats/examples/example.js';
import { decode } from '../../src/operators/decode.js';
import type { Example, Transform } from '../../src/records.js';
import { asyncMapping } from '../../src/streams/asyncMapping.js';
import { drain } from '../../src/streams/drain.js';
import { makeGate } from '../../src/streams/gate.js';
import { fromEither } from '../../src/streams/fromEither.js';
import { mapping, windowed } from '../../src/streams/operator.js';
import { pull } from '../../src/streams/pull.js';
import { makeRejects } from '../../src/streams/rejects.js';

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const failureOf = (stream: Observable<unknown>): Promise<unknown> =>
  new Promise((resolve) => stream.subscribe({ error: resolve, complete: () => resolve('completed') }));

describe('pull', () => {
  it('closes its iterable while it waits at the gate', async () => {
    const gate = makeGate({ prefetch: 1 });
    let closed = false;
    let pulled = 0;
    function* source(): Generator<number> {
      try {
        for (;;) yield pulled++;
      } finally {
        closed = true;
      }
    }
    const subscription = pull(source(), gate)
      .pipe(drain(() => new Promise<never>(() => undefined), gate))
      .subscribe();
    await tick();
    expect(pulled).toBe(1);
    expect(closed).toBe(false);
    subscription.unsubscribe();
    expect(closed).toBe(true);
    expect(gate.isOpen()).toBe(true);
  });

  it('closes an async iterable that is still being asked', () => {
    let closed = false;
    const hanging: AsyncIterable<number> = {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise<never>(() => undefined),
        return: () => {
          closed = true;
          return Promise.resolve({ done: true, value: undefined });
        },
      }),
    };
    pull(hanging).subscribe().unsubscribe();
    expect(closed).toBe(true);
  });

  it('does not close what ended by itself', async () => {
    let closed = 0;
    const source = (end: 'done' | 'throws'): Iterable<number> => ({
      [Symbol.iterator]: () => ({
        next: () => {
          if (end === 'throws') throw new Error('torn page');
          return { done: true, value: undefined };
        },
        return: () => {
          closed++;
          return { done: true, value: undefined };
        },
      }),
    });
    expect(await failureOf(pull(source('done')))).toBe('completed');
    const error = await failureOf(pull(source('throws')));
    expect(isFatal(error) && error.code).toBe('E_SOURCE_FAILED');
    expect(isFatal(error) && error.cause).toEqual(new Error('torn page'));
    expect(closed).toBe(0);
  });

  it('passes on the fatal error of a source as it is', async () => {
    const missing = fatal('E_NO_FILE', 'no such file');
    // eslint-disable-next-line require-yield -- a source that fails at its first breath
    async function* source(): AsyncGenerator<number> {
      await tick();
      throw missing;
    }
    expect(await failureOf(pull(source()))).toBe(missing);
  });

  it('says so when a source cannot even be opened', async () => {
    const source: Iterable<number> = {
      [Symbol.iterator]: () => {
        throw new Error('locked');
      },
    };
    const error = await failureOf(pull(source));
    expect(isFatal(error) && error.code).toBe('E_SOURCE_FAILED');
  });

  it('iterates anew for each subscriber', async () => {
    const stream = pull([1, 2, 3]);
    expect(await lastValueFrom(stream.pipe(toArray()))).toEqual([1, 2, 3]);
    expect(await lastValueFrom(stream.pipe(toArray()))).toEqual([1, 2, 3]);
  });

  it('lets timers have their turn within an endless synchronous source', async () => {
    const timer = new Promise((resolve) => setTimeout(resolve, 5));
    function* numbers(): Generator<number> {
      for (let i = 0; ; i++) yield i;
    }
    const subscription = pull(numbers()).subscribe();
    await timer;
    subscription.unsubscribe();
    expect(subscription.closed).toBe(true);
  });

  it('prepares the next window behind the running step, not before it has begun', async () => {
    const gate = makeGate({ prefetch: 2 });
    const events: Array<string> = [];
    function* rows(): Generator<number> {
      for (let i = 0; i < 3; i++) {
        events.push(`prepare ${i}`);
        yield i;
      }
    }
    await lastValueFrom(
      pull(rows(), gate).pipe(
        drain(async (a) => {
          events.push(`begin ${a}`);
          await Promise.resolve();
          events.push(`launched ${a}`);
          await new Promise((resolve) => setTimeout(resolve, 5));
          events.push(`end ${a}`);
          return a;
        }, gate),
      ),
    );
    expect(events).toEqual([
      'prepare 0',
      'begin 0',
      'launched 0',
      'prepare 1',
      'end 0',
      'begin 1',
      'launched 1',
      'prepare 2',
      'end 1',
      'begin 2',
      'launched 2',
      'end 2',
    ]);
  });
});

describe('drain', () => {
  it('ends at once with the Left of its work', async () => {
    const full = fatal('E_DISK_FULL', 'disk full');
    let begun = 0;
    const error = await failureOf(
      from([1, 2, 3]).pipe(
        drain((a: number) => () => {
          begun++;
          return Promise.resolve(a === 2 ? E.left(full) : E.right(a));
        }),
      ),
    );
    expect(error).toBe(full);
    await tick();
    expect(begun).toBe(2);
  });

  it('makes a rejection or a throw of its work fatal, with its cause', async () => {
    const cause = new Error('bad shape');
    const rejected = await failureOf(of(1).pipe(drain(() => Promise.reject(cause))));
    expect(isFatal(rejected) && [rejected.code, rejected.cause]).toEqual(['E_WORK_FAILED', cause]);
    const thrown = await failureOf(
      of(1).pipe(
        drain(() => {
          throw cause;
        }),
      ),
    );
    expect(isFatal(thrown) && [thrown.code, thrown.cause]).toEqual(['E_WORK_FAILED', cause]);
  });

  it('ends at once with the error of its source, though work waits', async () => {
    const broken = new Error('broken');
    const source = new Observable<number>((out) => {
      out.next(1);
      out.next(2);
      out.error(broken);
    });
    expect(await failureOf(source.pipe(drain(() => new Promise<never>(() => undefined))))).toBe(broken);
  });

  it('tells the work which window it is', async () => {
    const out = from(['a', 'b', 'c']).pipe(drain((a, index) => Promise.resolve(`${a}${index}`)));
    expect(await lastValueFrom(out.pipe(toArray()))).toEqual(['a0', 'b1', 'c2']);
  });
});

describe('lifts', () => {
  it('make a throw in a pure half fatal, with its cause', async () => {
    const cause = new TypeError('undefined is not a function');
    const boom = (): never => {
      throw cause;
    };
    const stages = [
      mapping('boom', boom),
      windowed('boom', () => ({ push: boom, flush: () => [] })),
      windowed('boom', () => ({ push: () => E.right([]), flush: boom })),
      windowed('boom', boom),
      asyncMapping('boom', boom, { concurrency: 2 }),
      asyncMapping('boom', () => Promise.reject(cause), { concurrency: 2 }),
    ];
    for (const stage of stages) {
      const error = await failureOf(of(1).pipe(stage));
      expect(isFatal(error) && [error.code, error.cause]).toEqual(['E_BUG_IN_TRANSFORM', cause]);
    }
  });

  it('tell where the record stood that a pure half threw on', async () => {
    const boom = (): never => {
      throw new TypeError('x is not a function');
    };
    const rows = [sourced('a.jsonl', 1, { text: 'a' }), sourced('a.jsonl', 2, { text: 'b' })];
    const second = (row: Example): ReturnType<Transform<Example, Example>> =>
      row.kind === 'text' && row.text === 'b' ? boom() : E.right(row);
    for (const stage of [
      mapping('boom', second),
      windowed('boom', () => ({
        push: (row: Example) => E.map((one: Example) => [one])(second(row)),
        flush: () => [],
      })),
      asyncMapping('boom', (row: Example) => Promise.resolve().then(() => second(row)), { concurrency: 1 }),
    ]) {
      const error = await failureOf(pull(rows).pipe(decode(decodeExample), stage));
      expect(isFatal(error) && [error.code, error.details.file, error.details.line]).toEqual([
        'E_BUG_IN_TRANSFORM',
        'a.jsonl',
        2,
      ]);
    }
  });

  it('pass the fatal error of an asynchronous stage as it is', async () => {
    const dead = fatal('E_WORKER_DIED', 'a worker died');
    expect(await failureOf(of(1).pipe(asyncMapping('work', () => Promise.reject(dead), { concurrency: 1 })))).toBe(
      dead,
    );
  });

  it('turn an Either into a stream', async () => {
    expect(await firstValueFrom(fromEither(E.right(7)))).toBe(7);
    const error = await failureOf(fromEither(E.left(dataError('E_ODD', 'odd', { line: 3 }))));
    expect(isFatal(error) && [error.code, error.details.line]).toEqual(['E_ODD', 3]);
  });

  it('stop an endless source that emits at once', async () => {
    const endless = new Observable<number>((out) => {
      for (let i = 0; !out.closed; i++) out.next(i);
    });
    const out = endless.pipe(
      mapping('id', (a) => E.right(a)),
      windowed('same', () => ({ push: (a: number) => E.right([a, a]), flush: () => [] })),
      take(3),
      toArray(),
    );
    expect(await lastValueFrom(out)).toEqual([0, 0, 1]);
  });

  it('tell the place of a row that a later stage refuses, until rows are merged', async () => {
    interface Row {
      readonly n: number;
    }
    const rejects = makeRejects();
    const told: Array<unknown> = [];
    rejects.stream.subscribe(({ stage, index, error: { file, line } }) => told.push([stage, index, file, line]));
    const refusing =
      (n: number) =>
      (row: Row): E.Either<ReturnType<typeof dataError>, Row> =>
        row.n === n ? E.left(dataError('E_ODD', `${n}`)) : E.right({ ...row });
    const merged = () => ({
      push: (row: Row) => (row.n === 2 ? E.left(dataError('E_ODD', '2')) : E.right([{ ...row }])),
      flush: () => [],
    });
    const lines = [1, 2, 3, 4].map((n) => sourced('rows.jsonl', 10 * n, { n }));
    const stages = [
      decode((value) => E.right(value as Row), { rejects }),
      mapping('first', refusing(1), { rejects }),
      asyncMapping('apart', (row: Row) => Promise.resolve(refusing(3)(row)), { concurrency: 2, rejects }),
      windowed('merged', merged, { rejects }),
      mapping('last', refusing(4), { rejects }),
    ] as const;
    await lastValueFrom(pull(lines).pipe(...stages), { defaultValue: undefined });
    expect(told.toSorted()).toEqual([
      ['apart', 2, 'rows.jsonl', 30],
      ['first', 0, 'rows.jsonl', 10],
      ['last', 0, undefined, undefined],
      ['merged', 1, 'rows.jsonl', 20],
    ]);
  });

  it('leave a refusal that names a file as it is', async () => {
    const elsewhere = dataError('E_ODD', 'odd', { file: 'other.jsonl', line: 1 });
    const stages = [decode(() => E.right({})), mapping('refuse', () => E.left(elsewhere))] as const;
    const error = await failureOf(pull([sourced('rows.jsonl', 7, {})]).pipe(...stages));
    expect(isFatal(error) && error.details).toMatchObject({ file: 'other.jsonl', line: 1 });
  });

  it('drop what a window holds when the source fails', async () => {
    const seen: Array<number> = [];
    const source = new Observable<number>((out) => {
      out.next(1);
      out.error(new Error('broken'));
    });
    const hold = windowed('hold', () => {
      const held: Array<number> = [];
      return {
        push: (a: number) => {
          held.push(a);
          return E.right([]);
        },
        flush: () => held,
      };
    });
    await failureOf(
      new Observable<number>((out) =>
        source.pipe(hold).subscribe({ next: (a) => seen.push(a), error: (e: unknown) => out.error(e) }),
      ),
    );
    expect(seen).toEqual([]);
  });
});

describe('rejects', () => {
  it('say what was refused, in the error that ends the run', async () => {
    const rejects = makeRejects({ maxRate: 0.5, minSeen: 2 });
    const refuse = mapping(
      'strict',
      (a: number) => E.left(dataError('E_ODD', `${a} is odd`, { file: 'x.jsonl', line: a })),
      {
        rejects,
      },
    );
    const error = await failureOf(from([1, 3, 5]).pipe(refuse));
    expect(isFatal(error) && error.message).toBe('2 of 2 records were refused, the last: 3 is odd [E_ODD]');
    expect(isFatal(error) && error.details).toEqual({
      file: 'x.jsonl',
      line: 3,
      expected: 'at most 50 % of the records refused',
      actual: '100 %: 2 E_ODD',
    });
  });

  it('let a stage go on; one without them ends the stream, naming itself and what would help', async () => {
    const odd = (hint?: string) =>
      mapping('mine', (a: number) => E.left(dataError('E_ODD', `${a} is odd`, hint === undefined ? {} : { hint })));
    const open = 'give stage "mine" rejects (makeRejects), and it leaves such records out';
    for (const [stage, expected] of [
      [odd(), open],
      [odd('double it'), `double it; or ${open}`],
      [odd('is it half?'), `is it half? Or ${open}`],
    ] as const) {
      const error = await failureOf(pull([1]).pipe(stage));
      expect(isFatal(error) && [error.code, error.details.hint]).toEqual(['E_ODD', expected]);
    }
  });

  it('end their stream when closed', async () => {
    const rejects = makeRejects({ maxRate: 1 });
    const all = lastValueFrom(rejects.stream.pipe(toArray()));
    rejects.reject({ stage: 'mine', index: 4, error: dataError('E_ODD', 'odd'), record: 9 });
    rejects.close();
    expect(await all).toHaveLength(1);
    expect(rejects.counts()).toEqual({ seen: 1, rejected: 1, byCode: { E_ODD: 1 }, byStage: { mine: 1 } });
  });

  it('count a stage once a record, across data sets that share them', async () => {
    const rejects = makeRejects({ maxRate: 1 });
    const id = mapping('id', (a: number) => E.right(a), { rejects });
    await lastValueFrom(
      from([1, 2]).pipe(
        id,
        mapping('id2', (a) => E.right(a), { rejects }),
      ),
    );
    await lastValueFrom(from([1, 2, 3]).pipe(id));
    expect(rejects.counts().seen).toBe(5);
  });
});

describe('makeGate', () => {
  it('opens when every lane has room again', () => {
    const gate = makeGate({ prefetch: 2 });
    const a = gate.join();
    const b = gate.join({ limit: 1 });
    let woken = 0;
    a.enter();
    a.enter();
    b.enter();
    gate.whenOpen(() => woken++);
    const stop = gate.whenOpen(() => (woken += 100));
    stop();
    b.leave();
    expect([gate.isOpen(), woken]).toEqual([false, 0]);
    a.leave();
    expect([gate.isOpen(), woken]).toEqual([true, 1]);
    a.leave();
    a.leave();
    a.enter();
    expect(gate.isOpen()).toBe(true);
    a.enter();
    expect(gate.isOpen()).toBe(false);
    a.close();
    a.enter();
    expect(gate.isOpen()).toBe(true);
    expect(makeGate({ prefetch: 0 }).prefetch).toBe(1);
  });

  it('stays open when nothing drains', async () => {
    expect(await lastValueFrom(pull([1, 2, 3], makeGate()).pipe(toArray()))).toEqual([1, 2, 3]);
    const subscription = NEVER.pipe(drain(() => Promise.resolve(1), makeGate())).subscribe();
    subscription.unsubscribe();
    expect(subscription.closed).toBe(true);
  });
});
