/**
 * Templates as closures over a scope. Emitted text is collected with its origins; text of the template itself is put down to
 * the message whose turn of a loop it was written in.
 */
import type { Body, Statement } from './ast.js';
import { compileBody } from './compileStatement.js';
import { makeGlobals } from './globals.js';
import { parse } from './parser.js';
import type { State } from './scope.js';
import { makeTextBuilder, type Text } from './traced.js';
import type { Value } from './values.js';

/** A template that is ready to run. */
export interface Program {
  /** Whether the template marks what the assistant writes with generation blocks. */
  readonly marksGeneration: boolean;
  /** The rendered text; throws TemplateError. */
  readonly run: (
    variables: ReadonlyMap<string, Value>,
    options: { readonly clock: () => Date; readonly steps: number },
  ) => Text;
}

/** Whether a statement of that type stands anywhere in a body. */
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
