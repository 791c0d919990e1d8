/** Expressions of templates as trees: what binds tighter, and where the parser stands afterwards. */
import { describe, expect, test } from '@jest/globals';
import type { Expression } from '../../src/formats/jinja/ast.js';
import { cursorOf, isType, take } from '../../src/formats/jinja/cursor.js';
import { expression } from '../../src/formats/jinja/expressions.js';
import { lex } from '../../src/formats/jinja/lexer.js';

/** The tree with a pair of parentheses for each operation. */
const shown = (node: Expression): string => {
  switch (node.type) {
    case 'name':
      return node.name;
    case 'constant':
      return String(node.value);
    case 'binary':
      return `(${shown(node.left)} ${node.operator} ${shown(node.right)})`;
    case 'and':
    case 'or':
      return `(${shown(node.left)} ${node.type} ${shown(node.right)})`;
    case 'not':
    case 'negative':
      return `(${node.type} ${shown(node.operand)})`;
    case 'concat':
      return `(${node.parts.map(shown).join(' ~ ')})`;
    case 'compare':
      return `(${[shown(node.first), ...node.rest.map(({ operator, operand }) => `${operator} ${shown(operand)}`)].join(' ')})`;
    case 'filter':
      return `(${shown(node.operand)} | ${node.name})`;
    case 'attribute':
      return `${shown(node.object)}.${node.name}`;
    case 'conditional':
      return `(${shown(node.yes)} if ${shown(node.test)} else ${node.no === undefined ? '' : shown(node.no)})`;
    default:
      return node.type;
  }
};

const read = (text: string) => {
  const cursor = cursorOf(lex(`{{ ${text} }}`));
  take(cursor);
  return { tree: shown(expression(cursor)), atEnd: isType(cursor, 'variableEnd'), depth: cursor.depth };
};

describe('an expression', () => {
  test.each([
    ['a + b * c', '(a + (b * c))'],
    ['a - b - c', '((a - b) - c)'],
    ['a ~ b + c', '((a ~ b) + c)'],
    ['a ** b ** c', '((a ** b) ** c)'],
    ['not a in b', '(not (a in b))'],
    ['a not in b', '(a not in b)'],
    ['a or b and c', '(a or (b and c))'],
    ['-a.b | f', '((negative a.b) | f)'],
    ['a + b | f', '(a + (b | f))'],
    ['1 < a < 3', '(1 < a < 3)'],
    ['a if b else c if d else e', '(a if b else (c if d else e))'],
  ])('%s is %s', (text, tree) => {
    expect(read(text)).toEqual({ tree, atEnd: true, depth: 0 });
  });
});
