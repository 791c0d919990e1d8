/** `npm run bench -- NAME [options]`: starts bench/NAME.mjs. */
import { readdirSync } from 'node:fs';
import { here } from './turns.mjs';

const [name, ...rest] = process.argv.slice(2);
const known = readdirSync(here('.'))
  .filter((file) => file.endsWith('.mjs') && !['run.mjs', 'turns.mjs', 'data.mjs', 'rows.mjs'].includes(file))
  .map((file) => file.replace(/\.mjs$/, ''));
if (name === undefined || !known.includes(name)) {
  console.error(`usage: npm run bench -- NAME [options], NAME one of: ${known.join(', ')}`);
  process.exit(2);
}
process.argv.splice(2, process.argv.length, ...rest);
await import(here(`./${name}.mjs`));
