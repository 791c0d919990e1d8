/** Text that is already HTML. Only `html` and `join` make it, so whatever else is put into a page has been escaped. */
export interface Markup {
  readonly markup: string;
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text with everything that HTML could read as markup replaced by entities; control characters become U+FFFD. */
export const escape = (text: string): string =>
  text
    .replace(/[&<>"']/g, (character) => entities[character] ?? character)
    // eslint-disable-next-line no-control-regex -- control characters are what is looked for
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g, '\ufffd');

export const join = (parts: ReadonlyArray<Markup>, between = ''): Markup => ({
  markup: parts.map(({ markup }) => markup).join(between),
});

/** A template whose holes are escaped, unless they hold markup already. */
export const html = (parts: TemplateStringsArray, ...holes: ReadonlyArray<string | number | Markup>): Markup => ({
  markup: parts.reduce((text, part, i) => {
    const hole = holes[i - 1] ?? '';
    return text + (typeof hole === 'object' ? hole.markup : escape(String(hole))) + part;
  }),
});

export const nothing: Markup = { markup: '' };
