/** Threads that prepare rows, as Node.js has them. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { packageFolder } from '../../packageFolder.js';
import type { Job } from './job.js';
import type { Answer, Question } from './messages.js';

export interface Thread {
  /** Throws (`DataCloneError`) where the block cannot cross. */
  readonly ask: (question: Question) => void;
  readonly close: () => void;
}

export interface ThreadEvents {
  readonly answered: (answer: Answer) => void;
  /** It broke down, or ended without being asked to; nothing more comes of it. */
  readonly failed: (cause: unknown) => void;
}

export type StartThread = (job: Job, events: ThreadEvents) => Thread;

/** The compiled entry. Undefined where it is nowhere (in a bundle, or not compiled). */
const entry = (): URL | undefined => {
  const folder = packageFolder();
  if (folder === undefined) return undefined;
  const file = join(folder.root, 'dist', 'train', 'preparing', 'crew', 'worker.js');
  return existsSync(file) ? pathToFileURL(file) : undefined;
};

/** How to start a thread; null where that cannot be done. */
export const startThread = (): StartThread | null => {
  const url = entry();
  if (url === undefined) return null;
  return (job, { answered, failed }) => {
    const worker = new Worker(url, { workerData: job, execArgv: [], name: 'rxtune prepare' });
    let closed = false;
    const fail = (cause: unknown): void => {
      if (closed) return;
      closed = true;
      failed(cause);
    };
    worker.on('message', (answer: Answer) => {
      if (!closed) answered(answer);
    });
    worker.on('error', fail);
    worker.on('messageerror', fail);
    worker.on('exit', (code) => fail(new Error(`the thread ended (exit code ${code})`)));
    return {
      ask: (question) => worker.postMessage(question),
      close: () => {
        closed = true;
        void worker.terminate();
      },
    };
  };
};
