/** Jinja2's tests: what stands behind `is`. */
import { isMarkup } from './markup.js';
import { comparison, contains } from './operations.js';
import { fail } from './templateError.js';
import { isText, plain } from './traced.js';
import { equal, isDict, isFloat, isInteger, isSequence, isUndefined, kindOf, numberOf, type Value } from './values.js';

export type Test = (value: Value, args: ReadonlyArray<Value>) => boolean;

const number = (value: Value): number => numberOf(value) ?? fail('not a number');

const iterable = (value: Value): boolean =>
  isText(value) || isDict(value) || isSequence(value) || kindOf(value) === 'generator' || isUndefined(value);

const modulo = (value: Value, by: number): number => {
  const dividend = number(value);
  return dividend - by * Math.floor(dividend / by);
};

const comparing =
  (operator: '==' | '!=' | '<' | '<=' | '>' | '>='): Test =>
  (value, [other = null]) =>
    comparison(operator, value, other);

const table: ReadonlyArray<readonly [string, Test]> = [
  ['defined', (value) => !isUndefined(value)],
  ['undefined', (value) => isUndefined(value)],
  ['none', (value) => value === null],
  ['boolean', (value) => typeof value === 'boolean'],
  ['true', (value) => value === true],
  ['false', (value) => value === false],
  ['integer', (value) => isInteger(value)],
  ['float', (value) => isFloat(value)],
  ['number', (value) => numberOf(value) !== undefined],
  ['string', (value) => isText(value)],
  ['mapping', (value) => isDict(value)],
  ['sequence', (value) => isText(value) || isDict(value) || isSequence(value)],
  ['iterable', iterable],
  ['callable', (value) => kindOf(value) === 'function' || kindOf(value) === 'instance'],
  ['escaped', (value) => isMarkup(value)],
  ['odd', (value) => modulo(value, 2) === 1],
  ['even', (value) => modulo(value, 2) === 0],
  ['divisibleby', (value, [by = null]) => modulo(value, number(by)) === 0],
  ['lower', (value) => isText(value) && plain(value) === plain(value).toLowerCase() && /\p{Ll}/u.test(plain(value))],
  ['upper', (value) => isText(value) && plain(value) === plain(value).toUpperCase() && /\p{Lu}/u.test(plain(value))],
  [
    'sameas',
    (value, [other = null]) =>
      value === other || (kindOf(value) === kindOf(other) && isText(value) && equal(value, other)),
  ],
  ['in', (value, [container = null]) => contains(container, value)],
  ['eq', comparing('==')],
  ['equalto', comparing('==')],
  ['==', comparing('==')],
  ['ne', comparing('!=')],
  ['!=', comparing('!=')],
  ['lt', comparing('<')],
  ['lessthan', comparing('<')],
  ['<', comparing('<')],
  ['le', comparing('<=')],
  ['<=', comparing('<=')],
  ['gt', comparing('>')],
  ['greaterthan', comparing('>')],
  ['>', comparing('>')],
  ['ge', comparing('>=')],
  ['>=', comparing('>=')],
];

const tests: ReadonlyMap<string, Test> = new Map(table);

export const testNamed = (name: string): Test => tests.get(name) ?? fail(`No test named '${name}'.`);
