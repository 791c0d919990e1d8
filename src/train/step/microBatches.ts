/** Which rows each micro-batch of a run holds, from any place on: a function of the seed, so nothing but the place need be saved. */
import { right } from 'fp-ts/lib/Either.js';
import { defer, skip, throwIfEmpty } from 'rxjs';
import type { Observable, OperatorFunction } from 'rxjs';
import { fatal } from '../../errors.js';
import { batch } from '../../operators/batch.js';
import { groupByLength, groupByLengthRows } from '../../operators/groupByLength.js';
import { shuffle, shuffleRows } from '../../operators/shuffle.js';
import type { Batch, Labelled } from '../../records.js';
import type { Gate } from '../../streams/gate.js';
import { oneAfterAnother } from '../../streams/oneAfterAnother.js';
import { windowed } from '../../streams/operator.js';
import { pull } from '../../streams/pull.js';
import type { SftConfig } from '../options/config.js';
import { endsUpdate } from './plan.js';
import type { Plan } from './plan.js';

export type OrderFields = Pick<
  SftConfig,
  'shuffle' | 'groupByLength' | 'perDeviceTrainBatchSize' | 'gradientAccumulationSteps' | 'seed' | 'dataSeed'
>;
export type BatchFields = OrderFields & Pick<SftConfig, 'dataloaderDropLast' | 'padToMultipleOf'>;

/** Lengths agree within an update, not within a micro-batch alone, as transformers has it. */
const rowsOfUpdate = ({ perDeviceTrainBatchSize, gradientAccumulationSteps }: OrderFields): number =>
  perDeviceTrainBatchSize * gradientAccumulationSteps;

/** The rows in the order in which an epoch reads them. */
export const orderRows =
  (config: OrderFields, epoch: number) =>
  <A extends Labelled>(rows: ReadonlyArray<A>): ReadonlyArray<A> => {
    const seed = config.dataSeed ?? config.seed;
    if (config.groupByLength) {
      return groupByLengthRows({ size: rowsOfUpdate(config), seed, epoch })(rows);
    }
    return config.shuffle ? shuffleRows({ seed, epoch })(rows) : rows;
  };

const batchOf = (config: BatchFields): OperatorFunction<Labelled, Batch> =>
  batch({
    size: config.perDeviceTrainBatchSize,
    dropLast: config.dataloaderDropLast,
    padToMultipleOf: config.padToMultipleOf,
  });

/** The micro-batches of rows held in memory, from number `from` of the run on. */
export const microBatches = (
  rows: ReadonlyArray<Labelled>,
  { microBatchesPerEpoch, epochs }: Pick<Plan, 'microBatchesPerEpoch' | 'epochs'>,
  config: BatchFields,
  { from = 0, gate }: { readonly from?: number; readonly gate?: Gate } = {},
): Observable<Batch> => {
  const first = Math.floor(from / microBatchesPerEpoch);
  const skipped = (from % microBatchesPerEpoch) * config.perDeviceTrainBatchSize;
  return oneAfterAnother(Math.max(0, epochs - first), (index) => {
    const ordered = orderRows(config, first + index)(rows);
    return pull(index === 0 ? ordered.slice(skipped) : ordered, gate).pipe(batchOf(config));
  });
};

/**
 * The micro-batches of a dataset that is read and prepared anew for each pass, for ever, from number `from` on. What lies before
 * is read again and dropped, so the order is that of a run which never stopped. An empty pass ends it (`E_STREAM_EMPTY`).
 */
export const streamedMicroBatches = (
  pass: () => Observable<Labelled>,
  config: BatchFields & Pick<SftConfig, 'shuffleBuffer'>,
  { from = 0 }: { readonly from?: number } = {},
): Observable<Batch> => {
  const seed = config.dataSeed ?? config.seed;
  const mixed = (epoch: number): OperatorFunction<Labelled, Labelled> => {
    if (config.groupByLength) {
      return groupByLength({ size: rowsOfUpdate(config), seed, epoch, bufferSize: config.shuffleBuffer });
    }
    return config.shuffle ? shuffle({ seed, epoch, bufferSize: config.shuffleBuffer }) : (rows) => rows;
  };
  const onePass = (epoch: number): Observable<Batch> =>
    defer(pass).pipe(
      throwIfEmpty(() =>
        fatal('E_STREAM_EMPTY', epoch === 0 ? 'the dataset gave no rows' : 'the dataset gave no rows when read again', {
          hint: 'a generator can be read once only; give an iterable that begins anew each time',
        }),
      ),
      mixed(epoch),
      batchOf(config),
    );
  const passes = oneAfterAnother(Infinity, onePass);
  return from === 0 ? passes : passes.pipe(skip(from));
};

/** The micro-batches of each update, for a stream of micro-batches that begins with number `from` of the run. */
export const groupUpdates = (
  plan: Parameters<typeof endsUpdate>[0],
  from = 0,
): OperatorFunction<Batch, ReadonlyArray<Batch>> =>
  windowed('groupUpdates', () => {
    let index = from;
    let held: Array<Batch> = [];
    return {
      push: (micro) => {
        held.push(micro);
        if (!endsUpdate(plan, index++)) return right([]);
        const whole = held;
        held = [];
        return right([whole]);
      },
      // Micro-batches that fill no update are the plan's left-over.
      flush: () => [],
    };
  });
