/** Syntax trees of templates: Jinja2's node types, those that chat templates can use. */

export type Expression =
  | { readonly type: 'constant'; readonly value: string | number | boolean | null }
  | { readonly type: 'float'; readonly value: number }
  | { readonly type: 'name'; readonly name: string }
  | { readonly type: 'list' | 'tuple'; readonly items: ReadonlyArray<Expression> }
  | { readonly type: 'dict'; readonly items: ReadonlyArray<readonly [Expression, Expression]> }
  | { readonly type: 'conditional'; readonly test: Expression; readonly yes: Expression; readonly no?: Expression }
  | { readonly type: 'and' | 'or'; readonly left: Expression; readonly right: Expression }
  | { readonly type: 'not' | 'negative' | 'positive'; readonly operand: Expression }
  | {
      readonly type: 'compare';
      readonly first: Expression;
      readonly rest: ReadonlyArray<{ readonly operator: CompareOperator; readonly operand: Expression }>;
    }
  | {
      readonly type: 'binary';
      readonly operator: BinaryOperator;
      readonly left: Expression;
      readonly right: Expression;
    }
  | { readonly type: 'concat'; readonly parts: ReadonlyArray<Expression> }
  | { readonly type: 'attribute'; readonly object: Expression; readonly name: string }
  | { readonly type: 'item'; readonly object: Expression; readonly key: Expression }
  | {
      readonly type: 'slice';
      readonly object: Expression;
      readonly start?: Expression;
      readonly stop?: Expression;
      readonly step?: Expression;
    }
  | { readonly type: 'call'; readonly callee: Expression; readonly args: Arguments }
  | { readonly type: 'filter'; readonly name: string; readonly operand: Expression; readonly args: Arguments }
  | { readonly type: 'test'; readonly name: string; readonly operand: Expression; readonly args: Arguments };

export type CompareOperator = '==' | '!=' | '<' | '<=' | '>' | '>=' | 'in' | 'not in';
export type BinaryOperator = '+' | '-' | '*' | '/' | '//' | '%' | '**';

export interface Arguments {
  readonly positional: ReadonlyArray<Expression>;
  readonly named: ReadonlyArray<readonly [string, Expression]>;
  readonly spread?: Expression;
  readonly namedSpread?: Expression;
}

export type Target =
  | { readonly type: 'name'; readonly name: string }
  | { readonly type: 'namespace'; readonly name: string; readonly attribute: string }
  | { readonly type: 'tuple'; readonly items: ReadonlyArray<Target> };

export interface Parameter {
  readonly name: string;
  readonly standard?: Expression;
}

/** A filter applied to a whole block; `name` and arguments, outermost last. */
export interface FilterCall {
  readonly name: string;
  readonly args: Arguments;
}

export type Statement = { readonly line: number } & (
  | { readonly type: 'data'; readonly text: string }
  | { readonly type: 'output'; readonly value: Expression }
  | {
      readonly type: 'if';
      readonly branches: ReadonlyArray<{ readonly test: Expression; readonly body: Body }>;
      readonly otherwise: Body;
    }
  | {
      readonly type: 'for';
      readonly target: Target;
      readonly iterable: Expression;
      readonly test?: Expression;
      readonly recursive: boolean;
      readonly body: Body;
      readonly otherwise: Body;
    }
  | { readonly type: 'set'; readonly target: Target; readonly value: Expression }
  | {
      readonly type: 'setBlock';
      readonly target: Target;
      readonly filters: ReadonlyArray<FilterCall>;
      readonly body: Body;
    }
  | {
      readonly type: 'macro';
      readonly name: string;
      readonly parameters: ReadonlyArray<Parameter>;
      readonly body: Body;
    }
  | {
      readonly type: 'callBlock';
      readonly call: Expression;
      readonly parameters: ReadonlyArray<Parameter>;
      readonly body: Body;
    }
  | { readonly type: 'filterBlock'; readonly filters: ReadonlyArray<FilterCall>; readonly body: Body }
  | { readonly type: 'with'; readonly bindings: ReadonlyArray<readonly [Target, Expression]>; readonly body: Body }
  | { readonly type: 'generation'; readonly body: Body }
  | { readonly type: 'break' | 'continue' }
);

export type Body = ReadonlyArray<Statement>;
