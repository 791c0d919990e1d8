/** Jinja2's parser: the grammar of version 3.1 with the loop controls and transformers' generation block. */
import type { Body } from './ast.js';
import { cursorOf } from './cursor.js';
import { lex } from './lexer.js';
import { statements } from './statements.js';

/** The template's tree, or a TemplateError with code E_TEMPLATE_SYNTAX. */
export const parse = (template: string): Body => statements(cursorOf(lex(template)), []);
