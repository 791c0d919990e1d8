/** Expressions of templates, by the grammar and precedences of Jinja2 3.1; loosest binding first. */
import type { Arguments, BinaryOperator, CompareOperator, Expression, FilterCall } from './ast.js';
import {
  atEnd,
  calledAs,
  current,
  expectName,
  expectOperator,
  following,
  isOperator,
  isType,
  isWord,
  nested,
  shown,
  skipOperator,
  skipWord,
  syntax,
  take,
} from './cursor.js';
import type { Cursor } from './cursor.js';

interface TupleOptions {
  /** Default true: `a if b else c` may stand in it. */
  readonly conditional?: boolean;
  /** Words that it ends before. */
  readonly endWords?: ReadonlyArray<string>;
  /** Default false; true: it may be empty. */
  readonly parenthesised?: boolean;
  /** Default false; true: of names and constants alone, without operators. */
  readonly simplified?: boolean;
}

const noArguments: Arguments = { positional: [], named: [] };

const compareOperators: ReadonlySet<string> = new Set(['==', '!=', '<', '<=', '>', '>=']);

/** One expression; `conditional` false: none of the form `a if b`. */
export const expression = (c: Cursor, conditional = true): Expression =>
  nested(c, () => (conditional ? ternary(c) : or(c)));

const ternary = (c: Cursor): Expression => {
  let yes = or(c);
  while (skipWord(c, 'if')) {
    const test = or(c);
    if (skipWord(c, 'else')) yes = { type: 'conditional', test, yes, no: nested(c, () => ternary(c)) };
    else yes = { type: 'conditional', test, yes };
  }
  return yes;
};

const or = (c: Cursor): Expression => {
  let left = and(c);
  while (skipWord(c, 'or')) left = { type: 'or', left, right: and(c) };
  return left;
};

const and = (c: Cursor): Expression => {
  let left = not(c);
  while (skipWord(c, 'and')) left = { type: 'and', left, right: not(c) };
  return left;
};

const not = (c: Cursor): Expression =>
  skipWord(c, 'not') ? { type: 'not', operand: nested(c, () => not(c)) } : compare(c);

const compare = (c: Cursor): Expression => {
  const first = sum(c);
  const rest: { operator: CompareOperator; operand: Expression }[] = [];
  for (;;) {
    const { value } = current(c);
    if (isType(c, 'operator') && compareOperators.has(value)) {
      c.at++;
      rest.push({ operator: value as CompareOperator, operand: sum(c) });
    } else if (skipWord(c, 'in')) {
      rest.push({ operator: 'in', operand: sum(c) });
    } else if (isWord(c, 'not') && following(c)?.type === 'name' && following(c)?.value === 'in') {
      c.at += 2;
      rest.push({ operator: 'not in', operand: sum(c) });
    } else {
      return rest.length === 0 ? first : { type: 'compare', first, rest };
    }
  }
};

const binary = (c: Cursor, next: (c: Cursor) => Expression, operators: ReadonlyArray<BinaryOperator>): Expression => {
  let left = next(c);
  for (;;) {
    const operator = operators.find((value) => isOperator(c, value));
    if (operator === undefined) return left;
    c.at++;
    left = { type: 'binary', operator, left, right: next(c) };
  }
};

const sum = (c: Cursor): Expression => binary(c, concat, ['+', '-']);

const concat = (c: Cursor): Expression => {
  const parts = [product(c)];
  while (skipOperator(c, '~')) parts.push(product(c));
  const [only] = parts;
  return parts.length === 1 && only !== undefined ? only : { type: 'concat', parts };
};

const product = (c: Cursor): Expression => binary(c, power, ['*', '/', '//', '%']);

const power = (c: Cursor): Expression => binary(c, (here) => unary(here, true), ['**']);

const unary = (c: Cursor, withFilter: boolean): Expression =>
  nested(c, () => {
    let node: Expression;
    if (skipOperator(c, '-')) node = { type: 'negative', operand: unary(c, false) };
    else if (skipOperator(c, '+')) node = { type: 'positive', operand: unary(c, false) };
    else node = primary(c);
    node = postfix(c, node);
    return withFilter ? filters(c, node) : node;
  });

