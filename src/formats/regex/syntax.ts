/** JavaScript's regular expressions as trees, as far as they can be matched in time that grows with the text alone. */
export type Syntax =
  /** One character, of those that `source` stands for; `code` where there is but one. */
  | { readonly kind: 'set'; readonly source: string; readonly code?: number }
  | { readonly kind: 'sequence'; readonly parts: ReadonlyArray<Syntax> }
  | { readonly kind: 'choice'; readonly options: ReadonlyArray<Syntax> }
  | {
      readonly kind: 'repeat';
      readonly body: Syntax;
      readonly min: number;
      readonly max: number;
      readonly lazy: boolean;
    }
  | { readonly kind: 'look'; readonly body: Syntax; readonly ahead: boolean; readonly negated: boolean }
  | { readonly kind: 'border'; readonly at: 'start' | 'end' | 'word' | 'insideWord' };

/** The part of `Syntax` of this kind. */
export type SyntaxOf<K extends Syntax['kind']> = Syntax & { readonly kind: K };

/** Whether it matches the empty text somewhere. */
export const nullable = (syntax: Syntax): boolean => {
  switch (syntax.kind) {
    case 'set':
      return false;
    case 'sequence':
      return syntax.parts.every(nullable);
    case 'choice':
      return syntax.options.some(nullable);
    case 'repeat':
      return syntax.min === 0 || nullable(syntax.body);
    case 'look':
    case 'border':
      return true;
  }
};
