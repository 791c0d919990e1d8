/** Threads that take blocks of rows: how many, when they begin, what each has to do. */
import type { FatalError } from '../../../errors.js';
import type { RowBlock } from '../../../formats/datasets/rowBlocks.js';
import type { Crew, Took } from '../../../streams/crew.js';
import type { Job } from './job.js';
import type { Outcomes } from './outcome.js';
import { makeMember, queued } from './member.js';
import type { Member } from './member.js';
import { isPlain } from './plain.js';
import type { StartThread } from './threads.js';

export interface CrewOptions {
  /** Threads beside this one. */
  readonly helpers: number;
  /** At once, or when the work turns out to be long. */
  readonly when: 'atOnce' | 'whenLong';
  /** Milliseconds on a clock that only goes forward. Default: `performance.now`. */
  readonly now?: (() => number) | undefined;
}

/** Work here, in milliseconds, by which what is left is judged; the first block does not count, which warms code and tables up. */
const judgedAfterMs = 50;
/** Work that is left, in milliseconds, for which threads are started: a few times what it costs to start one. */
const worthMs = 1200;
/** The same for work done, where nobody knows how much is left. */
const longMs = 1000;

interface Done extends Took {
  /** Share of the data set. */
  readonly read: number | undefined;
}

const isLong = (first: Done, now: Done): boolean => {
  if (now.cpuMs >= longMs) return true;
  const share = (now.read ?? 0) - (first.read ?? 0);
  const cpuMs = now.cpuMs - first.cpuMs;
  return now.read !== undefined && share > 0 && cpuMs >= judgedAfterMs && (cpuMs / share) * (1 - now.read) >= worthMs;
};

const canCross = (block: RowBlock): boolean => {
  if (block.kind === 'lines') return true;
  try {
    return isPlain(block.rows);
  } catch {
    // A getter that throws is for the stage that meets it to tell of.
    return false;
  }
};

/** Threads that start at once, or when the work turns out to be long. */
export const makeCrew = (
  start: StartThread,
  job: Job,
  { helpers, when, now = () => performance.now() }: CrewOptions,
): Crew<RowBlock, Outcomes> => {
  /** What the first block took, and when it was done: what the program did before says nothing of the source. */
  let first: (Done & { readonly at: number }) | undefined;
  let done: Done = { wallMs: 0, cpuMs: 0, read: undefined };
  let room = (): void => undefined;
  let crew: ReadonlyArray<Member> | undefined;
  let failure: FatalError | undefined;
  let closed = false;

  const begin = (): void => {
    if (crew !== undefined || closed) return;
    crew = Array.from({ length: helpers }, () =>
      makeMember(start, job, {
        onRoom: () => room(),
        onFailure: (cause) => {
          failure ??= cause;
          room();
        },
      }),
    );
  };
  if (when === 'atOnce') begin();

  return {
    take: (block) => {
      if (failure !== undefined) return Promise.reject(failure);
      const [free] = (crew ?? []).filter((member) => member.hasRoom()).sort((a, b) => a.blocks() - b.blocks());
      if (free === undefined) return undefined;
      return canCross(block) ? free.ask(block) : Promise.resolve(undefined);
    },
    // Twice what the threads hold, so that one that is held up does not hold up the main thread at once.
    ahead: () => (crew === undefined ? 2 : queued * (1 + 2 * crew.length)),
    onRoom: (call) => {
      room = call;
    },
    worked: ({ read }, { wallMs, cpuMs }) => {
      if (crew !== undefined) return;
      done = { wallMs: done.wallMs + wallMs, cpuMs: done.cpuMs + cpuMs, read };
      const at = now();
      first ??= { ...done, at };
      // A source or a consumer that is slow itself needs no help: most of the time must have gone into the work.
      if ((done.wallMs - first.wallMs) * 2 >= at - first.at && isLong(first, done)) begin();
    },
    close: () => {
      closed = true;
      for (const member of crew ?? []) member.close();
    },
  };
};
