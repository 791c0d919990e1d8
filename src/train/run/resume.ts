/** An earlier run taken up where its checkpoint left it: the same weights, moments, counters and place in the data, to the bit. */
import { stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal, usage, warning } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import { adapterWeightsFile } from '../../formats/checkpoints/adapterFiles.js';
import { nameOfAdapterKey } from '../../formats/checkpoints/adapterKeys.js';
import { checkpointName, listCheckpoints } from '../../formats/checkpoints/checkpoint.js';
import type { Checkpoint } from '../../formats/checkpoints/checkpoint.js';
import { optimizerFile, trainerStateFile } from '../../formats/checkpoints/checkpointFiles.js';
import { manifestFile, removeLeftovers, verifyDirectory } from '../../formats/files/directory.js';
import { readJson } from '../../formats/json/json.js';
import { readSafetensors } from '../../formats/tensors/safetensors.js';
import type { StoredTensor } from '../../formats/tensors/safetensors.js';
import { readCheckpointTensors } from '../../formats/tensors/shards.js';
import { architectureOf } from '../../model/architectures.js';
import type { CausalLM } from '../../model/model.js';
import { nameInside, parted } from '../../model/imageText.js';
import { tensor } from '../../tfjs.js';
import type { SftConfig } from '../options/config.js';
import { unconverted } from '../saving/convertedAdapter.js';
import { decodeTrainerState, unitOf } from '../saving/trainerState.js';
import type { SavedState, Unit } from '../saving/trainerState.js';
import { microBatchesAfter } from '../step/plan.js';
import { setWeights } from '../step/state.js';
import type { Best, TrainState } from '../step/state.js';
import type { Run } from './run.js';

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFile(),
    () => false,
  );

interface Found extends SavedState {
  readonly dir: string;
}

const readState = (dir: string): TaskEither<FatalError, Found> => {
  const file = join(dir, trainerStateFile);
  return pipe(
    readJson(file),
    TE.flatMapEither(decodeTrainerState(file)),
    TE.map((saved) => ({ ...saved, dir })),
  );
};

/** Of a checkpoint that was written with saveOnlyModel. */
const withoutOptimizer = (dir: string): FatalError =>
  fatal('E_CHECKPOINT_WITHOUT_OPTIMIZER', `${dir} holds a model and no optimizer state`, {
    file: dir,
    expected: optimizerFile,
    hint: 'saveOnlyModel left it out; begin a new run with --model (or --adapter) set to this directory',
  });

/** A directory that is no checkpoint and holds some: told so. */
const holding =
  (dir: string) =>
  (error: FatalError): TaskEither<FatalError, never> =>
    pipe(
      listCheckpoints(dir),
      TE.flatMap((checkpoints) =>
        TE.left(
          checkpoints.length === 0
            ? error
            : fatal('E_NO_CHECKPOINT', `${dir} is no checkpoint; it holds some`, {
                file: dir,
                expected: 'a directory checkpoint-N',
                actual: checkpoints.map((checkpoint) => checkpoint.dir).join(', '),
                hint: 'name one of them; resumeFromCheckpoint: true takes the newest in outputDir',
              }),
        ),
      ),
    );

/** A checkpoint's state, after every file was found as it was written. */
const sound = (dir: string): TaskEither<FatalError, Found> =>
  pipe(
    verifyDirectory(dir),
    TE.orElseW(holding(dir)),
    TE.flatMap(({ files }) => (Object.hasOwn(files, optimizerFile) ? readState(dir) : TE.left(withoutOptimizer(dir)))),
  );

const skipped = ({ dir }: Checkpoint, { message }: FatalError): Warning =>
  warning('W_CHECKPOINT_SKIPPED', `${dir} cannot be gone on from and is passed over: ${message}`, { file: dir });

/** None of these can be gone on from. */
const nothingSound = (outputDir: string, checkpoints: ReadonlyArray<Checkpoint>): FatalError =>
  fatal('E_NO_CHECKPOINT', 'there is no sound checkpoint to go on from', {
    file: outputDir,
    expected: 'a directory checkpoint-N',
    actual: checkpoints.length === 0 ? 'none' : checkpoints.map(({ dir }) => dir).join(', '),
    hint: 'leave out resumeFromCheckpoint to begin anew',
  });

interface Candidates {
  readonly outputDir: string;
  readonly checkpoints: ReadonlyArray<Checkpoint>;
}

/** The checkpoints among which the newest is looked for. */
const candidates = ({ outputDir }: Pick<SftConfig, 'outputDir'>): TaskEither<FatalError, Candidates> =>
  outputDir === undefined
    ? TE.left(usage('E_OPTIONS', 'resumeFromCheckpoint: true needs outputDir', { field: 'outputDir' }))
    : pipe(
        listCheckpoints(outputDir),
        TE.filterOrElse(
          (checkpoints) => checkpoints.length > 0,
          (checkpoints) => nothingSound(outputDir, checkpoints),
        ),
        TE.map((checkpoints) => ({ outputDir, checkpoints })),
      );

