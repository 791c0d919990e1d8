/** The recorder that gathers the record of a run while the run goes on. */
import { Subject, type Observable } from 'rxjs';
import { known } from '../../checked.js';
import { isFatal, render, withoutSecrets } from '../../errors.js';
import type { RunEvent } from '../run/run.js';
import { emptyRecord, withChange } from './record.js';
import type { RecordChange, RunRecord } from './record.js';
import { begunFields, endedFact, endings, evaluationEntry, hardestAfter, stepEntry } from './recordEntries.js';
import { growingColumns } from './stepColumns.js';
import type { StepEntry } from './stepColumns.js';

/** What a recorder gathers with. */
export interface RecorderOptions {
  /** Of the page. */
  readonly title: string;
  /** Shown beside the numbers of the run, in this order. */
  readonly facts?: RunRecord['facts'] | undefined;
  /** Milliseconds on a clock that only goes forward. Default: `performance.now`. */
  readonly now?: (() => number) | undefined;
  /** Bytes that the process holds. Default: its resident memory. */
  readonly memory?: (() => number) | undefined;
  /** Steps kept apart; beyond, pairs of them become one. Default 4096. */
  readonly mostSteps?: number | undefined;
}

/** Gathers what a run tells, for a report or a dashboard. */
export interface Recorder {
  /** Takes in an event of the run. */
  readonly add: (event: RunEvent) => void;
  /** The run ended with this error. */
  readonly failed: (error: unknown) => void;
  /** The run so far. */
  readonly record: () => RunRecord;
  /** What changed, as it changes. */
  readonly changes: Observable<RecordChange>;
}

/** A recorder: it gathers a run's events for `report` and `serveDashboard`. It takes no more than a few megabytes, however long the run is. */
export const makeRecorder = (options: RecorderOptions): Recorder => {
  const {
    title,
    facts = [],
    now = () => performance.now(),
    memory = () => process.memoryUsage.rss(),
    mostSteps = 4096,
  } = known(
    'makeRecorder',
    { title: 'required', facts: 'optional', now: 'optional', memory: 'optional', mostSteps: 'optional' },
    options,
  );
  const changes = new Subject<RecordChange>();
  const columns = growingColumns(mostSteps);
  let record = emptyRecord(title, facts);
  const begunAt = now();
  /** When the last thing ended that is no part of the next step's time. */
  let before = begunAt;
  let stepsDone = 0;
  const seconds = (): number => (now() - begunAt) / 1000;

  const tell = (change: RecordChange): void => {
    record = withChange(record, change);
    changes.next(change);
  };
  const set = (fields: Partial<RunRecord>): void => tell({ kind: 'set', fields });
  const tellStep = (entry: StepEntry | undefined): void => {
    if (entry !== undefined) tell({ kind: 'step', entry });
  };
  const ended = (how: string): void => set({ facts: [...record.facts, endedFact(how, record, stepsDone)] });

  const add = (event: RunEvent): void => {
    switch (event.kind) {
      case 'begun':
        stepsDone = event.begun.resumedAt;
        set(begunFields(event.begun, facts));
        before = now();
        return;
      case 'step': {
        const at = now();
        const times = { seconds: (at - begunAt) / 1000, took: at - before, memory: memory() };
        stepsDone = event.step.step;
        before = at;
        tellStep(columns.push(stepEntry(event.step, times)));
        return;
      }
      case 'evaluation':
        tell({ kind: 'push', list: 'evaluations', entry: evaluationEntry(event.evaluation, seconds()) });
        set({ hardest: hardestAfter(record.hardest, event.evaluation) });
        before = now();
        return;
      case 'samples': {
        const { name = '', step, epoch, samples } = event.samples;
        tell({ kind: 'push', list: 'samples', entry: { name, step, epoch, seconds: seconds(), samples } });
        return;
      }
      case 'checkpoint':
        tell({ kind: 'push', list: 'checkpoints', entry: event.checkpoint.step });
        before = now();
        return;
      case 'warning':
        tell({ kind: 'push', list: 'warnings', entry: render(event.warning) });
        return;
      case 'finished': {
        const { ended: how, bestStep } = event.summary;
        tellStep(columns.settle());
        set({ state: how, best: bestStep ?? null });
        if (how !== 'finished') ended(endings[how]);
        return;
      }
      case 'epochBegun':
      case 'epochEnded':
      case 'log':
        return;
    }
  };
  return {
    add,
    failed: (error) => {
      tellStep(columns.settle());
      const told = isFatal(error)
        ? render(error)
        : withoutSecrets(error instanceof Error ? error.message : String(error));
      tell({ kind: 'push', list: 'warnings', entry: told });
      set({ state: 'failed' });
      ended('failed');
    },
    record: () => ({ ...structuredClone(record), steps: columns.columns() }),
    changes: changes.asObservable(),
  };
};
