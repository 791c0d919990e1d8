/** Filters that keep some items. */
import type { Filter } from './filter.js';
import { plainText } from './json.js';
import { member } from './member.js';
import { iterate } from './operations.js';
import { fail } from './templateError.js';
import { testNamed } from './tests.js';
import { generator, truthy, type Value } from './values.js';

/** The test of `select` and its kin: by name with arguments, or the value's truth. */
const tester = (args: ReadonlyArray<Value>): ((value: Value) => boolean) => {
  const [name, ...rest] = args;
  if (name === undefined) return truthy;
  const test = testNamed(plainText(name, 'the name of a test'));
  return (value) => test(value, rest);
};

/** `select`, or `reject` where the test is not to hold. */
export const selecting =
  (wanted: boolean): Filter =>
  (value, args) => {
    if (!truthy(value)) return generator([]);
    const test = tester(args);
    return generator(iterate(value).filter((one) => test(one) === wanted));
  };

/** The same by an attribute of each item. */
export const selectingBy =
  (wanted: boolean): Filter =>
  (value, [path, ...args]) => {
    if (!truthy(value)) return generator([]);
    if (path === undefined) return fail('Missing parameter for attribute name');
    const test = tester(args);
    return generator(iterate(value).filter((one) => test(member(one, path)) === wanted));
  };
