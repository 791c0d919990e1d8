#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { runCommandLine } from './command.js';
import { commands } from './commands.js';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  readonly version: string;
};

// A reader that has seen enough (`rxtune prepare … | head`) is no fault of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
// A terminal or log that is gone takes what is told with it, not the run.
process.stderr.on('error', () => undefined);

const code = await runCommandLine(commands, {
  version,
  argv: process.argv.slice(2),
  terminal: { out: process.stdout, err: process.stderr },
});
// Engines may hold threads open; what was written is flushed first.
process.stdout.write('', () => process.stderr.write('', () => process.exit(code)));
