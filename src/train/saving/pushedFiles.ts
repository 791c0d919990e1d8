/** Which files of a directory that a run wrote go to the Hub. */
import { stepOfCheckpoint } from '../../formats/checkpoints/checkpoint.js';
import { optimizerFile, trainerStateFile } from '../../formats/checkpoints/checkpointFiles.js';
import { manifestFile } from '../../formats/files/directory.js';
import { logFiles } from '../logging/log.js';
import { failureFile } from '../run/failure.js';

/** What is told of a run on this machine: its logs hold rows of the data and what the model said to them. */
const ofThisMachine: ReadonlySet<string> = new Set([...Object.values(logFiles), failureFile, manifestFile]);

const isPrivate = (part: string): boolean => part.startsWith('.') || part.startsWith('_');

/**
 * Of an output directory, by paths within it: model or adapter, tokenizer, card, TensorBoard's files and whatever else was put there. Not its
 * checkpoints, its logs, nor anything whose name begins with `.` or `_` (as transformers has it).
 */
export const pushedFiles = (paths: ReadonlyArray<string>): ReadonlyArray<string> =>
  paths.filter((path) => {
    const parts = path.split('/');
    const [first = ''] = parts;
    return (
      !parts.some(isPrivate) &&
      !ofThisMachine.has(path) &&
      (parts.length === 1 || stepOfCheckpoint(first) === undefined)
    );
  });

/** What a checkpoint is gone on from with; the rest of it is the model. */
const forResuming: ReadonlySet<string> = new Set([optimizerFile, trainerStateFile, manifestFile]);

/** Of a checkpoint: the model or adapter in it, by paths within it. */
export const modelOfCheckpoint = (paths: ReadonlyArray<string>): ReadonlyArray<string> =>
  paths.filter((path) => !forResuming.has(path));
