/** Loops: their rounds, and what `loop` tells of them. */
import { assign } from './assign.js';
import type { Target } from './ast.js';
import { iterate } from './operations.js';
import { captured, deeper, inner, step, type Evaluate, type Flow, type Run, type Scope } from './scope.js';
import { fail } from './templateError.js';
import type { Origin } from './traced.js';
import { callable, equal, isDict, missing, orElse, truthy, type Value } from './values.js';

/** A loop in its round. */
interface Loop {
  readonly items: ReadonlyArray<Value>;
  readonly depth: number;
  readonly recurse: ((items: Value) => Value) | undefined;
  index: number;
  changed: ReadonlyArray<Value> | undefined;
}

/** The value of `loop`. */
const loopValue = (loop: Loop): Value => {
  const cycle = callable('cycle', (values) =>
    values.length === 0 ? fail('no items for cycling given') : (values[loop.index % values.length] ?? null),
  );
  const changed = callable('changed', (values) => {
    const before = loop.changed;
    loop.changed = values;
    return before?.length !== values.length || !values.every((value, i) => equal(value, before[i] ?? null));
  });
  const { recurse } = loop;
  return {
    kind: 'instance',
    name: 'LoopContext',
    attribute: (name) => {
      const { index, items, depth } = loop;
      switch (name) {
        case 'index':
          return index + 1;
        case 'index0':
          return index;
        case 'revindex':
          return items.length - index;
        case 'revindex0':
          return items.length - index - 1;
        case 'first':
          return index === 0;
        case 'last':
          return index === items.length - 1;
        case 'length':
          return items.length;
        case 'depth':
          return depth + 1;
        case 'depth0':
          return depth;
        case 'previtem':
          return orElse(items[index - 1], () => missing('there is no previous item, it'));
        case 'nextitem':
          return orElse(items[index + 1], () => missing('there is no next item, it'));
        case 'cycle':
          return cycle;
        case 'changed':
          return changed;
        default:
          return undefined;
      }
    },
    ...(recurse === undefined ? {} : { call: ([items = null]: ReadonlyArray<Value>) => recurse(items) }),
  };
};

/** The message that a value is, or that a tuple (of an index and a message, say) holds. */
const messageIn = (value: Value): Origin | undefined => {
  if (isDict(value)) return value.message;
  if (value === null || typeof value !== 'object' || value.kind !== 'tuple') return undefined;
  for (const one of value.items) if (isDict(one) && one.message !== undefined) return one.message;
  return undefined;
};

/** A `for` statement whose parts are compiled. */
export interface ForParts {
  readonly target: Target;
  readonly iterable: Evaluate;
  /** What an item must pass to be one. */
  readonly test: Evaluate | undefined;
  readonly body: Run;
  readonly otherwise: Run;
  /** `loop(items)` runs it again for those. */
  readonly recursive: boolean;
}

/** The statement as a whole. Within a round that is of a message, it is that message's turn. */
export const forLoop = ({ target, iterable, test, body, otherwise, recursive }: ForParts): Run => {
  const chosen = (scope: Scope, over: Value): ReadonlyArray<Value> =>
    iterate(over).filter((one) => {
      if (test === undefined) return true;
      const own = inner(scope);
      assign(target, one, own);
      step(scope.state);
      return truthy(test(own));
    });

  const run = (scope: Scope, over: Value, depth: number): Flow => {
    const { state } = scope;
    const items = chosen(scope, over);
    const loop: Loop = {
      items,
      depth,
      recurse: recursive
        ? (next) => deeper(state, 'loops', () => captured(state, () => run(scope, next, depth + 1)))
        : undefined,
      index: 0,
      changed: undefined,
    };
    const loopObject = loopValue(loop);
    const { turn, indexLoop } = state;
    for (const one of items) {
      step(state);
      const own = inner(scope);
      own.names.set('loop', loopObject);
      assign(target, one, own);
      const message = messageIn(one);
      state.turn = message ?? turn;
      state.indexLoop = message === undefined;
      const flow = body(own);
      loop.index++;
      if (flow === 'break') break;
    }
    state.turn = turn;
    state.indexLoop = indexLoop;
    return items.length === 0 ? otherwise(inner(scope)) : 'done';
  };
  return (scope) => run(scope, iterable(scope), 0);
};
