/** How each kind of statement runs, made of how its parts do. */
import { assign } from './assign.js';
import type { Target } from './ast.js';
import type { Bind } from './evaluating.js';
import { filterNamed } from './filters.js';
import { call } from './operations.js';
import { str } from './print.js';
import { captured, emit, type Evaluate, type Flow, inner, type Run, type Scope, type State } from './scope.js';
import type { Text } from './traced.js';
import { isDict, truthy, type Value } from './values.js';

/** Filters of a block, applied to what it wrote. */
export type ApplyFilters = (text: Text, scope: Scope) => Value;

/** Filters one after another. */
export const filtersInTurn =
  (filters: ReadonlyArray<{ readonly name: string; readonly args: Bind }>): ApplyFilters =>
  (text, scope) =>
    filters.reduce<Value>((value, { name, args }) => {
      const { positional: values, named } = args(scope);
      return filterNamed(name)(value, values, named);
    }, text);

/** Statements one after another, until one of them leaves a loop or its round. */
export const inTurn =
  (statements: ReadonlyArray<Run>): Run =>
  (scope) => {
    for (const run of statements) {
      const flow = run(scope);
      if (flow !== 'done') return flow;
    }
    return 'done';
  };

export const writing =
  (text: string): Run =>
  ({ state }) => {
    emit(state, text);
    return 'done';
  };

export const printing =
  (value: Evaluate): Run =>
  (scope) => {
    emit(scope.state, str(value(scope)));
    return 'done';
  };

export const branching =
  (branches: ReadonlyArray<{ readonly test: Evaluate; readonly body: Run }>, otherwise: Run): Run =>
  (scope) => {
    for (const { test, body } of branches) if (truthy(test(scope))) return body(scope);
    return otherwise(scope);
  };

/** A message that a round of a loop by index assigns has the turn from here on. */
const takeTurn = (state: State, assigned: Value): void => {
  if (state.indexLoop && isDict(assigned) && assigned.message !== undefined) state.turn = assigned.message;
};

export const setting =
  (target: Target, value: Evaluate): Run =>
  (scope) => {
    const assigned = value(scope);
    assign(target, assigned, scope);
    takeTurn(scope.state, assigned);
    return 'done';
  };

/** What a block writes, in a scope of its own. */
const writtenBy = (body: Run, scope: Scope): Text => captured(scope.state, () => body(inner(scope)));

export const settingBlock =
  (target: Target, body: Run, filters: ApplyFilters): Run =>
  (scope) => {
    const text = writtenBy(body, scope);
    assign(target, filters(text, scope), scope);
    return 'done';
  };

export const filteringBlock =
  (body: Run, filters: ApplyFilters): Run =>
  (scope) => {
    const text = writtenBy(body, scope);
    emit(scope.state, str(filters(text, scope)));
    return 'done';
  };

export const defining =
  (name: string, make: Evaluate): Run =>
  (scope) => {
    scope.names.set(name, make(scope));
    return 'done';
  };

/** A call whose block is its argument `caller`. */
export const callingBlock =
  (callee: Evaluate, args: Bind, makeCaller: Evaluate): Run =>
  (scope) => {
    const { positional: values, named } = args(scope);
    emit(scope.state, str(call(callee(scope), values, new Map([...named, ['caller', makeCaller(scope)]]))));
    return 'done';
  };

export const binding =
  (bindings: ReadonlyArray<readonly [Target, Evaluate]>, body: Run): Run =>
  (scope) => {
    const own = inner(scope);
    for (const [target, value] of bindings) assign(target, value(scope), own);
    return body(own);
  };

export const generating =
  (body: Run): Run =>
  (scope) => {
    const { state } = scope;
    const before = state.generating;
    state.generating = true;
    try {
      return body(inner(scope));
    } finally {
      state.generating = before;
    }
  };

export const leaving =
  (flow: Flow): Run =>
  () =>
    flow;