const primary = (c: Cursor): Expression => {
  const token = take(c);
  switch (token.type) {
    case 'name':
      switch (token.value) {
        case 'true':
        case 'True':
          return { type: 'constant', value: true };
        case 'false':
        case 'False':
          return { type: 'constant', value: false };
        case 'none':
        case 'None':
          return { type: 'constant', value: null };
        default:
          return { type: 'name', name: token.value };
      }
    case 'string': {
      let { value } = token;
      while (isType(c, 'string')) value += take(c).value;
      return { type: 'constant', value };
    }
    case 'integer': {
      const value = Number(token.value);
      if (!Number.isSafeInteger(value)) throw syntax(c, `integer ${token.value} is too large`, token.line);
      return { type: 'constant', value };
    }
    case 'float':
      return { type: 'float', value: Number(token.value) };
    case 'operator':
      if (token.value === '(') {
        const inner = tuple(c, { parenthesised: true });
        expectOperator(c, ')');
        return inner;
      }
      if (token.value === '[') {
        const items: Expression[] = [];
        while (!isOperator(c, ']')) {
          if (items.length > 0) expectOperator(c, ',');
          if (isOperator(c, ']')) break;
          items.push(expression(c));
        }
        expectOperator(c, ']');
        return { type: 'list', items };
      }
      if (token.value === '{') {
        const items: (readonly [Expression, Expression])[] = [];
        while (!isOperator(c, '}')) {
          if (items.length > 0) expectOperator(c, ',');
          if (isOperator(c, '}')) break;
          const key = expression(c);
          expectOperator(c, ':');
          items.push([key, expression(c)]);
        }
        expectOperator(c, '}');
        return { type: 'dict', items };
      }
      throw syntax(c, `unexpected '${token.value}'`, token.line);
    default:
      throw syntax(c, `unexpected ${calledAs(token)}`, token.line);
  }
};

const endsTuple = (c: Cursor, endWords: ReadonlyArray<string>): boolean =>
  atEnd(c) ||
  isType(c, 'variableEnd') ||
  isType(c, 'blockEnd') ||
  isOperator(c, ')') ||
  endWords.some((word) => isWord(c, word));

/** Expressions between commas as a tuple; one without a comma as it is. */
export const tuple = (c: Cursor, options: TupleOptions = {}): Expression => {
  const { conditional = true, endWords = [], parenthesised = false, simplified = false } = options;
  const one = (): Expression => (simplified ? nested(c, () => primary(c)) : expression(c, conditional));
  const items: Expression[] = [];
  let isTuple = false;
  for (;;) {
    if (items.length > 0) expectOperator(c, ',');
    if (endsTuple(c, endWords)) break;
    items.push(one());
    if (!isOperator(c, ',')) break;
    isTuple = true;
  }
  const [only] = items;
  if (!isTuple) {
    if (only !== undefined) return only;
    if (!parenthesised) throw syntax(c, `expected an expression, got ${shown(c, current(c))}`);
  }
  return { type: 'tuple', items };
};

const subscript = (c: Cursor, object: Expression): Expression => {
  const part = (): Expression => {
    if (isOperator(c, ':')) return slice();
    const start = expression(c);
    return isOperator(c, ':') ? slice(start) : { type: 'item', object, key: start };
  };
  const slice = (start?: Expression): Expression => {
    expectOperator(c, ':');
    let stop: Expression | undefined;
    let step: Expression | undefined;
    if (!isOperator(c, ':') && !isOperator(c, ']') && !isOperator(c, ',')) stop = expression(c);
    if (skipOperator(c, ':') && !isOperator(c, ']') && !isOperator(c, ',')) step = expression(c);
    return {
      type: 'slice',
      object,
      ...(start === undefined ? {} : { start }),
      ...(stop === undefined ? {} : { stop }),
      ...(step === undefined ? {} : { step }),
    };
  };
  const first = part();
  if (!isOperator(c, ',')) {
    expectOperator(c, ']');
    return first;
  }
  if (first.type !== 'item') throw syntax(c, 'slices of several dimensions are not supported');
  const keys = [first.key];
  while (skipOperator(c, ',')) {
    if (isOperator(c, ']')) break;
    keys.push(expression(c));
  }
  expectOperator(c, ']');
  return { type: 'item', object, key: { type: 'tuple', items: keys } };
};

