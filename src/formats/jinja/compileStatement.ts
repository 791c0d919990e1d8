/** Statements of templates as closures over a scope. */
import type { Body, FilterCall, Statement } from './ast.js';
import { compileArguments, compileExpression } from './compileExpression.js';
import { forLoop } from './loop.js';
import { compileMacro } from './macro.js';
import * as running from './running.js';
import { type Run, step } from './scope.js';
import { fail, TemplateError } from './templateError.js';

/** Statements one after another, until one of them leaves a loop or its round. */
export const compileBody = (body: Body): Run => running.inTurn(body.map(compileStatement));

const compileFilters = (calls: ReadonlyArray<FilterCall>): running.ApplyFilters =>
  running.filtersInTurn(calls.map(({ name, args }) => ({ name, args: compileArguments(args) })));

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

type StatementOf<T extends Statement['type']> = Statement & { readonly type: T };

const compileIf = ({ branches, otherwise }: StatementOf<'if'>): Run =>
  running.branching(
    branches.map(({ test, body }) => ({ test: compileExpression(test), body: compileBody(body) })),
    compileBody(otherwise),
  );

const compileFor = ({ target, iterable, test, body, otherwise, recursive }: StatementOf<'for'>): Run =>
  forLoop({
    target,
    iterable: compileExpression(iterable),
    test: test === undefined ? undefined : compileExpression(test),
    body: compileBody(body),
    otherwise: compileBody(otherwise),
    recursive,
  });

const compileCallBlock = ({ call, parameters, body }: StatementOf<'callBlock'>): Run => {
  if (call.type !== 'call') return () => fail('expected call');
  return running.callingBlock(
    compileExpression(call.callee),
    compileArguments(call.args),
    compileMacro('caller', parameters, body, compileBody(body)),
  );
};

const compilePlain = (statement: Statement): Run => {
  switch (statement.type) {
    case 'data':
      return running.writing(statement.text);
    case 'output':
      return running.printing(compileExpression(statement.value));
    case 'if':
      return compileIf(statement);
    case 'for':
      return compileFor(statement);
    case 'set':
      return running.setting(statement.target, compileExpression(statement.value));
    case 'setBlock':
      return running.settingBlock(statement.target, compileBody(statement.body), compileFilters(statement.filters));
    case 'macro': {
      const { name, parameters, body } = statement;
      return running.defining(name, compileMacro(name, parameters, body, compileBody(body)));
    }
    case 'callBlock':
      return compileCallBlock(statement);
    case 'filterBlock':
      return running.filteringBlock(compileBody(statement.body), compileFilters(statement.filters));
    case 'with':
      return running.binding(
        statement.bindings.map(([target, value]) => [target, compileExpression(value)] as const),
        compileBody(statement.body),
      );
    case 'generation':
      return running.generating(compileBody(statement.body));
    case 'break':
    case 'continue':
      return running.leaving(statement.type);
  }
};
