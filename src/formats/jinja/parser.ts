/** Jinja2's parser (grammar and precedences of version 3.1) with the loop controls and transformers' generation block. */
import type {
  Arguments,
  BinaryOperator,
  Body,
  CompareOperator,
  Expression,
  FilterCall,
  Parameter,
  Statement,
  Target,
} from './ast.js';
import { lex, type Token } from './lexer.js';
import { TemplateError } from './templateError.js';

const noArguments: Arguments = { positional: [], named: [] };
const deepest = 200;

const compareOperators: ReadonlySet<string> = new Set(['==', '!=', '<', '<=', '>', '>=']);
const statementWords = new Set([
  'for',
  'if',
  'block',
  'extends',
  'print',
  'macro',
  'include',
  'from',
  'import',
  'set',
  'with',
  'autoescape',
  'call',
  'filter',
  'generation',
  'break',
  'continue',
]);

interface TupleOptions {
  readonly conditional?: boolean;
  readonly endWords?: ReadonlyArray<string>;
  readonly parenthesised?: boolean;
  readonly simplified?: boolean;
}

/** The template's tree, or a TemplateError with code E_TEMPLATE_SYNTAX. */
export const parse = (template: string): Body => {
  const tokens = lex(template);
  let at = 0;
  let depth = 0;
  let loops = 0;

  const end: Token = { type: 'data', value: '', line: tokens.at(-1)?.line ?? 1 };
  const atEnd = (): boolean => at >= tokens.length;
  const current = (): Token => tokens[at] ?? end;
  const syntax = (message: string, line = current().line): TemplateError =>
    new TemplateError('E_TEMPLATE_SYNTAX', message, line);
  const shown = (token: Token): string =>
    atEnd() ? 'end of template' : token.value === '' ? token.type : `'${token.value}'`;
  const take = (): Token => {
    const token = current();
    if (atEnd()) throw syntax('unexpected end of template');
    at++;
    return token;
  };
  const isOperator = (value: string): boolean => !atEnd() && current().type === 'operator' && current().value === value;
  const isWord = (value: string): boolean => !atEnd() && current().type === 'name' && current().value === value;
  const isType = (type: Token['type']): boolean => !atEnd() && current().type === type;
  const skipOperator = (value: string): boolean => {
    const found = isOperator(value);
    if (found) at++;
    return found;
  };
  const skipWord = (value: string): boolean => {
    const found = isWord(value);
    if (found) at++;
    return found;
  };
  const expectOperator = (value: string): void => {
    if (!skipOperator(value)) throw syntax(`expected '${value}', got ${shown(current())}`);
  };
  const expectWord = (value: string): void => {
    if (!skipWord(value)) throw syntax(`expected '${value}', got ${shown(current())}`);
  };
  const expectName = (): string => {
    if (!isType('name')) throw syntax(`expected a name, got ${shown(current())}`);
    return take().value;
  };
  const expectBlockEnd = (): void => {
    if (!isType('blockEnd')) throw syntax(`expected the end of the block, got ${shown(current())}`);
    at++;
  };
  const nested = <A>(parseInner: () => A): A => {
    if (++depth > deepest) throw syntax(`nested deeper than ${deepest}`);
    const result = parseInner();
    depth--;
    return result;
  };

  // Expressions, loosest binding first.
  const expression = (conditional = true): Expression => nested(() => (conditional ? ternary() : or()));

  const ternary = (): Expression => {
    let yes = or();
    while (skipWord('if')) {
      const test = or();
      if (skipWord('else')) yes = { type: 'conditional', test, yes, no: nested(ternary) };
      else yes = { type: 'conditional', test, yes };
    }
    return yes;
  };

  const or = (): Expression => {
    let left = and();
    while (skipWord('or')) left = { type: 'or', left, right: and() };
    return left;
  };

  const and = (): Expression => {
    let left = not();
    while (skipWord('and')) left = { type: 'and', left, right: not() };
    return left;
  };

  const not = (): Expression => (skipWord('not') ? { type: 'not', operand: nested(not) } : compare());

  const compare = (): Expression => {
    const first = sum();
    const rest: { operator: CompareOperator; operand: Expression }[] = [];
    for (;;) {
      const { value } = current();
      if (isType('operator') && compareOperators.has(value)) {
        at++;
        rest.push({ operator: value as CompareOperator, operand: sum() });
      } else if (skipWord('in')) {
        rest.push({ operator: 'in', operand: sum() });
      } else if (isWord('not') && tokens[at + 1]?.type === 'name' && tokens[at + 1]?.value === 'in') {
        at += 2;
        rest.push({ operator: 'not in', operand: sum() });
      } else {
        return rest.length === 0 ? first : { type: 'compare', first, rest };
      }
    }
  };

  const binary = (next: () => Expression, operators: ReadonlyArray<BinaryOperator>): Expression => {
    let left = next();
    for (;;) {
      const operator = operators.find(isOperator);
      if (operator === undefined) return left;
      at++;
      left = { type: 'binary', operator, left, right: next() };
    }
  };

  const sum = (): Expression => binary(concat, ['+', '-']);

  const concat = (): Expression => {
    const parts = [product()];
    while (skipOperator('~')) parts.push(product());
    const [only] = parts;
    return parts.length === 1 && only !== undefined ? only : { type: 'concat', parts };
  };

  const product = (): Expression => binary(power, ['*', '/', '//', '%']);

  const power = (): Expression => binary(() => unary(true), ['**']);

  const unary = (withFilter: boolean): Expression =>
    nested(() => {
      let node: Expression;
      if (skipOperator('-')) node = { type: 'negative', operand: unary(false) };
      else if (skipOperator('+')) node = { type: 'positive', operand: unary(false) };
      else node = primary();
      node = postfix(node);
      return withFilter ? filters(node) : node;
    });

  const primary = (): Expression => {
    const token = take();
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
        while (isType('string')) value += take().value;
        return { type: 'constant', value };
      }
      case 'integer': {
        const value = Number(token.value);
        if (!Number.isSafeInteger(value)) throw syntax(`integer ${token.value} is too large`, token.line);
        return { type: 'constant', value };
      }
      case 'float':
        return { type: 'float', value: Number(token.value) };
      case 'operator':
        if (token.value === '(') {
          const inner = tuple({ parenthesised: true });
          expectOperator(')');
          return inner;
        }
        if (token.value === '[') {
          const items: Expression[] = [];
          while (!isOperator(']')) {
            if (items.length > 0) expectOperator(',');
            if (isOperator(']')) break;
            items.push(expression());
          }
          expectOperator(']');
          return { type: 'list', items };
        }
        if (token.value === '{') {
          const items: (readonly [Expression, Expression])[] = [];
          while (!isOperator('}')) {
            if (items.length > 0) expectOperator(',');
            if (isOperator('}')) break;
            const key = expression();
            expectOperator(':');
            items.push([key, expression()]);
          }
          expectOperator('}');
          return { type: 'dict', items };
        }
        throw syntax(`unexpected '${token.value}'`, token.line);
      default:
        throw syntax(`unexpected ${token.type}`, token.line);
    }
  };

  const endsTuple = (endWords: ReadonlyArray<string>): boolean =>
    atEnd() || isType('variableEnd') || isType('blockEnd') || isOperator(')') || endWords.some(isWord);

  const tuple = (options: TupleOptions = {}): Expression => {
    const { conditional = true, endWords = [], parenthesised = false, simplified = false } = options;
    const one = (): Expression => (simplified ? nested(primary) : expression(conditional));
    const items: Expression[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length > 0) expectOperator(',');
      if (endsTuple(endWords)) break;
      items.push(one());
      if (!isOperator(',')) break;
      isTuple = true;
    }
    const [only] = items;
    if (!isTuple) {
      if (only !== undefined) return only;
      if (!parenthesised) throw syntax(`expected an expression, got ${shown(current())}`);
    }
    return { type: 'tuple', items };
  };

  const subscript = (object: Expression): Expression => {
    const part = (): Expression => {
      if (isOperator(':')) return slice();
      const start = expression();
      return isOperator(':') ? slice(start) : { type: 'item', object, key: start };
    };
    const slice = (start?: Expression): Expression => {
      expectOperator(':');
      let stop: Expression | undefined;
      let step: Expression | undefined;
      if (!isOperator(':') && !isOperator(']') && !isOperator(',')) stop = expression();
      if (skipOperator(':') && !isOperator(']') && !isOperator(',')) step = expression();
      return {
        type: 'slice',
        object,
        ...(start === undefined ? {} : { start }),
        ...(stop === undefined ? {} : { stop }),
        ...(step === undefined ? {} : { step }),
      };
    };
    const first = part();
    if (!isOperator(',')) {
      expectOperator(']');
      return first;
    }
    if (first.type !== 'item') throw syntax('slices of several dimensions are not supported');
    const keys = [first.key];
    while (skipOperator(',')) {
      if (isOperator(']')) break;
      keys.push(expression());
    }
    expectOperator(']');
    return { type: 'item', object, key: { type: 'tuple', items: keys } };
  };

  const postfix = (start: Expression): Expression => {
    let node = start;
    for (;;) {
      if (skipOperator('.')) {
        const token = take();
        if (token.type === 'name') node = { type: 'attribute', object: node, name: token.value };
        else if (token.type === 'integer') {
          node = { type: 'item', object: node, key: { type: 'constant', value: Number(token.value) } };
        } else throw syntax(`expected a name or number behind '.', got ${shown(token)}`, token.line);
      } else if (skipOperator('[')) {
        node = subscript(node);
      } else if (isOperator('(')) {
        node = { type: 'call', callee: node, args: callArguments() };
      } else {
        return node;
      }
    }
  };

  const filters = (start: Expression): Expression => {
    let node = start;
    for (;;) {
      if (isOperator('|')) {
        for (const { name, args } of filterCalls()) node = { type: 'filter', name, operand: node, args };
      } else if (isWord('is')) {
        at++;
        node = test(node);
      } else if (isOperator('(')) {
        node = { type: 'call', callee: node, args: callArguments() };
      } else {
        return node;
      }
    }
  };

  const dottedName = (): string => {
    let name = expectName();
    while (skipOperator('.')) name += `.${expectName()}`;
    return name;
  };

  /** `| name(args) | …`; for block filters the first bar is left out. */
  const filterCalls = (startsInline = false): ReadonlyArray<FilterCall> => {
    const calls: FilterCall[] = [];
    while (startsInline || skipOperator('|')) {
      startsInline = false;
      const name = dottedName();
      calls.push({ name, args: isOperator('(') ? callArguments() : noArguments });
    }
    return calls;
  };

  const test = (operand: Expression): Expression => {
    const negated = skipWord('not');
    const name = dottedName();
    let args = noArguments;
    if (isOperator('(')) {
      args = callArguments();
    } else if (
      (isType('name') ||
        isType('string') ||
        isType('integer') ||
        isType('float') ||
        isOperator('[') ||
        isOperator('{')) &&
      !isWord('else') &&
      !isWord('or') &&
      !isWord('and')
    ) {
      if (isWord('is')) throw syntax('You cannot chain multiple tests with is');
      args = { positional: [postfix(primary())], named: [] };
    }
    const node: Expression = { type: 'test', name, operand, args };
    return negated ? { type: 'not', operand: node } : node;
  };

  const callArguments = (): Arguments => {
    expectOperator('(');
    const positional: Expression[] = [];
    const named: (readonly [string, Expression])[] = [];
    let spread: Expression | undefined;
    let namedSpread: Expression | undefined;
    let first = true;
    const ordered = (allowed: boolean): void => {
      if (!allowed) throw syntax('invalid syntax for function call expression');
    };
    while (!isOperator(')')) {
      if (!first) {
        expectOperator(',');
        if (isOperator(')')) break;
      }
      first = false;
      const following = tokens[at + 1];
      if (skipOperator('*')) {
        ordered(spread === undefined && namedSpread === undefined);
        spread = expression();
      } else if (skipOperator('**')) {
        ordered(namedSpread === undefined);
        namedSpread = expression();
      } else if (isType('name') && following?.type === 'operator' && following.value === '=') {
        ordered(namedSpread === undefined);
        const name = expectName();
        at++;
        named.push([name, expression()]);
      } else {
        ordered(spread === undefined && namedSpread === undefined && named.length === 0);
        positional.push(expression());
      }
    }
    expectOperator(')');
    return {
      positional,
      named,
      ...(spread === undefined ? {} : { spread }),
      ...(namedSpread === undefined ? {} : { namedSpread }),
    };
  };

  const constants = new Set(['true', 'false', 'none', 'True', 'False', 'None']);

  const assignable = (node: Expression): Target => {
    if (node.type === 'name') return { type: 'name', name: node.name };
    if (node.type === 'tuple') return { type: 'tuple', items: node.items.map(assignable) };
    throw syntax("can't assign to this");
  };

  const target = (withNamespace: boolean, endWords: ReadonlyArray<string> = []): Target => {
    const dot = tokens[at + 1];
    if (withNamespace && isType('name') && dot?.type === 'operator' && dot.value === '.') {
      const name = expectName();
      at++;
      return { type: 'namespace', name, attribute: expectName() };
    }
    if (isType('name') && constants.has(current().value)) throw syntax(`can't assign to '${current().value}'`);
    return assignable(tuple({ simplified: true, endWords }));
  };

  const parameters = (): ReadonlyArray<Parameter> => {
    const result: Parameter[] = [];
    expectOperator('(');
    while (!isOperator(')')) {
      if (result.length > 0) expectOperator(',');
      if (isOperator(')')) break;
      const name = expectName();
      if (skipOperator('=')) result.push({ name, standard: expression() });
      else if (result.some(({ standard }) => standard !== undefined)) {
        throw syntax('non-default argument follows default argument');
      } else result.push({ name });
    }
    expectOperator(')');
    return result;
  };

  /** Everything up to a block that begins with one of the words; that word is the current token then. */
  const body = (endWords: ReadonlyArray<string>, opener: string, line: number): Body => {
    expectBlockEnd();
    return nested(() => statements(endWords, opener, line));
  };

  const closeBlock = (word: string): void => {
    expectWord(word);
    expectBlockEnd();
  };

  const ifStatement = (line: number): Statement => {
    const branches: { test: Expression; body: Body }[] = [];
    const words = ['elif', 'else', 'endif'];
    do {
      const condition = tuple({ conditional: false });
      branches.push({ test: condition, body: body(words, 'if', line) });
    } while (skipWord('elif'));
    const otherwise = skipWord('else') ? body(['endif'], 'if', line) : [];
    closeBlock('endif');
    return { type: 'if', branches, otherwise, line };
  };

  const forStatement = (line: number): Statement => {
    const loopTarget = target(false, ['in']);
    expectWord('in');
    const iterable = tuple({ conditional: false, endWords: ['recursive'] });
    const condition = skipWord('if') ? expression() : undefined;
    const recursive = skipWord('recursive');
    loops++;
    const inner = body(['endfor', 'else'], 'for', line);
    loops--;
    const otherwise = skipWord('else') ? body(['endfor'], 'for', line) : [];
    closeBlock('endfor');
    return {
      type: 'for',
      target: loopTarget,
      iterable,
      ...(condition === undefined ? {} : { test: condition }),
      recursive,
      body: inner,
      otherwise,
      line,
    };
  };

  const setStatement = (line: number): Statement => {
    const assigned = target(true);
    if (skipOperator('=')) {
      const value = tuple();
      expectBlockEnd();
      return { type: 'set', target: assigned, value, line };
    }
    const calls = filterCalls();
    const inner = body(['endset'], 'set', line);
    closeBlock('endset');
    return { type: 'setBlock', target: assigned, filters: calls, body: inner, line };
  };

  const withStatement = (line: number): Statement => {
    const bindings: (readonly [Target, Expression])[] = [];
    while (!isType('blockEnd')) {
      if (bindings.length > 0) expectOperator(',');
      const bound = target(false);
      expectOperator('=');
      bindings.push([bound, expression()]);
    }
    const inner = body(['endwith'], 'with', line);
    closeBlock('endwith');
    return { type: 'with', bindings, body: inner, line };
  };

  const statement = (): ReadonlyArray<Statement> => {
    const { line } = current();
    if (!isType('name')) throw syntax(`expected the name of a block, got ${shown(current())}`);
    const word = take().value;
    switch (word) {
      case 'if':
        return [ifStatement(line)];
      case 'for':
        return [forStatement(line)];
      case 'set':
        return [setStatement(line)];
      case 'with':
        return [withStatement(line)];
      case 'macro': {
        const name = expectName();
        const declared = parameters();
        const inner = body(['endmacro'], 'macro', line);
        closeBlock('endmacro');
        return [{ type: 'macro', name, parameters: declared, body: inner, line }];
      }
      case 'call': {
        const declared = isOperator('(') ? parameters() : [];
        const call = expression();
        if (call.type !== 'call') throw syntax('expected call', line);
        const inner = body(['endcall'], 'call', line);
        closeBlock('endcall');
        return [{ type: 'callBlock', call, parameters: declared, body: inner, line }];
      }
      case 'filter': {
        const calls = filterCalls(true);
        const inner = body(['endfilter'], 'filter', line);
        closeBlock('endfilter');
        return [{ type: 'filterBlock', filters: calls, body: inner, line }];
      }
      case 'generation': {
        const inner = body(['endgeneration'], 'generation', line);
        closeBlock('endgeneration');
        return [{ type: 'generation', body: inner, line }];
      }
      case 'print': {
        const printed: Statement[] = [];
        do printed.push({ type: 'output', value: expression(), line });
        while (skipOperator(','));
        expectBlockEnd();
        return printed;
      }
      case 'break':
      case 'continue':
        if (loops === 0) throw syntax(`'${word}' outside of a loop`, line);
        expectBlockEnd();
        return [{ type: word, line }];
      case 'autoescape': {
        // Whatever it says: text is not HTML here.
        expression();
        const inner = body(['endautoescape'], 'autoescape', line);
        closeBlock('endautoescape');
        return [{ type: 'with', bindings: [], body: inner, line }];
      }
      case 'block': {
        const name = expectName();
        while (isType('name')) at++;
        const inner = body(['endblock'], 'block', line);
        expectWord('endblock');
        if (isWord(name)) at++;
        expectBlockEnd();
        return [{ type: 'with', bindings: [], body: inner, line }];
      }
      default:
        throw syntax(
          statementWords.has(word) ? `'${word}' needs other templates; there are none` : `unknown block '${word}'`,
          line,
        );
    }
  };

  const statements = (endWords: ReadonlyArray<string>, opener?: string, openLine?: number): Body => {
    const result: Statement[] = [];
    while (!atEnd()) {
      const token = take();
      if (token.type === 'data') {
        result.push({ type: 'data', text: token.value, line: token.line });
      } else if (token.type === 'variableBegin') {
        const value = tuple();
        if (!isType('variableEnd')) throw syntax(`expected the end of the expression, got ${shown(current())}`);
        at++;
        result.push({ type: 'output', value, line: token.line });
      } else if (token.type === 'blockBegin') {
        if (endWords.some(isWord)) return result;
        result.push(...statement());
      } else {
        throw syntax(`unexpected ${token.type}`, token.line);
      }
    }
    if (opener !== undefined) throw syntax(`'${opener}' of line ${openLine ?? 0} is never closed`);
    return result;
  };

  return statements([]);
};
