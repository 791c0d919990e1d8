import type ts from 'typescript';

/** The path of docs/reference.md. */
export const page: string;

/** The sources of what can be imported: `rxtune/data`, `rxtune`, `rxtune/laws`. */
export const entries: ReadonlyArray<string>;

/** The sources behind the entries, with their types. */
export const programOf: () => ts.Program;

/** What docs/reference.md is to be, of such a program. */
export const referenceOf: (program: ts.Program) => string;
