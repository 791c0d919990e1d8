/** One thread of a crew, and the blocks that it has. */
import { fatal } from '../../../errors.js';
import type { FatalError } from '../../../errors.js';
import type { RowBlock } from '../../../formats/datasets/rowBlocks.js';
import type { Job } from './job.js';
import type { Outcomes } from './outcome.js';
import type { StartThread } from './threads.js';
import { unpackOutcomes } from './wire.js';

/** Blocks that a thread has at once: the one it works on and some for when the main thread is busy. */
export const queued = 4;

export interface Member {
  /** How many blocks it has. */
  readonly blocks: () => number;
  /** Whether it is there, and takes another. */
  readonly hasRoom: () => boolean;
  /** Hands it a block. Resolves to undefined where the block cannot be done there. */
  readonly ask: (block: RowBlock) => Promise<Outcomes | undefined>;
  /** Ends it. What it still has is settled no more. */
  readonly close: () => void;
}

/** What a crew hears of its members. */
interface Hearing {
  readonly onRoom: () => void;
  /** Its blocks are lost. */
  readonly onFailure: (cause: FatalError) => void;
}

interface Pending {
  readonly block: RowBlock;
  readonly resolve: (outcomes: Outcomes | undefined) => void;
  readonly reject: (cause: FatalError) => void;
}

const broken = (cause: unknown): FatalError =>
  fatal(
    'E_WORKER_FAILED',
    `a thread that prepares rows broke down: ${cause instanceof Error ? cause.message : String(cause)}`,
    {
      cause,
      hint: 'datasetNumProc: 1 prepares them in the main thread',
    },
  );

export const makeMember = (start: StartThread, job: Job, { onRoom, onFailure }: Hearing): Member => {
  const pending: Array<Pending> = [];
  let ready = false;
  const thread = start(job, {
    answered: (answer) => {
      if (answer.kind === 'ready') {
        ready = true;
        onRoom();
        return;
      }
      const first = pending.shift();
      first?.resolve(answer.kind === 'packed' ? unpackOutcomes(first.block, answer.packed) : undefined);
    },
    failed: (cause) => {
      const failure = broken(cause);
      for (const one of pending.splice(0)) one.reject(failure);
      onFailure(failure);
    },
  });
  return {
    blocks: () => pending.length,
    hasRoom: () => ready && pending.length < queued,
    ask: (block) =>
      new Promise((resolve, reject) => {
        try {
          thread.ask(block);
          pending.push({ block, resolve, reject });
        } catch {
          // Something in it cannot be cloned after all.
          resolve(undefined);
        }
      }),
    close: () => {
      thread.close();
      pending.length = 0;
    },
  };
};
