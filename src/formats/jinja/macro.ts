/** Macros: bodies with parameters, which give what they wrote. */
import type { Body, Parameter } from './ast.js';
import { compileExpression } from './compileExpression.js';
import { captured, deeper, inner, type Run, type Scope, type State } from './scope.js';
import { fail } from './templateError.js';
import { callable, isDict, missing, type Named, orElse, tuple, type Value } from './values.js';

/** Whether a body reads a name anywhere. Macros take extra arguments only if they do something with them. */
const mentions = (body: unknown, name: string): boolean => {
  if (Array.isArray(body)) return body.some((part) => mentions(part, name));
  if (typeof body !== 'object' || body === null) return false;
  if ('type' in body && body.type === 'name' && 'name' in body && body.name === name) return true;
  return Object.values(body).some((part) => mentions(part, name));
};

/** Runs the body of a macro. One that is handed a message outside of any turn writes for that message. */
const writing = (state: State, positional: ReadonlyArray<Value>, run: () => void): Value => {
  const { turn } = state;
  const message =
    turn === undefined ? positional.find((value) => isDict(value) && value.message !== undefined) : undefined;
  if (message !== undefined && isDict(message)) state.turn = message.message;
  try {
    return captured(state, run);
  } finally {
    state.turn = turn;
  }
};

/** A macro of that name as a function of where it is defined; `run` is its compiled body. */
export const compileMacro = (
  name: string,
  parameters: ReadonlyArray<Parameter>,
  body: Body,
  run: Run,
): ((definition: Scope) => Value) => {
  const standards = parameters.map(({ standard }) =>
    standard === undefined ? undefined : compileExpression(standard),
  );
  const takesMore = mentions(body, 'varargs');
  const takesNamed = mentions(body, 'kwargs');

  /** Gives the parameters their values in `scope`. Returns the named arguments that are none of them. */
  const bind = (scope: Scope, positional: ReadonlyArray<Value>, named: Named): Map<string, Value> => {
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
    return left;
  };

  return (definition) =>
    callable(name, (positional, named) => {
      const scope = inner(definition);
      const left = bind(scope, positional, named);
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
      const { state } = definition;
      return deeper(state, 'calls', () => writing(state, positional, () => run(scope)));
    });
};
