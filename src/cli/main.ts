#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { runCommandLine } from './command.js';
import { commands } from './commands.js';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  readonly version: string;
};

let isTold = false;
// A reader that has seen enough (`rxtune prepare … | head`) is no fault of ours.
const unwritten = (error: NodeJS.ErrnoException): void => {
  if (error.code === 'EPIPE') process.exit(0);
  if (isTold) return;
  isTold = true;
  const { code = error.message } = error;
  process.stderr.write(`rxtune: standard output cannot be written (${code}) [E_STDOUT]\n`, () => process.exit(1));
};
process.stdout.on('error', unwritten);
// A terminal or log that is gone takes what is told with it, not the run.
process.stderr.on('error', () => undefined);

const code = await runCommandLine(commands, {
  version,
  argv: process.argv.slice(2),
  terminal: { out: process.stdout, err: process.stderr },
});
// Engines may hold threads open; what was written is flushed first.
process.stdout.write('', (error) => (error ? unwritten(error) : process.stderr.write('', () => process.exit(code))));
