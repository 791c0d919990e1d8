/** The entry of a thread that prepares rows; started by `threads.ts` alone. */
import { parentPort, workerData } from 'node:worker_threads';
import { isLeft } from 'fp-ts/lib/Either.js';
import { serveJob } from './job.js';
import type { Job } from './job.js';
import type { Answer, Question } from './messages.js';

const port = parentPort;
const serve = serveJob(workerData as Job);
if (isLeft(serve)) throw serve.left;
const cannot: Answer = { kind: 'cannot' };
port?.on('message', (question: Question) => {
  const done = serve.right(question);
  if (done === undefined) {
    port.postMessage(cannot);
    return;
  }
  const answer: Answer = { kind: 'packed', packed: done.packed };
  try {
    port.postMessage(answer, done.transfer);
  } catch {
    // A refused record may hold anything.
    port.postMessage(cannot);
  }
});
const ready: Answer = { kind: 'ready' };
port?.postMessage(ready);
