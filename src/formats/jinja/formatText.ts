/** `str.format` and `%`: the parts that templates use. */
import { floatText } from '../json/floatText.js';
import { repr, str } from './print.js';
import { fail, TemplateError } from './templateError.js';
import {
  characters,
  codePointLength,
  concat,
  cut,
  isText,
  longestText,
  makeTextBuilder,
  plain,
  repeat,
  type Text,
} from './traced.js';
import {
  getKey,
  isBig,
  isDict,
  isFloat,
  isSequence,
  type Named,
  numberOf,
  orElse,
  typeName,
  type Value,
} from './values.js';

const widthOf = (digits: string | undefined): number => {
  const width = digits === undefined || digits === '' ? 0 : Number(digits);
  if (width > longestText) throw new TemplateError('E_TEMPLATE_LIMIT', `a width of ${width}`);
  return width;
};

const pad = (text: Text, width: number, align: string, fill: string): Text => {
  const missing = width - codePointLength(text);
  if (missing <= 0) return text;
  if (align === '<') return concat(text, repeat(fill, missing));
  if (align === '^') {
    const left = Math.floor(missing / 2);
    return concat(repeat(fill, left), text, repeat(fill, missing - left));
  }
  return concat(repeat(fill, missing), text);
};

const signed = (body: string, negative: boolean, sign: string): string =>
  negative ? `-${body}` : sign === '+' || sign === ' ' ? sign + body : body;

const exponential = (value: number, digits: number): string =>
  value.toExponential(digits).replace(/e([+-])(\d)$/, 'e$10$2');

const general = (value: number, digits: number): string => {
  const precision = digits === 0 ? 1 : digits;
  if (value === 0) return '0';
  const exponent = Number(value.toExponential(precision - 1).split('e')[1]);
  if (exponent < -4 || exponent >= precision) {
    return exponential(value, precision - 1).replace(/\.?0+e/, 'e');
  }
  const fixed = value.toFixed(Math.max(0, precision - 1 - exponent));
  return fixed.includes('.') ? fixed.replace(/\.?0+$/, '') : fixed;
};

const grouped = (digits: string, separator: string): string => {
  const [whole = '', fraction] = digits.split('.');
  const withSeparators = whole.replace(/\B(?=(\d{3})+$)/g, separator);
  return fraction === undefined ? withSeparators : `${withSeparators}.${fraction}`;
};

const finite = (magnitude: number): number =>
  Number.isFinite(magnitude) ? magnitude : fail(`cannot convert float ${floatText(magnitude)} to integer`);

/** The digits of a whole number's magnitude. */
const wholeDigits = (value: Value, magnitude: number, base: number): string =>
  (isBig(value) ? (value.value < 0n ? -value.value : value.value) : BigInt(Math.trunc(finite(magnitude)))).toString(
    base,
  );

/** The digits of a number under a presentation type, without its sign. */
const digitsOf = (value: Value, magnitude: number, type: string, precision: number | undefined): string => {
  switch (type) {
    case 'd':
    case 'i':
    case 'u':
      return wholeDigits(value, magnitude, 10);
    case 'x':
      return wholeDigits(value, magnitude, 16);
    case 'X':
      return wholeDigits(value, magnitude, 16).toUpperCase();
    case 'o':
      return wholeDigits(value, magnitude, 8);
    case 'b':
      return wholeDigits(value, magnitude, 2);
    case 'e':
    case 'E': {
      const text = exponential(magnitude, precision ?? 6);
      return type === 'E' ? text.toUpperCase() : text;
    }
    case 'f':
    case 'F':
      return magnitude.toFixed(Math.min(100, precision ?? 6));
    case '%':
      return `${(magnitude * 100).toFixed(Math.min(100, precision ?? 6))}%`;
    case 'g':
    case 'G':
      return general(magnitude, precision ?? 6);
    default:
      if (precision !== undefined) return general(magnitude, precision);
      return isFloat(value) ? floatText(magnitude) : wholeDigits(value, magnitude, 10);
  }
};

