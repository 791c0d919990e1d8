/** Several faults of one call, told together. */
import { usage } from './errors.js';
import type { ErrorDetails, FatalError } from './errors.js';

/** A further fault, in the message of the first. */
export const also = ({ message, expected, actual, hint }: ErrorDetails & { readonly message: string }): string =>
  `\n  also ${message}` +
  (expected === undefined ? '' : `: expected ${expected}`) +
  (actual === undefined ? '' : `, got ${actual}`) +
  (hint === undefined ? '' : ` (${hint})`);

/** Several faults of one call as one error: the first, and every further one in its message. */
export const faultsTogether = (first: FatalError, others: ReadonlyArray<FatalError>): FatalError => {
  if (others.length === 0) return first;
  const further = others.flatMap(({ message, details: { field, ...details } }) => {
    // An error of several faults has the details of its first.
    const [own = '', ...rest] = message.replace(/^\w+: /, '').split(/\n(?= {2}also )/);
    const named = field === undefined || own.split(/[\s":,]+/).includes(field) ? own : `${field}: ${own}`;
    return [also({ ...details, message: named }), ...rest.map((one) => `\n${one}`)];
  });
  const { code, message, cause, details } = first;
  return usage(code, `${message}${further.join('')}`, {
    ...details,
    ...(cause === undefined ? {} : { cause }),
  });
};