/** The newest sound checkpoint of this very run, else the newest sound one. */
const newest = ({ config, fingerprint, emit }: Run): TaskEither<FatalError, Found> =>
  pipe(
    candidates(config),
    TE.flatMap(({ outputDir, checkpoints }) => async () => {
      let other: Found | undefined;
      for (const checkpoint of checkpoints.toReversed()) {
        const found = await sound(checkpoint.dir)();
        if (E.isLeft(found)) emit({ kind: 'warning', warning: skipped(checkpoint, found.left) });
        else if (found.right.fingerprint === fingerprint) return found;
        else other ??= found.right;
      }
      return other === undefined ? E.left(nothingSound(outputDir, checkpoints)) : E.right(other);
    }),
  );

/**
 * Whether there is something to go on from, by its names alone: what lies in it is checked when it is taken up. `E_NO_CHECKPOINT`,
 * `E_OPTIONS` where no outputDir says where to look, or what `verifyDirectory` says of a directory that is not whole.
 */
export const findCheckpoint = (
  config: Pick<SftConfig, 'resumeFromCheckpoint' | 'outputDir'>,
): TaskEither<FatalError, void> => {
  const from = config.resumeFromCheckpoint ?? false;
  if (from === false) return TE.right(undefined);
  if (from === true) return TE.map(() => undefined)(candidates(config));
  return pipe(
    TE.fromTask(async () => {
      const found = await Promise.all([manifestFile, optimizerFile].map((name) => isFile(join(from, name))));
      return found.every(Boolean);
    }),
    // What is wrong with it is said by who reads it.
    TE.flatMap((whole) => (whole ? TE.right(undefined) : TE.map(() => undefined)(sound(from)))),
  );
};

const misfit = (file: string, name: string, expected: string, actual: string): FatalError =>
  fatal('E_CHECKPOINT_MISFIT', 'the checkpoint does not fit the model that is to be trained', {
    file,
    field: name,
    expected,
    actual,
  });

const shapeText = (shape: ReadonlyArray<number>): string => `[${shape.join(', ')}]`;

/** The shape in which a tensor is stored: codes of 8 bits lie there as bytes, here four in each int32. */
const storedShape = ({ shape, size, dtype }: Tensor): ReadonlyArray<number> => (dtype === 'int32' ? [4 * size] : shape);

const readTensor = (from: StoredTensor, { shape, dtype }: Tensor): TaskEither<FatalError, Tensor> =>
  dtype === 'int32'
    ? pipe(
        from.readBytes(),
        // The copy begins at a multiple of 4.
        TE.map((bytes) => tensor(new Int32Array(bytes.slice().buffer), shape, dtype)),
      )
    : pipe(
        from.read(),
        TE.map((values) => tensor(values, shape, 'float32')),
      );

/** New tensors under the names of `wanted`, of the same shapes and dtypes. */
const readAll =
  (
    file: string,
    stored: ReadonlyMap<string, StoredTensor>,
    wanted: Readonly<Record<string, Tensor>>,
  ): TaskEither<FatalError, Readonly<Record<string, Tensor>>> =>
  async () => {
    const read: Record<string, Tensor> = {};
    const fail = (error: FatalError): E.Either<FatalError, never> => {
      for (const made of Object.values(read)) made.dispose();
      return E.left(error);
    };
    for (const [name, like] of Object.entries(wanted)) {
      const from = stored.get(name);
      const shape = storedShape(like);
      const fits = from?.shape.join() === shape.join() && (like.dtype === 'int32') === (from.dtype === 'U8');
      if (from === undefined || !fits) {
        return fail(misfit(file, name, shapeText(shape), from === undefined ? 'nothing' : shapeText(from.shape)));
      }
      const made = await readTensor(from, like)();
      if (E.isLeft(made)) return fail(made.left);
      read[name] = made.right;
    }
    return E.right(read);
  };

/** A plain model's tensors as it has them itself. */
const asItHasThem = (
  { config }: CausalLM,
  tensors: ReadonlyMap<string, StoredTensor>,
): E.Either<FatalError, ReadonlyMap<string, StoredTensor>> => {
  const { fileLayout, storedHead } = architectureOf(config);
  return E.Functor.map(
    fileLayout?.read(tensors) ?? E.right(tensors),
    (all) =>
      new Map(
        Array.from(all, ([name, stored]) => [
          name.startsWith(`${storedHead}.`) ? name.replace(storedHead, 'lm_head') : name,
          stored,
        ]),
      ),
  );
};

