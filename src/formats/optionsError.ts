/** What is wrong with options, in one error. */
import type * as t from 'io-ts';
import { usage } from '../errors.js';
import type { ErrorCode, FatalError } from '../errors.js';
import { also } from '../faults.js';
import { describe, kindOf } from './describe.js';
import { fieldPath, fieldsOf } from './json/fieldPath.js';

export interface Problem extends t.ValidationError {
  readonly hint?: string;
  /** What a missing option is for: that helps more than its codec's name. */
  readonly wanted?: string;
}

const isUnion = (type: t.Decoder<unknown, unknown>): boolean => '_tag' in type && type._tag === 'UnionType';

/** A union fails once per branch; the reader wants one line about the union. */
const placeOf = (problem: Problem): { readonly path: string; readonly expected: string; readonly actual: unknown } => {
  const cut = problem.context.findIndex(({ type }) => isUnion(type));
  const context = cut === -1 ? problem.context : problem.context.slice(0, cut + 1);
  const last = context[context.length - 1];
  return {
    path: fieldPath(fieldsOf(context)),
    expected: last?.type.name ?? '',
    actual: last?.actual,
  };
};

/** io-ts's errors about options as one `FatalError`: field, expected, actual, and every further fault in the message. */
export const optionsError = (name: string, errors: t.Errors, code: ErrorCode = 'E_OPTIONS'): FatalError => {
  const seen = new Map<
    string,
    { message: string; field?: string; expected?: string; actual?: string; hint?: string }
  >();
  for (const problem of errors as ReadonlyArray<Problem>) {
    const { path, expected, actual } = placeOf(problem);
    if (seen.has(path)) continue;
    seen.set(path, {
      message: problem.message ?? (path === '' ? `not a record of options for ${name}` : `wrong value for ${path}`),
      ...(path === '' ? {} : { field: path }),
      ...(problem.wanted === undefined ? {} : { expected: problem.wanted }),
      ...(problem.message === undefined || (problem.hint === undefined && problem.wanted === undefined)
        ? { expected, actual: actual === undefined ? 'nothing' : `${describe(actual)} (${kindOf(actual)})` }
        : {}),
      ...(problem.hint === undefined ? {} : { hint: problem.hint }),
    });
  }
  const [first, ...others] = seen.values();
  const { message = `wrong options for ${name}`, ...details } = first ?? {};
  return usage(code, `${name}: ${message}${others.map(also).join('')}`, details);
};
