/**
 * Whether machine code leaves the registers of Hopper's warpgroup products (HGMMA) alone, read off a listing (sass.mjs). These products are
 * asynchronous, and the hardware holds nobody back: a register that one reads (its left operand, where that is in registers) or adds to is
 * not to be written before the wait that covers it (WARPGROUP.DEPBAR), nor its sums read. That follows from how kernels are written and
 * from what the compiler makes of it, and an emulation of the source sees the former alone.
 *
 * Looked for, along all ways through a function:
 *
 * 1. what writes a register of a product that may be in flight, or reads its sums. Products may add to the same sums.
 * 2. what a product takes from registers that were written with no WARPGROUP.ARRIVE since.
 * 3. a left operand that is two things: of the instructions that may have written a register of it, one also makes the operand of another
 *    product that the others do not make. So it looks where ptxas has given the registers of an operand that was loaded before a loop to
 *    another operand inside of it (ptxas 13.0: right in the first turn, wrong from the second on).
 *
 *     node native/cuda/products.mjs LISTING          of `nvdisasm -c` (npm run check:cuda does it for all kernels)
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { functionsOf } from './sass.mjs';

/** More groups than a wait leaves in flight. */
const most = 8;

/** State before each instruction, by going on from the first one until nothing changes: `through(i, state)` is the state after i. */
const flow = ({ instructions, next }, start, through, joined) => {
  const before = instructions.map(() => undefined);
  before[0] = start;
  const waiting = [0];
  while (waiting.length > 0) {
    const i = waiting.pop();
    const after = through(i, before[i]);
    for (const to of next[i]) {
      const both = before[to] === undefined ? after : joined(before[to], after);
      if (both === before[to]) continue;
      before[to] = both;
      waiting.push(to);
    }
  }
  return before;
};

/** Of products that may be in flight, by their number: how many groups have ended since each began, its own too; the fewest of all ways. */
const inFlight = (code) =>
  flow(
    code,
    new Map(),
    (i, state) => {
      const { product, name, text } = code.instructions[i];
      if (product !== undefined) {
        const after = new Map(state).set(i, 0);
        return product.ends ? new Map([...after].map(([n, ended]) => [n, Math.min(most, ended + 1)])) : after;
      }
      const [, rest] = (name === 'WARPGROUP' && /\.DEPBAR\.LE gsb0, (\w+)/.exec(text)) || [];
      if (rest === undefined) return state;
      // Groups are done in order.
      return new Map([...state].filter(([, ended]) => ended <= Number(rest)));
    },
    (a, b) => {
      const fewer = [...b].filter(([n, ended]) => ended < (a.get(n) ?? Infinity));
      return fewer.length === 0 ? a : new Map([...a, ...fewer]);
    },
  );

/** Registers that were written since the last WARPGROUP.ARRIVE, other than by products: the instruction that did, one of them. */
const sinceArrival = (code) =>
  flow(
    code,
    new Map(),
    (i, state) => {
      const { name, text, writes, product } = code.instructions[i];
      if (name === 'WARPGROUP' && text.includes('.ARRIVE')) return new Map();
      if (product !== undefined || writes.length === 0) return state;
      return new Map([...state, ...writes.map((register) => [register, i])]);
    },
    (a, b) => {
      const more = [...b].filter(([register]) => !a.has(register));
      return more.length === 0 ? a : new Map([...a, ...more]);
    },
  );

const cameBefore = ({ next }) => {
  const before = next.map(() => []);
  next.forEach((all, i) => all.forEach((to) => before[to].push(i)));
  return before;
};

/** The instructions that may have written a register as it is before instruction i. */
const writersOf = ({ instructions }, before, register, i) => {
  const found = new Set();
  const seen = new Set();
  const waiting = [...before[i]];
  while (waiting.length > 0) {
    const from = waiting.pop();
    if (seen.has(from)) continue;
    seen.add(from);
    const { writes, always } = instructions[from];
    const wrote = writes.includes(register);
    if (wrote) found.add(from);
    if (!wrote || !always) waiting.push(...before[from]);
  }
  return found;
};

const inTheWay = (code) => {
  const states = inFlight(code);
  const faults = [];
  code.instructions.forEach((each, i) => {
    const state = states[i];
    if (state === undefined) return;
    for (const n of state.keys()) {
      const { at, product } = code.instructions[n];
      const { sums, left } = product;
      const addsToTheSame = each.product?.sums[0] === sums[0] && each.product.sums.length === sums.length;
      const written = each.writes.find(
        (register) => left.includes(register) || (!addsToTheSame && sums.includes(register)),
      );
      const reads = each.product === undefined ? each.reads : each.product.left;
      const read = reads.find((register) => sums.includes(register));
      const register = written ?? read;
      if (register === undefined) continue;
      const what = left.includes(register) ? 'reads' : 'adds to';
      faults.push(
        `${each.at} ${each.text}: ${written === undefined ? 'reads' : 'writes'} R${register}, which the product at ${at} ${what} and has not been waited for`,
      );
    }
  });
  return faults;
};

const notArrived = (code) => {
  const states = sinceArrival(code);
  return code.instructions.flatMap(({ at, product }, i) => {
    const state = states[i];
    if (product === undefined || state === undefined) return [];
    const register = [...product.left, ...product.sums].find((each) => state.has(each));
    if (register === undefined) return [];
    const writer = code.instructions[state.get(register)];
    return [
      `${at}: the product takes R${register}, which ${writer.at} ${writer.text} wrote with no WARPGROUP.ARRIVE since`,
    ];
  });
};

const givenAway = (code) => {
  const before = cameBefore(code);
  const { instructions } = code;
  const operands = instructions.flatMap(({ product }, i) =>
    (product?.left ?? []).map((register) => ({ i, register, writers: writersOf(code, before, register, i) })),
  );
  const faults = new Map();
  for (const { i, register, writers } of operands) {
    if (writers.size < 2) continue;
    for (const other of operands) {
      if (other.i === i || other.register !== register) continue;
      const both = [...writers].filter((writer) => other.writers.has(writer));
      const alone = [...writers].find((writer) => !other.writers.has(writer));
      if (both.length === 0 || alone === undefined || faults.has(i)) continue;
      faults.set(
        i,
        `${instructions[i].at}: the product takes R${register} as ${instructions[alone].at} ${instructions[alone].text} made it, or as ` +
          `${instructions[both[0]].at} ${instructions[both[0]].text} made it for the product at ${instructions[other.i].at}`,
      );
    }
  }
  return [...faults.values()];
};

/** What is wrong with the registers of a function's products, a sentence each. */
export const faultsOf = (code) => [...inTheWay(code), ...notArrived(code), ...givenAway(code)];

/** Of all functions that have products: [{kernel, products, fromRegisters, faults}]. */
export const productsOf = (functions) =>
  functions
    .filter(({ instructions }) => instructions.some(({ product }) => product !== undefined))
    .map((code) => {
      const products = code.instructions.flatMap(({ product }) => product ?? []);
      return {
        kernel: code.name,
        products: products.length,
        fromRegisters: products.filter(({ left }) => left.length > 0).length,
        faults: faultsOf(code),
      };
    });

if (process.argv[1] === fileURLToPath(import.meta.url))
  for (const { kernel, products, faults } of productsOf(functionsOf(readFileSync(process.argv[2], 'utf8')))) {
    console.log(`${kernel}: ${products} products, ${faults.length} faults`);
    for (const fault of faults) console.log(`  ${fault}`);
    if (faults.length > 0) process.exitCode = 1;
  }
