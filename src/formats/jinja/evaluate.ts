/**
 * Templates as closures over a scope. Emitted text is collected with its origins; text of the template itself is put down to
 * the message whose turn of a loop it was written in.
 */
import type { Arguments, Body, Expression, FilterCall, Parameter, Statement, Target } from './ast.js';
import { filterNamed } from './filters.js';
import { makeGlobals } from './globals.js';
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
import { parse } from './parser.js';
import { str } from './print.js';
import { fail, TemplateError } from './templateError.js';
import { testNamed } from './tests.js';
import { isText, makeTextBuilder, type Origin, plain, type Text, type TextBuilder } from './traced.js';
import {
  callable,
  equal,
  float,
  isDict,
  keyOf,
  type Key,
  list,
  missing,
  orElse,
  setKey,
  type Named,
  none,
  truthy,
  tuple,
  typeName,
  type Value,
} from './values.js';

interface State {
  out: TextBuilder;
  stepsLeft: number;
  depth: number;
  /** The message whose turn it is. */
  turn: Origin | undefined;
  /** In a round of a loop over something else than messages: a message that it assigns has the turn for the rest of it. */
  indexLoop: boolean;
  generating: boolean;
  readonly generated: Map<Origin | undefined, Origin>;
  readonly globals: ReadonlyMap<string, Value>;
}

interface Scope {
  readonly names: Map<string, Value>;
  readonly parent: Scope | undefined;
  readonly state: State;
}

type Evaluate = (scope: Scope) => Value;
/** How a body ended. */
type Flow = 'done' | 'break' | 'continue';
type Run = (scope: Scope) => Flow;

const deepestCall = 150;

const inner = (parent: Scope): Scope => ({ names: new Map(), parent, state: parent.state });

const lookUp = (scope: Scope, name: string): Value => {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
    const value = at.names.get(name);
    if (value !== undefined) return value;
  }
  return orElse(scope.state.globals.get(name), () => missing(`'${name}'`));
};

const step = (state: State, steps = 1): void => {
  state.stepsLeft -= steps;
  if (state.stepsLeft < 0) throw new TemplateError('E_TEMPLATE_LIMIT', 'the template took too many steps');
};

/** What handling a value costs: a step an item or 8 characters. Keeps short programs from doing long work. */
const sizeOf = (value: Value): number => {
  if (value === null || typeof value !== 'object') return typeof value === 'string' ? value.length >> 3 : 0;
  if (isText(value)) return value.text.length >> 3;
  return 'items' in value ? value.items.length : value.kind === 'dict' ? value.entries.size : 0;
};

/** The value, paid for. */
const paid = (state: State, value: Value): Value => {
  step(state, 1 + sizeOf(value));
  return value;
};

/** The same origin, inside a generation block. */
const generatedOrigin = (state: State, origin: Origin | undefined): Origin => {
  let known = state.generated.get(origin);
  if (known === undefined) {
    known = { ...origin, generated: true };
    state.generated.set(origin, known);
  }
  return known;
};

const emit = (state: State, text: Text): void => {
  step(state, plain(text).length >> 6);
  if (!state.generating) {
    state.out.add(text, state.turn);
    return;
  }
  const fallback = generatedOrigin(state, state.turn);
  if (typeof text === 'string') {
    state.out.add(text, fallback);
    return;
  }
  const runs = text.runs.map(({ end, origin }) => ({
    end,
    origin: origin === undefined ? fallback : origin.generated === true ? origin : generatedOrigin(state, origin),
  }));
  state.out.add({ kind: 'traced', text: text.text, runs });
};

/** Runs something and takes what it wrote. */
const captured = (state: State, run: () => void): Text => {
  const outside = state.out;
  state.out = makeTextBuilder();
  try {
    run();
    return state.out.take();
  } finally {
    state.out = outside;
  }
};

// Expressions

const compileAll = (expressions: ReadonlyArray<Expression>): ReadonlyArray<Evaluate> =>
  expressions.map(compileExpression);

interface Bound {
  readonly positional: ReadonlyArray<Value>;
  readonly named: Named;
}

