/** Whether what a data set is read from is there, asked without reading its rows: before gigabytes of a model are. */
import { access, constants, stat } from 'node:fs/promises';
import { fileError } from '../files/byteSource.js';

/** Throws for what is not there, as reading it would. */
type Look = () => Promise<void>;

const looks = new WeakMap<object, Look>();

/** The same data set, known to be looked for so. */
export const lookedFor = <A extends object>(dataset: A, look: Look): A => {
  looks.set(dataset, look);
  return dataset;
};

/** A file that may be opened to read. Throws what opening it would. */
export const findFile = async (file: string): Promise<void> => {
  try {
    await access(file, constants.R_OK);
    if ((await stat(file)).isDirectory()) throw Object.assign(new Error('a directory'), { code: 'EISDIR' });
  } catch (error) {
    throw fileError(file, error);
  }
};

/**
 * Finds what the rows come from: files are there and may be read, names on the Hub have such a configuration and split. It throws
 * what reading the rows would. What came from elsewhere (arrays, generators) is there.
 */
export const findDataset = async (dataset: object): Promise<void> => {
  await looks.get(dataset)?.();
};