const specification = /^(?:([\s\S])?([<>=^]))?([-+ ])?(#)?(0)?(\d+)?([,_])?(?:\.(\d+))?([bcdeEfFgGnosxX%])?$/u;

const formatted = (value: Value, spec: string): Text => {
  if (spec === '') return str(value);
  const match = specification.exec(spec);
  if (match === null) return fail(`Invalid format specifier '${spec}'`);
  const [, fillGiven, alignGiven, sign = '', alternate, zero, widthText, separator, precisionText, type = ''] = match;
  const width = widthOf(widthText);
  const precision = precisionText === undefined ? undefined : widthOf(precisionText);
  const fill = fillGiven ?? (zero === undefined ? ' ' : '0');
  const number = numberOf(value);
  if (isText(value) || number === undefined || type === 's') {
    if (type !== '' && type !== 's')
      return fail(`Unknown format code '${type}' for object of type '${typeName(value)}'`);
    const text = str(value);
    const cutText = precision === undefined ? text : concat(...characters(text).slice(0, precision));
    return pad(cutText, width, alignGiven ?? '<', fill);
  }
  let digits = digitsOf(value, Math.abs(number), type, precision);
  if (separator !== undefined) digits = grouped(digits, separator);
  if (alternate !== undefined && /[xXob]/.test(type)) digits = `0${type}${digits}`;
  const body = signed(digits, number < 0 || Object.is(number, -0), sign);
  const align = alignGiven ?? (zero === undefined ? '>' : '=');
  if (align !== '=') return pad(body, width, align, fill);
  const signLength = /^[-+ ]/.test(body) ? 1 : 0;
  return body.slice(0, signLength) + plain(pad(body.slice(signLength), width - signLength, '>', fill));
};

const member = (value: Value, key: string): Value => {
  if (isDict(value))
    return orElse(getKey(value, key), () => orElse(getKey(value, Number(key)), () => fail(`KeyError: ${key}`)));
  if (isSequence(value)) return orElse(value.items[Number(key)], () => fail('list index out of range'));
  return fail(`'${typeName(value)}' object has no attribute '${key}'`);
};

const field = /\{\{|\}\}|\{([^{}!:]*)(?:!([rsa]))?(?::([^{}]*(?:\{[^{}]*\}[^{}]*)*))?\}|[{}]/g;

/** `template.format(*positional, **named)`. Attributes are looked up in dicts only. */
export const formatText = (template: Text, positional: ReadonlyArray<Value>, named: Named): Text => {
  const string = plain(template);
  const builder = makeTextBuilder();
  let next = 0;
  const argument = (name: string): Value => {
    const [head = '', ...path] = name.split(/\.|\[|\]\.?/).filter((part, i) => i === 0 || part !== '');
    const value = head === '' ? positional[next++] : /^\d+$/.test(head) ? positional[Number(head)] : named.get(head);
    if (value === undefined) return fail(`Replacement index ${head === '' ? next - 1 : head} out of range`);
    return path.reduce(member, value);
  };
  let at = 0;
  for (const match of string.matchAll(field)) {
    const [whole, name, conversion, spec = ''] = match;
    builder.add(cut(template, at, match.index));
    at = match.index + whole.length;
    if (whole === '{{' || whole === '}}') builder.add(whole.slice(1));
    else if (name === undefined) fail("Single '{' or '}' encountered in format string");
    else {
      const value = argument(name);
      const filled = spec.replace(/\{([^{}]*)\}/g, (_, inner: string) => plain(str(argument(inner))));
      builder.add(formatted(conversion === undefined ? value : conversion === 's' ? str(value) : repr(value), filled));
    }
  }
  builder.add(cut(template, at, string.length));
  return builder.take();
};

const percent = /%(?:\(([^)]*)\))?([-+ #0]*)(\*|\d+)?(?:\.(\*|\d+))?[hlL]?([diouxXeEfFgGcrsa%])?/g;

/** `template % value`. */
export const percentFormat = (template: Text, value: Value): Text => {
  const string = plain(template);
  const builder = makeTextBuilder();
  const positional = isSequence(value) && value.kind === 'tuple' ? value.items : [value];
  let next = 0;
  let named = false;
  const take = (): Value => orElse(positional[next++], () => fail('not enough arguments for format string'));
  let at = 0;
  for (const match of string.matchAll(percent)) {
    const [whole, name, flags = '', widthText, precisionText, type] = match;
    builder.add(cut(template, at, match.index));
    at = match.index + whole.length;
    if (type === undefined) fail('incomplete format');
    if (type === '%') {
      builder.add('%');
      continue;
    }
    const size = (text: string | undefined): number | undefined =>
      text === undefined ? undefined : text === '*' ? (numberOf(take()) ?? fail('* wants int')) : widthOf(text);
    const width = size(widthText) ?? 0;
    const precision = size(precisionText);
    let item: Value;
    if (name === undefined) item = take();
    else {
      named = true;
      item = isDict(value)
        ? orElse(getKey(value, name), () => fail(`KeyError: '${name}'`))
        : fail('format requires a mapping');
    }
    const left = flags.includes('-');
    if (type === 's' || type === 'r' || type === 'a' || type === 'c') {
      const text = type === 'r' || type === 'a' ? repr(item) : str(item);
      const kept = precision === undefined ? text : concat(...characters(text).slice(0, precision));
      builder.add(pad(kept, width, left ? '<' : '>', ' '));
      continue;
    }
    const number = numberOf(item);
    if (number === undefined) fail(`%${type ?? ''} format: a real number is required, not ${typeName(item)}`);
    else {
      const sign = flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '';
      const body = signed(digitsOf(item, Math.abs(number), type ?? 'd', precision), number < 0, sign);
      const zeros = flags.includes('0') && !left;
      const signLength = zeros && /^[-+ ]/.test(body) ? 1 : 0;
      builder.add(body.slice(0, signLength));
      builder.add(pad(body.slice(signLength), width - signLength, left ? '<' : '>', zeros ? '0' : ' '));
    }
  }
  builder.add(cut(template, at, string.length));
  if (!named && next < positional.length && !isDict(value))
    fail('not all arguments converted during string formatting');
  return builder.take();
};
