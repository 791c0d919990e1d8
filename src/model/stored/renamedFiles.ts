/** Files whose tensors have other names than transformers' classes have for them. */
import * as E from 'fp-ts/lib/Either.js';
import type { FileLayout } from '../architecture.js';

/** What names begin with in files, and here. */
type Start = readonly [inFiles: string, here: string];

const renamed = (name: string, starts: ReadonlyArray<Start>): string => {
  const found = starts.find(([from]) => name.startsWith(from));
  return found === undefined ? name : `${found[1]}${name.slice(found[0].length)}`;
};

/** Reads names of either kind; writes those of files. */
export const renamedFiles = (starts: ReadonlyArray<Start>): FileLayout => ({
  read: (tensors) => E.right(new Map(Array.from(tensors, ([name, tensor]) => [renamed(name, starts), tensor]))),
  write: (tensors) =>
    tensors.map((tensor) => ({
      ...tensor,
      name: renamed(
        tensor.name,
        starts.map(([inFiles, here]): Start => [here, inFiles]),
      ),
    })),
});
