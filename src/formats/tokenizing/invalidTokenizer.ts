import { type FatalError, fatal } from '../../errors.js';

/** A file of a tokenizer that is JSON, and no tokenizer's. */
export const invalidTokenizer = (file: string, message: string, field?: string): FatalError =>
  fatal('E_TOKENIZER_INVALID', message, { file, ...(field === undefined ? {} : { field }) });
