/** Filters that give numbers. */
import { bind, type Filter, type FilterTable, integerOr } from './filter.js';
import { plainText } from './json.js';
import { fail } from './templateError.js';
import { isText, plain } from './traced.js';
import { float, integer, isBig, isFloat, numberOf, typeName, type Value } from './values.js';

/** Half to even, as Python rounds. */
const roundHalfEven = (value: number, precision: number): number => {
  const scale = 10 ** Math.abs(precision);
  const scaled = precision >= 0 ? value * scale : value / scale;
  // The decimal expansion decides, as in Python: 2.675 is below the half.
  if (precision > 0 && precision <= 20) {
    const text = Math.abs(value).toFixed(Math.min(100, precision + 25));
    const cutAt = text.indexOf('.') + 1 + precision;
    const rest = text.slice(cutAt);
    if (!/^50*$/.test(rest)) return Number(value.toFixed(precision));
  }
  const floor = Math.floor(scaled);
  const diff = scaled - floor;
  const rounded = diff < 0.5 ? floor : diff > 0.5 ? floor + 1 : floor % 2 === 0 ? floor : floor + 1;
  return precision >= 0 ? rounded / scale : rounded * scale;
};

const round: Filter = (value, positional, named) => {
  const [precisionValue, method] = bind(['precision', 'method'], positional, named);
  const number = numberOf(value) ?? fail(`cannot round ${typeName(value)}`);
  const precision = integerOr(precisionValue, 0);
  const how = method === undefined ? 'common' : plainText(method, 'the method');
  if (isBig(value) && how === 'common' && precision >= 0) return value;
  if (how === 'common')
    return isFloat(value) ? float(roundHalfEven(number, precision)) : roundHalfEven(number, precision);
  if (how !== 'ceil' && how !== 'floor') return fail('method must be common, ceil or floor');
  const scale = 10 ** precision;
  return float((how === 'ceil' ? Math.ceil(number * scale) : Math.floor(number * scale)) / scale);
};

/** Python refuses to read more digits than these. */
const mostDigits = 4300;

const parseInteger = (text: string, base: number): Value | undefined => {
  if (text.length > mostDigits) return undefined;
  const trimmed = text.trim().replace(/(?<=\d)_(?=\d)/g, '');
  const match = /^([+-]?)(0[xX]|0[oO]|0[bB])?([0-9a-zA-Z]+)$/.exec(trimmed);
  if (match === null) return undefined;
  const [, sign, prefix, digits = ''] = match;
  const prefixBase = prefix === undefined ? undefined : { x: 16, o: 8, b: 2 }[prefix.slice(1).toLowerCase()];
  if (prefixBase !== undefined && prefixBase !== base) return undefined;
  const number = Number.parseInt(digits, base);
  const valid = Array.from(digits.toLowerCase()).every((digit) => Number.parseInt(digit, 36) < base);
  if (!valid) return undefined;
  if (Number.isSafeInteger(number)) return sign === '-' ? -number : number;
  const whole = Array.from(digits.toLowerCase()).reduce(
    (sum, digit) => sum * BigInt(base) + BigInt(Number.parseInt(digit, 36)),
    0n,
  );
  return integer(sign === '-' ? -whole : whole);
};

const floatPattern = /^\s*[+-]?(?:\d[\d_]*\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|inf(?:inity)?|nan)\s*$/i;

const parseFloatText = (text: string): number | undefined => {
  if (!floatPattern.test(text)) return undefined;
  const lower = text.trim().toLowerCase().replaceAll('_', '');
  if (lower.includes('inf')) return lower.startsWith('-') ? -Infinity : Infinity;
  return lower.includes('nan') ? Number.NaN : Number(lower);
};

/** The whole part, as an integer. */
const truncated = (number: number | undefined, otherwise: Value): Value =>
  number === undefined || !Number.isFinite(number) ? otherwise : integer(BigInt(Math.trunc(number)));

const toInteger: Filter = (value, positional, named) => {
  const [otherwise = 0, baseValue] = bind(['default', 'base'], positional, named);
  if (isText(value)) {
    const whole = parseInteger(plain(value), integerOr(baseValue, 10));
    return whole === undefined ? truncated(parseFloatText(plain(value)), otherwise) : whole;
  }
  return isBig(value) ? value : truncated(numberOf(value), otherwise);
};

const toFloat: Filter = (value, positional, named) => {
  const [otherwise = float(0)] = bind(['default'], positional, named);
  const number = isText(value) ? parseFloatText(plain(value)) : numberOf(value);
  return number === undefined ? otherwise : float(number);
};

/** Filters that give numbers. */
export const numberFilters: FilterTable = [
  [
    'abs',
    (value) =>
      isFloat(value)
        ? float(Math.abs(numberOf(value) ?? 0))
        : isBig(value)
          ? integer(value.value < 0n ? -value.value : value.value)
          : Math.abs(numberOf(value) ?? fail('bad operand type for abs()')),
  ],
  ['float', toFloat],
  ['int', toInteger],
  ['round', round],
];
