/** What statements of templates bind: targets of assignments and loops, parameters of macros. */
import type { Expression, Parameter, Target } from './ast.js';
import { current, expectName, expectOperator, following, isOperator, isType, skipOperator, syntax } from './cursor.js';
import type { Cursor } from './cursor.js';
import { expression, tuple } from './expressions.js';

/** Names that are values. */
const constants = new Set(['true', 'false', 'none', 'True', 'False', 'None']);

/** The expression as something that values are given to. */
const assignable = (c: Cursor, node: Expression): Target => {
  if (node.type === 'name') return { type: 'name', name: node.name };
  if (node.type === 'tuple') return { type: 'tuple', items: node.items.map((item) => assignable(c, item)) };
  throw syntax(c, "can't assign to this");
};

/** A name, a tuple of them, or, `withNamespace`, an attribute of a namespace. */
export const target = (c: Cursor, withNamespace: boolean, endWords: ReadonlyArray<string> = []): Target => {
  const dot = following(c);
  if (withNamespace && isType(c, 'name') && dot?.type === 'operator' && dot.value === '.') {
    const name = expectName(c);
    c.at++;
    return { type: 'namespace', name, attribute: expectName(c) };
  }
  if (isType(c, 'name') && constants.has(current(c).value)) throw syntax(c, `can't assign to '${current(c).value}'`);
  return assignable(c, tuple(c, { simplified: true, endWords }));
};

/** Parameters of a macro with their default values, in parentheses. */
export const parameters = (c: Cursor): ReadonlyArray<Parameter> => {
  const result: Parameter[] = [];
  expectOperator(c, '(');
  while (!isOperator(c, ')')) {
    if (result.length > 0) expectOperator(c, ',');
    if (isOperator(c, ')')) break;
    const name = expectName(c);
    if (skipOperator(c, '=')) result.push({ name, standard: expression(c) });
    else if (result.some(({ standard }) => standard !== undefined)) {
      throw syntax(c, 'non-default argument follows default argument');
    } else result.push({ name });
  }
  expectOperator(c, ')');
  return result;
};
