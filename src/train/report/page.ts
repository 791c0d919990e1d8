/** A whole page about a run: data in, one HTML document out. The same page stands alone or follows a run that goes on. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { moduleUrl } from '../../moduleUrl.js';
import { packageFolder } from '../packageFolder.js';
import { html, type Markup } from './markup.js';
import { bytes, clock, nearest, short, smooth, thinned, ticks } from './numbers.js';
import { style } from './style.js';

const shared = { ticks, short, bytes, clock, smooth, nearest, thinned };

let made: string | undefined;

/** What client.js imports stands before it as text, so that the page is whole by itself. */
const withoutImports = (source: string): string =>
  source.replace(/^import .*;$/m, '').replace(/^\/\/# sourceMappingURL=.*$/m, '');

const clientFile = (): string | URL => {
  const folder = packageFolder();
  return folder === undefined
    ? new URL('./client.js', moduleUrl(import.meta))
    : join(folder.code, 'train', 'report', 'client.js');
};

/** The page's script: the functions of numbers.ts as they are, then client.js. */
export const script = (): string => {
  made ??= [
    ...Object.entries(shared).map(([name, own]) => `const ${name} = ${own.toString()};`),
    withoutImports(readFileSync(clientFile(), 'utf8')),
  ].join('\n');
  return made;
};

const hashOf = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** What the page may do: run its own script, use its own style, and, when it is live, listen to where it came from. */
export const contentPolicy = (live: boolean): string =>
  [
    "default-src 'none'",
    `script-src ${hashOf(script())}`,
    `style-src ${hashOf(style)}`,
    `connect-src ${live ? "'self'" : "'none'"}`,
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');

/** JSON as it may stand in a script element: nothing in it ends the element or begins a comment. */
const jsonInHtml = (value: unknown): string =>
  JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** The document. `data` is a run's record, with `live` set where news will come. */
export const page = (title: string, data: object, { live }: { readonly live: boolean }): string => {
  const raw = (markup: string): Markup => ({ markup });
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta http-equiv="Content-Security-Policy" content="${contentPolicy(live)}"><meta name="referrer" content="no-referrer"><title>${title}</title><link rel="icon" href="data:,"><style>${raw(style)}</style></head>
<body><main id="app"><h1>${title}</h1><noscript><p>The curves are drawn by this page’s own script, which is switched off here.</p></noscript></main>
<script type="application/json" id="run">${raw(jsonInHtml({ ...data, live }))}</script>
<script type="module">${raw(script())}</script>
</body></html>
`.markup;
};
