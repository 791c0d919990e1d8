/**
 * Compiles TypeScript for jest as @swc/jest does, and names the built-in objects that a module uses in it. jest runs modules in a context
 * whose globals are looked up by a call at each use: `Math.max` in a loop takes 40 times as long by its global name as by one of the
 * module. What tests replace (timers, Date, console, process, fetch) is left to be looked up.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import swc from '@swc/jest';

const builtIn = [
  'Array ArrayBuffer BigInt BigInt64Array BigUint64Array Boolean DataView Error Float32Array Float64Array',
  'Infinity Int16Array Int32Array Int8Array JSON Map Math NaN Number Object Promise RangeError Reflect',
  'RegExp Set String Symbol TypeError Uint16Array Uint32Array Uint8Array WeakMap WeakSet',
].flatMap((names) => names.split(' '));

/** Those whose names stand in the code and that it does not declare itself. */
const used = (code) =>
  builtIn.filter(
    (name) =>
      new RegExp(`\\b${name}\\b`).test(code) &&
      !new RegExp(`\\b(?:const|let|var|class|function|as)\\s+${name}\\b|^import\\b.*[{,]\\s*${name}\\s*[,}]`, 'm').test(
        code,
      ),
  );

/** On the first line, so that all others keep their numbers. */
const named = (code) => {
  const names = used(code);
  return names.length === 0 || code.startsWith('#!') ? code : `const { ${names.join(', ')} } = globalThis; ${code}`;
};

const own = readFileSync(fileURLToPath(import.meta.url));

export default {
  createTransformer: (options) => {
    const inner = swc.createTransformer(options);
    const withNames = (result) => ({ ...result, code: named(result.code) });
    return {
      ...inner,
      process: (...given) => withNames(inner.process(...given)),
      processAsync: async (...given) => withNames(await inner.processAsync(...given)),
      getCacheKey: (...given) =>
        createHash('sha1')
          .update(inner.getCacheKey(...given))
          .update(own)
          .digest('hex'),
    };
  },
};