const compileArguments = ({ positional, named, spread, namedSpread }: Arguments): ((scope: Scope) => Bound) => {
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

const compileExpression = (expression: Expression): Evaluate => {
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
      return (scope) => {
        return paid(scope.state, binary(operator, left(scope), right(scope)));
      };
    }
    case 'concat': {
      const parts = compileAll(expression.parts);
      return (scope) => {
        return paid(scope.state, concatenated(parts.map((part) => part(scope))));
      };
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

// Statements

const assign = (target: Target, value: Value, scope: Scope): void => {
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

const compileBody = (body: Body): Run => {
  const statements = body.map(compileStatement);
  return (scope) => {
    for (const run of statements) {
      const flow = run(scope);
      if (flow !== 'done') return flow;
    }
    return 'done';
  };
};

const compileFilters = (calls: ReadonlyArray<FilterCall>): ((text: Text, scope: Scope) => Value) => {
  const compiled = calls.map(({ name, args }) => ({ name, args: compileArguments(args) }));
  return (text, scope) =>
    compiled.reduce<Value>((value, { name, args }) => {
      const { positional: values, named } = args(scope);
      return filterNamed(name)(value, values, named);
    }, text);
};

/** Whether a body reads a name anywhere. Macros take extra arguments only if they do something with them. */
const mentions = (body: unknown, name: string): boolean => {
  if (Array.isArray(body)) return body.some((part) => mentions(part, name));
  if (typeof body !== 'object' || body === null) return false;
  if ('type' in body && body.type === 'name' && 'name' in body && body.name === name) return true;
  return Object.values(body).some((part) => mentions(part, name));
};

const compileMacro = (
  name: string,
  parameters: ReadonlyArray<Parameter>,
  body: Body,
): ((definition: Scope) => Value) => {
  const run = compileBody(body);
  const standards = parameters.map(({ standard }) =>
    standard === undefined ? undefined : compileExpression(standard),
  );
  const takesMore = mentions(body, 'varargs');
  const takesNamed = mentions(body, 'kwargs');
  return (definition) => {
    const { state } = definition;
    const invoke = (positional: ReadonlyArray<Value>, named: Named): Value => {
      const scope = inner(definition);
      const left = new Map(named);
      parameters.forEach((parameter, i) => {
        const given = i < positional.length ? positional[i] : left.get(parameter.name);
        if (i < positional.length && left.has(parameter.name)) {
          fail(`macro '${name}' got multiple values for argument '${parameter.name}'`);
        }
        left.delete(parameter.name);
        scope.names.set(
          parameter.name,
          orElse(given, () =>
            orElse(standards[i]?.(scope), () => missing(`parameter '${parameter.name}' was not provided, it`)),
          ),
        );
      });
      const caller = left.get('caller');
      left.delete('caller');
      if (caller !== undefined) scope.names.set('caller', caller);
      if (left.size > 0 && !takesNamed) {
        return fail(`macro '${name}' takes no keyword argument '${[...left.keys()][0] ?? ''}'`);
      }
      if (positional.length > parameters.length && !takesMore) {
        return fail(`macro '${name}' takes not more than ${parameters.length} argument(s)`);
      }
      if (takesNamed) scope.names.set('kwargs', { kind: 'dict', entries: new Map(left) });
      if (takesMore) scope.names.set('varargs', tuple(positional.slice(parameters.length)));
      if (++state.depth > deepestCall) {
        throw new TemplateError('E_TEMPLATE_LIMIT', `calls nested deeper than ${deepestCall}`);
      }
      const { turn } = state;
      // A macro that is handed a message outside of any turn writes for that message.
      const message =
        turn === undefined ? positional.find((value) => isDict(value) && value.message !== undefined) : undefined;
      if (message !== undefined && isDict(message)) state.turn = message.message;
      try {
        return captured(state, () => run(scope));
      } finally {
        state.turn = turn;
        state.depth--;
      }
    };
    return callable(name, invoke);
  };
};

interface Loop {
  readonly items: ReadonlyArray<Value>;
  readonly depth: number;
  readonly recurse: ((items: Value) => Value) | undefined;
  index: number;
  changed: ReadonlyArray<Value> | undefined;
}

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

const compileFor = (statement: Statement & { readonly type: 'for' }): Run => {
  const { target } = statement;
  const iterable = compileExpression(statement.iterable);
  const test = statement.test === undefined ? undefined : compileExpression(statement.test);
  const body = compileBody(statement.body);
  const otherwise = compileBody(statement.otherwise);

  const run = (scope: Scope, over: Value, depth: number): Flow => {
    const { state } = scope;
    const items = iterate(over).filter((one) => {
      if (test === undefined) return true;
      const own = inner(scope);
      assign(target, one, own);
      step(state);
      return truthy(test(own));
    });
    const loop: Loop = {
      items,
      depth,
      recurse: statement.recursive
        ? (next) => {
            if (++state.depth > deepestCall) {
              throw new TemplateError('E_TEMPLATE_LIMIT', `loops nested deeper than ${deepestCall}`);
            }
            const text = captured(state, () => run(scope, next, depth + 1));
            state.depth--;
            return text;
          }
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

/** The message that a value is, or that a tuple (of an index and a message, say) holds. */
const messageIn = (value: Value): Origin | undefined => {
  if (isDict(value)) return value.message;
  if (value === null || typeof value !== 'object' || value.kind !== 'tuple') return undefined;
  for (const one of value.items) if (isDict(one) && one.message !== undefined) return one.message;
  return undefined;
};

const compileStatement = (statement: Statement): Run => {
  const run = compilePlain(statement);
  const { line } = statement;
  return (scope) => {
    step(scope.state);
    try {
      return run(scope);
    } catch (error) {
      if (error instanceof TemplateError && error.line === undefined) {
        throw new TemplateError(error.code, error.message, line);
      }
      throw error;
    }
  };
};

const compilePlain = (statement: Statement): Run => {
  switch (statement.type) {
    case 'data': {
      const { text } = statement;
      return ({ state }) => {
        emit(state, text);
        return 'done';
      };
    }
    case 'output': {
      const value = compileExpression(statement.value);
      return (scope) => {
        emit(scope.state, str(value(scope)));
        return 'done';
      };
    }
    case 'if': {
      const branches = statement.branches.map(({ test, body }) => ({
        test: compileExpression(test),
        body: compileBody(body),
      }));
      const otherwise = compileBody(statement.otherwise);
      return (scope) => {
        for (const { test, body } of branches) if (truthy(test(scope))) return body(scope);
        return otherwise(scope);
      };
    }
    case 'for':
      return compileFor(statement);
    case 'set': {
      const { target } = statement;
      const value = compileExpression(statement.value);
      return (scope) => {
        const assigned = value(scope);
        assign(target, assigned, scope);
        const { state } = scope;
        if (state.indexLoop && isDict(assigned) && assigned.message !== undefined) state.turn = assigned.message;
        return 'done';
      };
    }
    case 'setBlock': {
      const { target } = statement;
      const body = compileBody(statement.body);
      const filters = compileFilters(statement.filters);
      return (scope) => {
        const text = captured(scope.state, () => body(inner(scope)));
        assign(target, filters(text, scope), scope);
        return 'done';
      };
    }
    case 'macro': {
      const make = compileMacro(statement.name, statement.parameters, statement.body);
      const { name } = statement;
      return (scope) => {
        scope.names.set(name, make(scope));
        return 'done';
      };
    }
    case 'callBlock': {
      const { call: called } = statement;
      if (called.type !== 'call') return () => fail('expected call');
      const callee = compileExpression(called.callee);
      const args = compileArguments(called.args);
      const makeCaller = compileMacro('caller', statement.parameters, statement.body);
      return (scope) => {
        const { positional: values, named } = args(scope);
        emit(scope.state, str(call(callee(scope), values, new Map([...named, ['caller', makeCaller(scope)]]))));
        return 'done';
      };
    }
    case 'filterBlock': {
      const body = compileBody(statement.body);
      const filters = compileFilters(statement.filters);
      return (scope) => {
        const text = captured(scope.state, () => body(inner(scope)));
        emit(scope.state, str(filters(text, scope)));
        return 'done';
      };
    }
    case 'with': {
      const bindings = statement.bindings.map(([target, value]) => [target, compileExpression(value)] as const);
      const body = compileBody(statement.body);
      return (scope) => {
        const own = inner(scope);
        for (const [target, value] of bindings) assign(target, value(scope), own);
        return body(own);
      };
    }
    case 'generation': {
      const body = compileBody(statement.body);
      return (scope) => {
        const { state } = scope;
        const before = state.generating;
        state.generating = true;
        try {
          return body(inner(scope));
        } finally {
          state.generating = before;
        }
      };
    }
    case 'break':
    case 'continue': {
      const flow = statement.type;
      return () => flow;
    }
  }
};

export interface Program {
  /** Whether the template marks what the assistant writes with generation blocks. */
  readonly marksGeneration: boolean;
  /** The rendered text; throws TemplateError. */
  readonly run: (
    variables: ReadonlyMap<string, Value>,
    options: { readonly clock: () => Date; readonly steps: number },
  ) => Text;
}

const holds = (body: Body, type: Statement['type']): boolean =>
  body.some((statement) => {
    if (statement.type === type) return true;
    if (statement.type === 'if') {
      return statement.branches.some((branch) => holds(branch.body, type)) || holds(statement.otherwise, type);
    }
    if (statement.type === 'for') return holds(statement.body, type) || holds(statement.otherwise, type);
    return 'body' in statement && holds(statement.body, type);
  });

/** A template ready to run; throws TemplateError with code E_TEMPLATE_SYNTAX. */
export const compile = (template: string): Program => {
  const body = parse(template);
  const run = compileBody(body);
  return {
    marksGeneration: holds(body, 'generation'),
    run: (variables, { clock, steps }) => {
      const state: State = {
        out: makeTextBuilder(),
        stepsLeft: steps,
        depth: 0,
        turn: undefined,
        indexLoop: false,
        generating: false,
        generated: new Map(),
        globals: makeGlobals(clock),
      };
      run({ names: new Map(variables), parent: undefined, state });
      return state.out.take();
    },
  };
};
