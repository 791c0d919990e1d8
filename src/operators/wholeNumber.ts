import { usage } from '../errors.js';

/**
 * The value of an option that counts something, where it is a whole number ≥ `least` (or Infinity); else throws `E_OPTIONS`: a window
 * of no tokens would never be full, and no loop over windows would end.
 */
export const wholeNumber = (stage: string, field: string, value: number, least = 1): number => {
  if ((Number.isInteger(value) || value === Infinity) && value >= least) return value;
  throw usage('E_OPTIONS', `${stage}: ${field} is ${value}`, {
    field,
    expected: `a whole number ≥ ${least}`,
    actual: String(value),
  });
};
