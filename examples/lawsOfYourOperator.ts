/** A stage of your own, held against the laws of the kit: any test runner takes them, here none. */
import * as E from 'fp-ts/lib/Either.js';
import fc from 'fast-check';
import { dataError, mapping } from 'rxtune';
import type { Example, Rejecting, Transform } from 'rxtune';
import { boundedInFlight, checkAll, examples, operatorLaws, orderKept, rightsOf } from 'rxtune/laws';

/** Refuses rows that are only white space; a row goes on as it is. */
const sayingRow: Transform<Example, Example> = (row) =>
  row.kind === 'text' && row.text.trim() === ''
    ? E.left(dataError('E_SAYS_NOTHING', 'the row is white space'))
    : E.right(row);
const saying = (options: Rejecting) => mapping('saying', sayingRow, options);

const laws = [
  ...operatorLaws(saying, examples(), rightsOf(sayingRow), { oneToOne: true }),
  orderKept(saying, examples(), (row) => row),
  boundedInFlight(saying, examples(), () => 1),
];
await checkAll(laws);
console.log(`${laws.length} laws hold`);

// A stage that waits for the end of its source cannot be bounded, and the law says so.
const { bufferCount, mergeAll } = await import('rxjs');
const patient = boundedInFlight(
  () => (source) => source.pipe(bufferCount(1000), mergeAll()),
  fc.nat(),
  () => 1,
);
try {
  await patient.check();
} catch (broken) {
  console.log(/\d+ (records in flight)/.exec(String(broken))?.[1]);
}
