/** JSON read exactly: the values of JSON.parse, and beside them what was written where JavaScript's number does not tell it. */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  parseJsonExactly,
  stringifyExactly,
  writtenNumbersOf,
  withNumbersOf,
} from '../../src/formats/json/writtenNumbers.js';
import { isPlain } from '../../src/train/preparing/crew/plain.js';

type Node =
  | { readonly kind: 'scalar'; readonly text: string }
  | { readonly kind: 'list'; readonly items: ReadonlyArray<Node> }
  | { readonly kind: 'object'; readonly fields: ReadonlyArray<readonly [key: string, value: Node]> };

const floats = ['1.0', '-3.00', '0.0', '-0.0', '1.0e3', '20.0E+2', '1e3', '-15.5e1', '1e22', '0e0'];
/** Integers that JavaScript rounds, and one whose number is another's. */
const bigs = ['9007199254740992', '9007199254740993', '-12345678901234567890', `1${'0'.repeat(50)}`];
const literal = fc.constantFrom(
  ...floats,
  ...bigs,
  '1',
  '0',
  '-0',
  '-7',
  '1.5',
  '0.05',
  '1e-3',
  '9007199254740991',
  '10.01',
  'true',
  'null',
);
const texts = fc.constantFrom('', 'a', 'version 2.0', ', 1e5', '"1.0"', '\\', '\\"', '],1.0,[', '\u2028');
const keys = fc.oneof(fc.constantFrom('a', 'b', '0', '1', '__proto__'), texts);

const { node } = fc.letrec<{ node: Node; list: Node; object: Node; scalar: Node }>((tie) => ({
  scalar: fc
    .oneof(
      literal,
      texts.map((text) => JSON.stringify(text)),
    )
    .map((text) => ({ kind: 'scalar' as const, text })),
  list: fc.array(tie('node'), { maxLength: 4 }).map((items) => ({ kind: 'list' as const, items })),
  object: fc
    .array(fc.tuple(keys, tie('node')), { maxLength: 4 })
    .map((fields) => ({ kind: 'object' as const, fields })),
  node: fc.oneof({ depthSize: 'small', withCrossShrink: true }, tie('scalar'), tie('list'), tie('object')),
}));

const written = (one: Node, blank: string): string => {
  switch (one.kind) {
    case 'scalar':
      return one.text;
    case 'list':
      return `[${blank}${one.items.map((item) => written(item, blank)).join(`${blank},${blank}`)}${blank}]`;
    case 'object': {
      const fields = one.fields.map(
        ([key, value]) => `${JSON.stringify(key)}${blank}:${blank}${written(value, blank)}`,
      );
      return `{${blank}${fields.join(`${blank},`)}${blank}}`;
    }
  }
};

/** What was told of a value, laid beside what was written. */
const agree = (one: Node, value: unknown): void => {
  if (one.kind === 'scalar' || typeof value !== 'object' || value === null) return;
  const told = writtenNumbersOf(value);
  const members: ReadonlyArray<readonly [string, Node]> =
    one.kind === 'list' ? one.items.map((item, i) => [String(i), item]) : [...new Map(one.fields)];
  for (const [key, member] of members) {
    const own = (value as Readonly<Record<string, unknown>>)[key];
    if (member.kind === 'scalar') {
      const { text } = member;
      expect([key, told?.get(key)]).toEqual([
        key,
        floats.includes(text) ? 'float' : bigs.includes(text) ? BigInt(text) : undefined,
      ]);
    }
    agree(member, own);
  }
};

test('the values are those of JSON.parse, and every whole float and great integer is known by its place', () => {
  fc.assert(
    fc.property(node, fc.constantFrom('', ' ', '\n\t'), (one, blank) => {
      const text = written(one, blank);
      const value = parseJsonExactly(text);
      expect(value).toEqual(JSON.parse(text));
      agree(one, value);
    }),
    { numRuns: 1000 },
  );
});

test('what is written of them is read as they were', () => {
  fc.assert(
    fc.property(node, fc.constantFrom(0, 2), (one, indent) => {
      const value = parseJsonExactly(written(one, ''));
      const again = parseJsonExactly(stringifyExactly(value, indent));
      expect(JSON.stringify(again)).toBe(JSON.stringify(value));
      agree(one, again);
    }),
    { numRuns: 1000 },
  );
});

test('what is not JSON is refused as JSON.parse refuses it, and depth is no fault', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const outcome = (parse: (text: string) => unknown): unknown => {
        try {
          return parse(`${text}1.0`);
        } catch (error) {
          return String(error);
        }
      };
      expect(outcome(parseJsonExactly)).toEqual(outcome((one) => JSON.parse(one) as unknown));
    }),
  );
  const deep = 5000;
  let inner = parseJsonExactly(`${'['.repeat(deep)}1.0${']'.repeat(deep)}`);
  for (let i = 1; i < deep; i++) inner = (inner as ReadonlyArray<unknown>)[0];
  expect(writtenNumbersOf(inner as object)?.has('0')).toBe(true);
});

test('a copy may take them along; another thread cannot have them', () => {
  const row = parseJsonExactly('{"a": {"b": 1.0}, "c": 2.0}') as { readonly a: object };
  expect(writtenNumbersOf({ ...row })).toBeUndefined();
  expect(writtenNumbersOf(withNumbersOf(row, { ...row }))?.has('c')).toBe(true);
  expect([isPlain(row), isPlain({ row: [{ a: row.a }] }), isPlain(JSON.parse('{"a": 1.0}'))]).toEqual([
    false,
    false,
    true,
  ]);
});
