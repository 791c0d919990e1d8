/** Expressions of templates as closures over a scope. */
import type { Arguments, Expression } from './ast.js';
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
import { lookUp, paid, type Evaluate, type Scope } from './scope.js';
import { fail } from './templateError.js';
import { testNamed } from './tests.js';
import {
  float,
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

const compileAll = (expressions: ReadonlyArray<Expression>): ReadonlyArray<Evaluate> =>
  expressions.map(compileExpression);

/** Arguments with their values. */
export interface Bound {
  readonly positional: ReadonlyArray<Value>;
  readonly named: Named;
}

/** The arguments of a call, those after * and ** among them. */
export const compileArguments = ({ positional, named, spread, namedSpread }: Arguments): ((scope: Scope) => Bound) => {
  const values = compileAll(positional);
  const names = named.map(([name, value]) => [name, compileExpression(value)] as const);
  const more = spread === undefined ? undefined : compileExpression(spread);
  const moreNamed = namedSpread === undefined ? undefined : compileExpression(namedSpread);
  if (names.length === 0 && more === undefined && moreNamed === undefined) {
    return (scope) => ({ positional: values.map((value) => value(scope)), named: none });
  }
  return (scope) => {
    const bound = values.map((value) => value(scope));
    if (more !== undefined) bound.push(...iterate(more(scope)));
    const byName = new Map(names.map(([name, value]) => [name, value(scope)]));
    if (moreNamed !== undefined) {
      const extra = moreNamed(scope);
      if (!isDict(extra)) return fail(`argument after ** must be a mapping, not ${typeName(extra)}`);
      for (const [key, value] of extra.entries) byName.set(String(key), value);
    }
    return { positional: bound, named: byName };
  };
};

/** An expression as a function of its scope. */
export const compileExpression = (expression: Expression): Evaluate => {
  switch (expression.type) {
    case 'constant': {
      const { value } = expression;
      return () => value;
    }
    case 'float': {
      const value = float(expression.value);
      return () => value;
    }
    case 'name': {
      const { name } = expression;
      return (scope) => lookUp(scope, name);
    }
    case 'list': {
      const items = compileAll(expression.items);
      return (scope) => list(items.map((one) => one(scope)));
    }
    case 'tuple': {
      const items = compileAll(expression.items);
      return (scope) => tuple(items.map((one) => one(scope)));
    }
    case 'dict': {
      const pairs = expression.items.map(([key, value]) => [compileExpression(key), compileExpression(value)] as const);
      return (scope) => {
        const entries = new Map<Key, Value>();
        for (const [key, value] of pairs) setKey(entries, keyOf(key(scope)), value(scope));
        return { kind: 'dict', entries };
      };
    }
    case 'conditional': {
      const test = compileExpression(expression.test);
      const yes = compileExpression(expression.yes);
      const no = expression.no === undefined ? undefined : compileExpression(expression.no);
      return (scope) => {
        if (truthy(test(scope))) return yes(scope);
        return no === undefined ? missing('the inline if-expression without else, which was false, it') : no(scope);
      };
    }
    case 'and':
    case 'or': {
      const left = compileExpression(expression.left);
      const right = compileExpression(expression.right);
      const goOn = expression.type === 'and';
      return (scope) => {
        const value = left(scope);
        return truthy(value) === goOn ? right(scope) : value;
      };
    }
    case 'not': {
      const operand = compileExpression(expression.operand);
      return (scope) => !truthy(operand(scope));
    }
    case 'negative': {
      const operand = compileExpression(expression.operand);
      return (scope) => negative(operand(scope));
    }
    case 'positive': {
      const operand = compileExpression(expression.operand);
      return (scope) => positive(operand(scope));
    }
    case 'compare': {
      const first = compileExpression(expression.first);
      const rest = expression.rest.map(({ operator, operand }) => ({ operator, operand: compileExpression(operand) }));
      return (scope) => {
        let left = first(scope);
        for (const { operator, operand } of rest) {
          const right = paid(scope.state, operand(scope));
          if (!comparison(operator, left, right)) return false;
          left = right;
        }
        return true;
      };
    }
    case 'binary': {
      const { operator } = expression;
      const left = compileExpression(expression.left);
      const right = compileExpression(expression.right);
      return (scope) => paid(scope.state, binary(operator, left(scope), right(scope)));
    }
    case 'concat': {
      const parts = compileAll(expression.parts);
      return (scope) => paid(scope.state, concatenated(parts.map((part) => part(scope))));
    }
    case 'attribute': {
      const { name } = expression;
      const object = compileExpression(expression.object);
      return (scope) => attribute(object(scope), name);
    }
    case 'item': {
      const object = compileExpression(expression.object);
      const key = compileExpression(expression.key);
      return (scope) => item(paid(scope.state, object(scope)), key(scope));
    }
    case 'slice': {
      const object = compileExpression(expression.object);
      const part = (one: Expression | undefined): Evaluate => (one === undefined ? () => null : compileExpression(one));
      const [start, stop, by] = [part(expression.start), part(expression.stop), part(expression.step)];
      return (scope) => slice(paid(scope.state, object(scope)), start(scope), stop(scope), by(scope));
    }
    case 'call': {
      const callee = compileExpression(expression.callee);
      const args = compileArguments(expression.args);
      return (scope) => {
        const { positional: values, named } = args(scope);
        return paid(scope.state, call(callee(scope), values, named));
      };
    }
    case 'filter': {
      const { name } = expression;
      const operand = compileExpression(expression.operand);
      const args = compileArguments(expression.args);
      return (scope) => {
        const value = paid(scope.state, operand(scope));
        const { positional: values, named } = args(scope);
        return paid(scope.state, filterNamed(name)(value, values, named));
      };
    }
    case 'test': {
      const { name } = expression;
      const operand = compileExpression(expression.operand);
      const args = compileArguments(expression.args);
      return (scope) => {
        const value = operand(scope);
        const { positional: values } = args(scope);
        return testNamed(name)(value, values);
      };
    }
  }
};
