/**
 * What a step on a card is made of, from the file that RXTUNE_CUDA_TRACE names (native/cuda/host/trace.h).
 *
 *     node bench/gpu/trace.mjs FILE [--steps 4] [--rows 40]
 *
 * A line for each kernel or product by its sizes: how often it runs in a step, its milliseconds of a step, of one run, and its share; then
 * the sum, and what passes in a step with nothing running. A step ends with the last kernel of the optimizer; the last ones are taken.
 */
import { readFileSync } from 'node:fs';
import { argv } from 'node:process';

export const summary = (text, { steps = 4, rows = 40 } = {}) => {
  const entries = text
    .split('\n')
    .map((line) => /^([\d.]+) ([\d.]+) (.+)$/.exec(line))
    .filter((found) => found !== null)
    .map(([, at, lasted, what]) => ({ at: Number(at), lasted: Number(lasted), what }));
  const ends = entries.flatMap(({ what }, i) =>
    /^rx_adamw/.test(what) && !/^rx_adamw/.test(entries[i + 1]?.what ?? '') ? [i + 1] : [],
  );
  if (ends.length < 2) return 'no whole step was traced';
  const last = ends.at(-1);
  const first = ends.at(-1 - Math.min(steps, ends.length - 1));
  const count = Math.min(steps, ends.length - 1);
  const taken = entries.slice(first, last);
  const whole = taken.at(-1).at + taken.at(-1).lasted - (entries[first - 1].at + entries[first - 1].lasted);
  const byName = group(taken);
  const sum = (all) => all.reduce((total, { lasted }) => total + lasted, 0);
  const lines = [...byName]
    .map(([what, all]) => ({
      what,
      times: all.length / count,
      each: sum(all) / count / 1000,
      one: sum(all) / all.length,
    }))
    .sort((a, b) => b.each - a.each);
  const kinds = group(lines.map((each) => ({ ...each, what: each.what.split(' ')[0] })));
  const busy = sum(taken) / count / 1000;
  const percent = (part) => (whole === 0 ? '–' : `${((100 * part * count * 1000) / whole).toFixed(1)} %`);
  return [
    `a step of ${(whole / count / 1000).toFixed(2)} ms: ${busy.toFixed(2)} ms in ${(taken.length / count).toFixed(0)} kernels and products, ${(whole / count / 1000 - busy).toFixed(2)} ms in none`,
    ...[...kinds]
      .map(([what, all]) => ({
        what,
        each: all.reduce((total, { each }) => total + each, 0),
        times: all.reduce((total, { times }) => total + times, 0),
      }))
      .sort((a, b) => b.each - a.each)
      .slice(0, rows)
      .map(
        ({ what, each, times }) =>
          `${each.toFixed(3).padStart(9)} ms ${percent(each).padStart(7)} ${times.toFixed(0).padStart(5)} x ${what}`,
      ),
    '',
    ...lines
      .slice(0, rows)
      .map(
        ({ what, each, one, times }) =>
          `${each.toFixed(3).padStart(9)} ms ${percent(each).padStart(7)} ${times.toFixed(0).padStart(5)} x ${one.toFixed(1).padStart(8)} us  ${what}`,
      ),
  ].join('\n');
};
/** By what they are. */
function group(entries) {
  const found = new Map();
  for (const each of entries) found.set(each.what, [...(found.get(each.what) ?? []), each]);
  return found;
}

const [, script, file, ...rest] = argv;
if (script?.endsWith('trace.mjs') && file !== undefined) {
  const given = (name, otherwise) => (rest.includes(name) ? Number(rest[rest.indexOf(name) + 1]) : otherwise);
  console.log(summary(readFileSync(file, 'utf8'), { steps: given('--steps', 4), rows: given('--rows', 40) }));
}
