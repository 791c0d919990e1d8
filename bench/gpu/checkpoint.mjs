/**
 * A checkpoint with random weights of a shape of shapes.mjs, where there is no PyTorch to make one.
 *
 * node checkpoint.mjs SHAPE DIR
 */
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { models, shapes } from './shapes.mjs';

const [shape, folder] = process.argv.slice(2);
const { config, tensors } = models[shape](shapes[shape].layers);

/** So many bfloat16 numbers, of mean 0 and deviation 0.02: enough that a tensor does not repeat a row of itself. */
const count = (1 << 20) + 7;
const random = new Uint16Array(count);
const bits = new Uint32Array(1);
const number = new Float32Array(bits.buffer);
let state = 1;
for (let i = 0; i < count; i++) {
  let sum = 0;
  for (let j = 0; j < 3; j++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    sum += state / 2 ** 32 - 0.5;
  }
  number[0] = 0.04 * sum;
  random[i] = bits[0] >>> 16;
}
const one = new Uint16Array(count).fill(0x3f80);
const zero = new Uint16Array(count);
const valuesOf = (name) =>
  /norm\.weight$|ln_[12f]\.weight$/.test(name) ? one : /norm\.bias$|ln_[12f]\.bias$|\.bias$/.test(name) ? zero : random;

mkdirSync(folder, { recursive: true });
let end = 0;
const header = Object.fromEntries(
  Object.entries(tensors).map(([name, dims]) => {
    const begin = end;
    end += 2 * dims.reduce((a, b) => a * b, 1);
    return [name, { dtype: 'BF16', shape: dims, data_offsets: [begin, end] }];
  }),
);
const text = Buffer.from(JSON.stringify(header));
const length = Buffer.alloc(8);
length.writeBigUInt64LE(BigInt(text.length));
const file = openSync(join(folder, 'model.safetensors'), 'w');
const write = (bytes) => {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
};
write(length);
write(text);
for (const [name, { data_offsets: offsets }] of Object.entries(header)) {
  const values = Buffer.from(valuesOf(name).buffer);
  for (let at = offsets[0]; at < offsets[1]; at += values.length) write(values.subarray(0, offsets[1] - at));
}
closeSync(file);
writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
console.log(JSON.stringify({ bytes: end }));
