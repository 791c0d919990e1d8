import type ts from 'typescript';

/** The path of docs/reference.md. */
export const page: string;

/** What docs/reference.md is to be, of a program with the three entries among its roots. */
export const referenceOf: (program: ts.Program) => string;
