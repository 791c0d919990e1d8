import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';

/** A call that cannot be followed: which option or part of the setup, and what to give instead. */
export const usage = (code: `E_${string}`, message: string, field: string, hint: string): FatalError =>
  fatal(code, message, { field, hint, kind: 'usage' });
