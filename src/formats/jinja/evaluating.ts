/** How each kind of expression is evaluated, made of how its parts are. */
import type { BinaryOperator, CompareOperator } from './ast.js';
import { filterNamed } from './filters.js';
import {
  attribute,
  binary,
  call,
  comparison,
  concatenated,
  item,
  iterate,
  negative,
  positive,
  slice,
} from './operations.js';
import { type Evaluate, lookUp, paid, type Scope } from './scope.js';
import { fail } from './templateError.js';
import { testNamed } from './tests.js';
import {
  isDict,
  type Key,
  keyOf,
  list,
  missing,
  type Named,
  none,
  setKey,
  truthy,
  tuple,
  typeName,
  type Value,
} from './values.js';

/** Arguments with their values. */
export interface Bound {
  readonly positional: ReadonlyArray<Value>;
  readonly named: Named;
}

/** Evaluates the arguments of a call. */
export type Bind = (scope: Scope) => Bound;

export interface ArgumentParts {
  readonly positional: ReadonlyArray<Evaluate>;
  readonly named: ReadonlyArray<readonly [string, Evaluate]>;
  /** What stands after `*`. */
  readonly spread: Evaluate | undefined;
  /** What stands after `**`. */
  readonly namedSpread: Evaluate | undefined;
}

/** The arguments of a call, those after * and ** among them. */
export const binding = ({ positional: values, named, spread, namedSpread }: ArgumentParts): Bind => {
  if (named.length === 0 && spread === undefined && namedSpread === undefined) {
    return (scope) => ({ positional: values.map((value) => value(scope)), named: none });
  }
  return (scope) => {
    const bound = values.map((value) => value(scope));
    if (spread !== undefined) bound.push(...iterate(spread(scope)));
    const byName = new Map(named.map(([name, value]) => [name, value(scope)]));
    if (namedSpread !== undefined) {
      const extra = namedSpread(scope);
      if (!isDict(extra)) return fail(`argument after ** must be a mapping, not ${typeName(extra)}`);
      for (const [key, value] of extra.entries) byName.set(String(key), value);
    }
    return { positional: bound, named: byName };
  };
};

export const constant =
  (value: Value): Evaluate =>
  () =>
    value;

export const nameOf =
  (name: string): Evaluate =>
  (scope) =>
    lookUp(scope, name);

export const listOf =
  (items: ReadonlyArray<Evaluate>): Evaluate =>
  (scope) =>
    list(items.map((one) => one(scope)));

export const tupleOf =
  (items: ReadonlyArray<Evaluate>): Evaluate =>
  (scope) =>
    tuple(items.map((one) => one(scope)));

export const dictOf =
  (pairs: ReadonlyArray<readonly [Evaluate, Evaluate]>): Evaluate =>
  (scope) => {
    const entries = new Map<Key, Value>();
    for (const [key, value] of pairs) setKey(entries, keyOf(key(scope)), value(scope));
    return { kind: 'dict', entries };
  };

/** `yes if test else no` */
export const conditional =
  (test: Evaluate, yes: Evaluate, no: Evaluate | undefined): Evaluate =>
  (scope) => {
    if (truthy(test(scope))) return yes(scope);
    return no === undefined ? missing('the inline if-expression without else, which was false, it') : no(scope);
  };

/** `and` where it goes on after what is true, else `or`. */
export const junction =
  (goesOnAfter: boolean, left: Evaluate, right: Evaluate): Evaluate =>
  (scope) => {
    const value = left(scope);
    return truthy(value) === goesOnAfter ? right(scope) : value;
  };

export const notOf =
  (operand: Evaluate): Evaluate =>
  (scope) =>
    !truthy(operand(scope));

export const negativeOf =
  (operand: Evaluate): Evaluate =>
  (scope) =>
    negative(operand(scope));

export const positiveOf =
  (operand: Evaluate): Evaluate =>
  (scope) =>
    positive(operand(scope));

/** `first < second <= third`: as far as the comparisons hold. */
export const comparing =
  (
    first: Evaluate,
    rest: ReadonlyArray<{ readonly operator: CompareOperator; readonly operand: Evaluate }>,
  ): Evaluate =>
  (scope) => {
    let left = first(scope);
    for (const { operator, operand } of rest) {
      const right = paid(scope.state, operand(scope));
      if (!comparison(operator, left, right)) return false;
      left = right;
    }
    return true;
  };

export const binaryOf =
  (operator: BinaryOperator, left: Evaluate, right: Evaluate): Evaluate =>
  (scope) =>
    paid(scope.state, binary(operator, left(scope), right(scope)));

/** `~` */
export const concatenation =
  (parts: ReadonlyArray<Evaluate>): Evaluate =>
  (scope) =>
    paid(scope.state, concatenated(parts.map((part) => part(scope))));

export const attributeOf =
  (object: Evaluate, name: string): Evaluate =>
  (scope) =>
    attribute(object(scope), name);

export const itemOf =
  (object: Evaluate, key: Evaluate): Evaluate =>
  (scope) =>
    item(paid(scope.state, object(scope)), key(scope));

export const sliceOf =
  (object: Evaluate, start: Evaluate, stop: Evaluate, by: Evaluate): Evaluate =>
  (scope) =>
    slice(paid(scope.state, object(scope)), start(scope), stop(scope), by(scope));

/** Its arguments are evaluated before what is called. */
export const callOf =
  (callee: Evaluate, args: Bind): Evaluate =>
  (scope) => {
    const { positional: values, named } = args(scope);
    return paid(scope.state, call(callee(scope), values, named));
  };

/** The filter is looked for when it is applied: a template may name one that it never reaches. */
export const filterOf =
  (name: string, operand: Evaluate, args: Bind): Evaluate =>
  (scope) => {
    const value = paid(scope.state, operand(scope));
    const { positional: values, named } = args(scope);
    return paid(scope.state, filterNamed(name)(value, values, named));
  };

export const testOf =
  (name: string, operand: Evaluate, args: Bind): Evaluate =>
  (scope) => {
    const value = operand(scope);
    const { positional: values } = args(scope);
    return testNamed(name)(value, values);
  };
