import { expect, test } from '@jest/globals';
import * as t from 'io-ts';
import { decodeRow } from '../../src/operators/decode.js';

const Ticket = t.readonly(
  t.intersection([
    t.type({
      body: t.string,
      from: t.exact(t.intersection([t.type({ name: t.string }), t.partial({ age: t.number })])),
    }),
    t.partial({ state: t.union([t.literal('open'), t.literal('closed')], 'a state') }),
    t.type({ parts: t.array(t.union([t.string, t.type({ text: t.string })], 'a part')) }),
  ]),
);
const ticket = { body: 'b', from: { name: 'n' }, parts: ['a', { text: 'b' }] };

test('a row that is of the shape passes', () => {
  expect(decodeRow(Ticket)(ticket)).toEqual({ _tag: 'Right', right: ticket });
});

test.each([
  ['a field that is missing in a part of an intersection', { ...ticket, body: undefined }, 'body', 'string'],
  ['one inside another', { ...ticket, from: { name: 'n', age: 'old' } }, 'from.age', 'number'],
  ['what is none of the alternatives', { ...ticket, state: 'new' }, 'state', 'a state'],
  ['an entry of a list that is none of them', { ...ticket, parts: ['a', 1] }, 'parts.1', 'a part'],
])('%s is told by its own name, and by what may stand there', (_, row, field, expected) => {
  expect(decodeRow(Ticket)(row)).toMatchObject({ left: { code: 'E_ROW_SHAPE', field, expected } });
});
