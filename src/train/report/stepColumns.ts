/** The numbers of a run's steps as columns that stay short, however long the run is: beyond a limit pairs of steps become one. */

/** Columns of equal length, one entry a step; null where a number was not finite or is not known. */
export interface StepColumns {
  readonly step: ReadonlyArray<number>;
  readonly epoch: ReadonlyArray<number>;
  /** Wall time since the run was begun. */
  readonly seconds: ReadonlyArray<number>;
  readonly loss: ReadonlyArray<number | null>;
  readonly learningRate: ReadonlyArray<number | null>;
  /** Before clipping. */
  readonly gradNorm: ReadonlyArray<number | null>;
  readonly tokensPerSecond: ReadonlyArray<number | null>;
  readonly accuracy: ReadonlyArray<number | null>;
  readonly entropy: ReadonlyArray<number | null>;
  /** Resident memory of the process in bytes. */
  readonly memory: ReadonlyArray<number | null>;
}

/** The numbers of one step: an entry of each column. */
export type StepEntry = { readonly [K in keyof StepColumns]: StepColumns[K][number] };

export const noSteps: StepColumns = {
  step: [],
  epoch: [],
  seconds: [],
  loss: [],
  learningRate: [],
  gradNorm: [],
  tokensPerSecond: [],
  accuracy: [],
  entropy: [],
  memory: [],
};

/** Where a step stands, of which several have the place of the latest; of all else they have the mean. */
const isPlace = (name: string): boolean => name === 'step' || name === 'epoch' || name === 'seconds';

/** The mean of a number of `count` steps that are one already and of one more; what is not known leaves the other. */
const meanWith = (held: number | null, count: number, value: number | null): number | null =>
  held === null ? value : value === null ? held : (held * count + value) / (count + 1);

/** Each pair of entries made one: half as many. */
export const halved = (steps: StepColumns): StepColumns =>
  Object.fromEntries(
    Object.entries(steps).map(([name, column]: [string, ReadonlyArray<number | null>]) => [
      name,
      Array.from({ length: Math.ceil(column.length / 2) }, (_, i) => {
        const [first = null, second] = column.slice(2 * i, 2 * i + 2);
        return second === undefined ? first : isPlace(name) ? second : meanWith(first, 1, second);
      }),
    ]),
  ) as unknown as StepColumns;

/** A step more on top of `count` that are one entry already. */
const joined = (held: StepEntry, count: number, entry: StepEntry): StepEntry =>
  Object.fromEntries(
    Object.entries(entry).map(([name, value]: [string, number | null]) => [
      name,
      isPlace(name) ? value : meanWith(held[name as keyof StepEntry], count, value),
    ]),
  ) as unknown as StepEntry;

/** Columns that steps are added to. */
export interface GrowingColumns {
  /** The entry that the step made or completed; undefined while it is held to be joined with the next ones. */
  readonly push: (entry: StepEntry) => StepEntry | undefined;
  /** Makes an entry of what is held: the run is over. Undefined where nothing is. */
  readonly settle: () => StepEntry | undefined;
  /** A copy of all entries so far, of which there are fewer than `most`. */
  readonly columns: () => StepColumns;
}

/** Empty columns that take fewer than `most` entries. Every step is one at first; each time they are full, twice as many make one. */
export const growingColumns = (most: number): GrowingColumns => {
  const empty = structuredClone(noSteps) as unknown as Record<keyof StepColumns, Array<number | null>>;
  let columns = empty;
  let stepsAnEntry = 1;
  let held: { readonly entry: StepEntry; readonly count: number } | undefined;
  const copy = (): StepColumns => structuredClone(columns) as unknown as StepColumns;

  const settle = (): StepEntry | undefined => {
    if (held === undefined) return undefined;
    const { entry } = held;
    held = undefined;
    for (const [name, column] of Object.entries(columns)) column.push(entry[name as keyof StepColumns]);
    if (columns.step.length >= most) {
      columns = halved(copy()) as unknown as typeof columns;
      stepsAnEntry *= 2;
    }
    return entry;
  };
  return {
    push: (entry) => {
      held = {
        entry: held === undefined ? entry : joined(held.entry, held.count, entry),
        count: (held?.count ?? 0) + 1,
      };
      return held.count >= stepsAnEntry ? settle() : undefined;
    },
    settle,
    columns: copy,
  };
};
