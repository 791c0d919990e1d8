import type { Target } from './ast.js';
import { iterate } from './operations.js';
import { lookUp, type Scope } from './scope.js';
import { fail } from './templateError.js';
import type { Value } from './values.js';

/** Gives a value to a name, an attribute of a namespace, or in parts to several of these. */
export const assign = (target: Target, value: Value, scope: Scope): void => {
  if (target.type === 'name') {
    scope.names.set(target.name, value);
    return;
  }
  if (target.type === 'namespace') {
    const holder = lookUp(scope, target.name);
    if (typeof holder !== 'object' || holder?.kind !== 'namespace') {
      fail('cannot assign attribute on non-namespace object');
      return;
    }
    holder.attributes.set(target.attribute, value);
    return;
  }
  const values = iterate(value);
  if (values.length !== target.items.length) {
    fail(`expected ${target.items.length} values to unpack, got ${values.length}`);
  }
  target.items.forEach((one, i) => {
    assign(one, values[i] ?? null, scope);
  });
};