/** The checkpoint's weights by the names they have in the model. */
const storedWeights = (dir: string, model: CausalLM): TaskEither<FatalError, ReadonlyMap<string, StoredTensor>> =>
  model.lora === undefined
    ? pipe(
        readCheckpointTensors(dir),
        TE.map(({ tensors }) => (model.whole === undefined ? tensors : parted(tensors).own)),
        TE.flatMapEither((tensors) => asItHasThem(model, tensors)),
      )
    : pipe(
        readSafetensors(join(dir, adapterWeightsFile)),
        TE.map(
          ({ tensors }) =>
            new Map(
              Array.from(tensors, ([key, stored]) => [
                nameInside(model.config, nameOfAdapterKey(key).replace('.base_layer.', '.')),
                stored,
              ]),
            ),
        ),
        TE.map((stored) => unconverted(stored, model)),
      );

/** Puts a checkpoint's trained weights into the model. */
export const restoreWeights = (dir: string, model: CausalLM): TaskEither<FatalError, void> =>
  pipe(
    storedWeights(dir, model),
    TE.flatMap((stored) => {
      const wanted = Object.fromEntries(
        model.trainable.flatMap((name) => (model.weights[name] === undefined ? [] : [[name, model.weights[name]]])),
      );
      return pipe(
        readAll(dir, stored, wanted),
        TE.map((weights) => {
          setWeights(model, weights);
          for (const old of Object.values(wanted)) old.dispose();
        }),
      );
    }),
  );

const restoreMoments = (dir: string, state: TrainState): TaskEither<FatalError, void> => {
  const file = join(dir, optimizerFile);
  const wanted = Object.fromEntries(
    Object.entries(state.moments).flatMap(([slot, tensors]) =>
      Object.entries(tensors).map(([name, moment]) => [`${slot}.${name}`, moment] as const),
    ),
  );
  return pipe(
    readSafetensors(file),
    TE.flatMap(({ tensors }) => readAll(file, tensors, wanted)),
    TE.map((read) => {
      for (const old of Object.values(wanted)) old.dispose();
      state.moments = Object.fromEntries(
        Object.entries(state.moments).map(([slot, tensors]) => [
          slot,
          Object.fromEntries(
            Object.keys(tensors).flatMap((name) => {
              const moment = read[`${slot}.${name}`];
              return moment === undefined ? [] : [[name, moment]];
            }),
          ),
        ]),
      );
    }),
  );
};

const changed = ({ dir }: Found): Warning =>
  warning('W_RESUME_CHANGED', 'options or rows are not those of the run that wrote the checkpoint', {
    file: dir,
    hint: 'the run goes on, but not as it would have without the stop',
  });

/** Whether micro-batches of one run are those of the other. Where an older checkpoint does not tell, they are taken to be. */
const countsAlike = (unit: Unit | undefined, own: Unit): boolean =>
  unit === undefined ||
  (unit.size === own.size && unit.accumulation === own.accumulation && unit.perEpoch === own.perEpoch);

/** The best evaluation of a run that goes on in `outputDir`; its checkpoint stays where the earlier part of the run wrote it. */
const placed = (best: Best | undefined, from: string, outputDir: string | undefined): Best | undefined => {
  const beside = resolve(dirname(resolve(from)));
  return best === undefined || best.dir !== undefined || outputDir === undefined || resolve(outputDir) === beside
    ? best
    : { ...best, dir: join(beside, checkpointName(best.step)) };
};

/** Takes up the run that the options name; does nothing when they name none. */
export const resume = (run: Run): TaskEither<FatalError, void> => {
  const { config, state, rateByHand, emit, plan, fingerprint } = run;
  const from = config.resumeFromCheckpoint ?? false;
  if (from === false) return TE.right(undefined);
  return pipe(
    from === true ? newest(run) : sound(from),
    TE.tapIO((found) => () => {
      if (found.fingerprint !== fingerprint) emit({ kind: 'warning', warning: changed(found) });
    }),
    TE.tap(({ dir }) => restoreWeights(dir, state.model)),
    TE.tap(({ dir }) => restoreMoments(dir, state)),
    TE.map(({ counters, unit, learningRate, dir }) => {
      rateByHand.learningRate = learningRate;
      Object.assign(state, counters, { best: placed(counters.best, dir, config.outputDir) });
      // Of other batches the place is where this run would be after as many updates.
      if (!countsAlike(unit, unitOf(run))) state.microBatches = microBatchesAfter(plan, state.step);
      // Killed between the evaluation that ended patience and the end: it ends here, as it would have there.
      if (config.earlyStoppingPatience !== undefined && state.patience >= config.earlyStoppingPatience) {
        run.controls.endEarly();
      }
      if (config.ignoreDataSkip) {
        state.microBatches -= state.microBatches % plan.microBatchesPerEpoch;
      }
    }),
  );
};

/** Removes what killed runs left half-written in the output directory. */
export const tidyOutput = (outputDir: string): TaskEither<FatalError, void> =>
  pipe(
    removeLeftovers(outputDir),
    TE.map(() => undefined),
  );
