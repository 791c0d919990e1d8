/** Expressions of templates as closures over a scope. */
import type { Arguments, Expression } from './ast.js';
import * as evaluating from './evaluating.js';
import type { Evaluate } from './scope.js';
import { float } from './values.js';

const compileAll = (expressions: ReadonlyArray<Expression>): ReadonlyArray<Evaluate> =>
  expressions.map(compileExpression);

const compileIfAny = (expression: Expression | undefined): Evaluate | undefined =>
  expression === undefined ? undefined : compileExpression(expression);

/** A bound of a slice. */
const compileBound = (expression: Expression | undefined): Evaluate =>
  compileIfAny(expression) ?? evaluating.constant(null);

/** The arguments of a call, those after * and ** among them. */
export const compileArguments = ({ positional, named, spread, namedSpread }: Arguments): evaluating.Bind =>
  evaluating.binding({
    positional: compileAll(positional),
    named: named.map(([name, value]) => [name, compileExpression(value)] as const),
    spread: compileIfAny(spread),
    namedSpread: compileIfAny(namedSpread),
  });

/** An expression as a function of its scope. */
export const compileExpression = (expression: Expression): Evaluate => {
  const of = compileExpression;
  switch (expression.type) {
    case 'constant':
      return evaluating.constant(expression.value);
    case 'float':
      return evaluating.constant(float(expression.value));
    case 'name':
      return evaluating.nameOf(expression.name);
    case 'list':
      return evaluating.listOf(compileAll(expression.items));
    case 'tuple':
      return evaluating.tupleOf(compileAll(expression.items));
    case 'dict':
      return evaluating.dictOf(expression.items.map(([key, value]) => [of(key), of(value)] as const));
    case 'conditional':
      return evaluating.conditional(of(expression.test), of(expression.yes), compileIfAny(expression.no));
    case 'and':
    case 'or':
      return evaluating.junction(expression.type === 'and', of(expression.left), of(expression.right));
    case 'not':
      return evaluating.notOf(of(expression.operand));
    case 'negative':
      return evaluating.negativeOf(of(expression.operand));
    case 'positive':
      return evaluating.positiveOf(of(expression.operand));
    case 'compare':
      return evaluating.comparing(
        of(expression.first),
        expression.rest.map(({ operator, operand }) => ({ operator, operand: of(operand) })),
      );
    case 'binary':
      return evaluating.binaryOf(expression.operator, of(expression.left), of(expression.right));
    case 'concat':
      return evaluating.concatenation(compileAll(expression.parts));
    case 'attribute':
      return evaluating.attributeOf(of(expression.object), expression.name);
    case 'item':
      return evaluating.itemOf(of(expression.object), of(expression.key));
    case 'slice': {
      const { object, start, stop, step } = expression;
      return evaluating.sliceOf(of(object), compileBound(start), compileBound(stop), compileBound(step));
    }
    case 'call':
      return evaluating.callOf(of(expression.callee), compileArguments(expression.args));
    case 'filter':
      return evaluating.filterOf(expression.name, of(expression.operand), compileArguments(expression.args));
    case 'test':
      return evaluating.testOf(expression.name, of(expression.operand), compileArguments(expression.args));
  }
};