const postfix = (c: Cursor, start: Expression): Expression => {
  let node = start;
  for (;;) {
    if (skipOperator(c, '.')) {
      const token = take(c);
      if (token.type === 'name') node = { type: 'attribute', object: node, name: token.value };
      else if (token.type === 'integer') {
        node = { type: 'item', object: node, key: { type: 'constant', value: Number(token.value) } };
      } else throw syntax(c, `expected a name or number behind '.', got ${shown(c, token)}`, token.line);
    } else if (skipOperator(c, '[')) {
      node = subscript(c, node);
    } else if (isOperator(c, '(')) {
      node = { type: 'call', callee: node, args: callArguments(c) };
    } else {
      return node;
    }
  }
};

const filters = (c: Cursor, start: Expression): Expression => {
  let node = start;
  for (;;) {
    if (isOperator(c, '|')) {
      for (const { name, args } of filterCalls(c)) node = { type: 'filter', name, operand: node, args };
    } else if (isWord(c, 'is')) {
      c.at++;
      node = test(c, node);
    } else if (isOperator(c, '(')) {
      node = { type: 'call', callee: node, args: callArguments(c) };
    } else {
      return node;
    }
  }
};

const dottedName = (c: Cursor): string => {
  let name = expectName(c);
  while (skipOperator(c, '.')) name += `.${expectName(c)}`;
  return name;
};

/** `| name(args) | …`; for block filters the first bar is left out. */
export const filterCalls = (c: Cursor, startsInline = false): ReadonlyArray<FilterCall> => {
  const calls: FilterCall[] = [];
  while (startsInline || skipOperator(c, '|')) {
    startsInline = false;
    const name = dottedName(c);
    calls.push({ name, args: isOperator(c, '(') ? callArguments(c) : noArguments });
  }
  return calls;
};

const test = (c: Cursor, operand: Expression): Expression => {
  const negated = skipWord(c, 'not');
  const name = dottedName(c);
  let args = noArguments;
  if (isOperator(c, '(')) {
    args = callArguments(c);
  } else if (
    (isType(c, 'name') ||
      isType(c, 'string') ||
      isType(c, 'integer') ||
      isType(c, 'float') ||
      isOperator(c, '[') ||
      isOperator(c, '{')) &&
    !isWord(c, 'else') &&
    !isWord(c, 'or') &&
    !isWord(c, 'and')
  ) {
    if (isWord(c, 'is')) throw syntax(c, 'You cannot chain multiple tests with is');
    args = { positional: [postfix(c, primary(c))], named: [] };
  }
  const node: Expression = { type: 'test', name, operand, args };
  return negated ? { type: 'not', operand: node } : node;
};

const callArguments = (c: Cursor): Arguments => {
  expectOperator(c, '(');
  const positional: Expression[] = [];
  const named: (readonly [string, Expression])[] = [];
  let spread: Expression | undefined;
  let namedSpread: Expression | undefined;
  let first = true;
  const ordered = (allowed: boolean): void => {
    if (!allowed) throw syntax(c, 'invalid syntax for function call expression');
  };
  while (!isOperator(c, ')')) {
    if (!first) {
      expectOperator(c, ',');
      if (isOperator(c, ')')) break;
    }
    first = false;
    const next = following(c);
    if (skipOperator(c, '*')) {
      ordered(spread === undefined && namedSpread === undefined);
      spread = expression(c);
    } else if (skipOperator(c, '**')) {
      ordered(namedSpread === undefined);
      namedSpread = expression(c);
    } else if (isType(c, 'name') && next?.type === 'operator' && next.value === '=') {
      ordered(namedSpread === undefined);
      const name = expectName(c);
      c.at++;
      named.push([name, expression(c)]);
    } else {
      ordered(spread === undefined && namedSpread === undefined && named.length === 0);
      positional.push(expression(c));
    }
  }
  expectOperator(c, ')');
  return {
    positional,
    named,
    ...(spread === undefined ? {} : { spread }),
    ...(namedSpread === undefined ? {} : { namedSpread }),
  };
};
