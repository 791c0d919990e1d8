// Runs the C++ tests of the engine (or those named) under AddressSanitizer with UBSan, then under ThreadSanitizer.
//   node native/sanitize.mjs [name …]
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const runner = join(dirname(fileURLToPath(import.meta.url)), 'test.mjs');
const names = process.argv.slice(2);

/** Sanitized code is slow: fewer cases than the tests run otherwise. */
const cases = { 'address,undefined': '80', thread: '15' };

let failed = false;
for (const [sanitizer, count] of Object.entries(cases)) {
  console.log(`-fsanitize=${sanitizer}`);
  const { status } = spawnSync(process.execPath, [runner, ...names, `--sanitize=${sanitizer}`, '--', count], {
    stdio: 'inherit',
  });
  failed ||= status !== 0;
}
process.exitCode = failed ? 1 : 0;
