/** Filters that give texts. */
import { bind, type Filter, type FilterTable, integerOr, keeping, onText } from './filter.js';
import { type JsonOptions, toJson } from './json.js';
import { added, escaped, escapedAnew, likewiseText, markup } from './markup.js';
import { binary } from './operations.js';
import { repr, str } from './print.js';
import { capitalize, splitLines, strip } from './textMethods.js';
import {
  characters,
  codePointLength,
  concat,
  cut,
  isText,
  join,
  plain,
  repeat,
  replace,
  respelled,
  unmarked,
} from './traced.js';
import { isDict, isSequence, truthy, tuple, type Value } from './values.js';
import { withoutTags } from './withoutTags.js';

const indent: Filter = (value, positional, named) => {
  const [width = 4, first = false, blank = false] = bind(['width', 'first', 'blank'], positional, named);
  const indention = isText(width) ? width : repeat(' ', integerOr(width, 4));
  const lines = splitLines(concat(str(value), '\n'), false);
  const rest = lines.map((line, i) =>
    i === 0 || (plain(line) === '' && !truthy(blank)) ? line : concat(indention, line),
  );
  const body = join('\n', rest);
  return truthy(first) ? concat(indention, body) : body;
};

const truncate: Filter = (value, positional, named) => {
  const [lengthValue, killWords = false, end = '...', leewayValue] = bind(
    ['length', 'killwords', 'end', 'leeway'],
    positional,
    named,
  );
  const text = str(value);
  const length = integerOr(lengthValue, 255);
  const ending = str(end);
  if (codePointLength(text) <= length + integerOr(leewayValue, 5)) return text;
  const wanted = Math.max(0, length - codePointLength(ending));
  // A character is two UTF-16 units at most.
  const kept = characters(cut(text, 0, 2 * wanted)).slice(0, wanted);
  const head = concat(...kept);
  if (truthy(killWords)) return added(likewiseText(value, head), ending);
  const at = plain(head).lastIndexOf(' ');
  return added(likewiseText(value, at < 0 ? head : cut(head, 0, at)), ending);
};

const title: Filter = (value) => {
  const text = str(value);
  const parts = plain(text).split(/([-\s({[<]+)/);
  return respelled(text, parts.map((part) => part.slice(0, 1).toUpperCase() + part.slice(1).toLowerCase()).join(''));
};

const json: Filter = (value, positional, named) => {
  const [ensureAscii = false, indentValue = null, separators = null, sortKeys = false] = bind(
    ['ensure_ascii', 'indent', 'separators', 'sort_keys'],
    positional,
    named,
  );
  const indentText =
    indentValue === null
      ? undefined
      : isText(indentValue)
        ? plain(indentValue)
        : plain(repeat(' ', integerOr(indentValue, 0)));
  const given = separators !== null && isSequence(separators) ? separators.items.map((one) => plain(str(one))) : [];
  const options: JsonOptions = {
    ensureAscii: truthy(ensureAscii),
    indent: indentText,
    itemSeparator: given[0] ?? (indentText === undefined ? ', ' : ','),
    keySeparator: given[1] ?? ': ',
    sortKeys: truthy(sortKeys),
  };
  return toJson(value, options);
};

const unreserved = /[\w.~/-]/;

const urlencode: Filter = (value) => {
  const quote = (text: string, slash: boolean): string =>
    Array.from(text)
      .map((c) =>
        unreserved.test(c) && c.charCodeAt(0) < 0x80 && (slash || c !== '/')
          ? c
          : [...new TextEncoder().encode(c)].map((b) => `%${b.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
      )
      .join('');
  if (isDict(value)) {
    return [...value.entries]
      .map((pair) => pair.map((part) => quote(plain(str(part)), false).replaceAll('%20', '+')).join('='))
      .join('&');
  }
  return quote(plain(str(value)), true);
};

/** Filters that give texts, and what is counted of one. */
export const textFilters: FilterTable = [
  ['capitalize', keeping(onText(capitalize))],
  [
    'center',
    keeping((value, [width]) => {
      const text = str(value);
      const blanks = integerOr(width, 80) - codePointLength(text);
      if (blanks <= 0) return text;
      const left = Math.floor(blanks / 2) + (blanks & integerOr(width, 80) & 1);
      return concat(repeat(' ', left), text, repeat(' ', blanks - left));
    }),
  ],
  ['e', onText(escaped)],
  ['escape', onText(escaped)],
  ['forceescape', onText(escapedAnew)],
  [
    'format',
    (value, positional, named) => {
      const mapping: Value = { kind: 'dict', entries: new Map(named) };
      return binary('%', str(value), named.size > 0 ? mapping : tuple(positional));
    },
  ],
  ['indent', keeping(indent)],
  ['lower', keeping(onText((text) => respelled(text, plain(text).toLowerCase())))],
  ['pprint', (value) => repr(value)],
  [
    'replace',
    (value, positional, named) => {
      const [from = null, to = null, count] = bind(['old', 'new', 'count'], positional, named);
      return replace(unmarked(str(value)), unmarked(str(from)), unmarked(str(to)), integerOr(count, -1));
    },
  ],
  ['safe', onText(markup)],
  ['string', onText((text) => text)],
  ['striptags', onText((text) => respelled(text, withoutTags(plain(text)).trim().replace(/\s+/g, ' ')))],
  ['title', title],
  ['tojson', json],
  ['trim', keeping((value, [chars]) => strip(str(value), chars, true, true))],
  ['truncate', truncate],
  ['upper', keeping(onText((text) => respelled(text, plain(text).toUpperCase())))],
  ['urlencode', urlencode],
  ['wordcount', onText((text) => plain(text).match(/[\p{L}\p{N}_]+/gu)?.length ?? 0)],
];
