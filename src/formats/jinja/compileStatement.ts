/** Statements of templates as closures over a scope. */
import { assign } from './assign.js';
import type { Body, FilterCall, Statement } from './ast.js';
import { compileArguments, compileExpression } from './compileExpression.js';
import { filterNamed } from './filters.js';
import { forLoop } from './loop.js';
import { compileMacro } from './macro.js';
import { call } from './operations.js';
import { str } from './print.js';
import { captured, emit, inner, step, type Run, type Scope } from './scope.js';
import { fail, TemplateError } from './templateError.js';
import type { Text } from './traced.js';
import { isDict, truthy, type Value } from './values.js';

/** Statements one after another, until one of them leaves a loop or its round. */
export const compileBody = (body: Body): Run => {
  const statements = body.map(compileStatement);
  return (scope) => {
    for (const run of statements) {
      const flow = run(scope);
      if (flow !== 'done') return flow;
    }
    return 'done';
  };
};

/** Filters one after another. */
const compileFilters = (calls: ReadonlyArray<FilterCall>): ((text: Text, scope: Scope) => Value) => {
  const compiled = calls.map(({ name, args }) => ({ name, args: compileArguments(args) }));
  return (text, scope) =>
    compiled.reduce<Value>((value, { name, args }) => {
      const { positional: values, named } = args(scope);
      return filterNamed(name)(value, values, named);
    }, text);
};

/** A statement that costs a step, and whose faults tell its line. */
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
      return forLoop({
        target: statement.target,
        iterable: compileExpression(statement.iterable),
        test: statement.test === undefined ? undefined : compileExpression(statement.test),
        body: compileBody(statement.body),
        otherwise: compileBody(statement.otherwise),
        recursive: statement.recursive,
      });
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
      const { name, parameters, body } = statement;
      const make = compileMacro(name, parameters, body, compileBody(body));
      return (scope) => {
        scope.names.set(name, make(scope));
        return 'done';
      };
    }
    case 'callBlock': {
      const { call: called, parameters, body } = statement;
      if (called.type !== 'call') return () => fail('expected call');
      const callee = compileExpression(called.callee);
      const args = compileArguments(called.args);
      const makeCaller = compileMacro('caller', parameters, body, compileBody(body));
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
