/**
 * A run of bench/gpu.mjs: what was asked, how much time is left, and what was found so far, which is written down at once, since a run may
 * be cut off at any moment.
 */
import { appendFileSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { rounded } from '../turns.mjs';

export const openSession = (asked, began) => {
  const { dry } = asked;
  const out = resolve(asked.out);
  mkdirSync(out, { recursive: true });
  const log = join(out, 'gpu.log');
  writeFileSync(log, '');
  const size = {
    seq: asked.seq || (dry ? 32 : 2048),
    steps: asked.steps || (dry ? 2 : 4),
    rounds: asked.rounds || (dry ? 1 : 4),
  };
  const result = { bench: 'gpu', dry, size, machine: {}, parts: {}, lines: [] };
  const spent = () => (performance.now() - began) / 1000;
  const left = () => asked.seconds - spent();
  const logged = (text) => appendFileSync(log, `${text}\n`);
  const tell = (text) => {
    console.log(text);
    logged(text);
  };
  const save = () => {
    const path = join(out, 'gpu.json');
    writeFileSync(`${path}.new`, `${JSON.stringify({ ...result, seconds: rounded(spent()) }, undefined, 1)}\n`);
    renameSync(`${path}.new`, path);
  };
  const wanted = new Set(asked.only.split(','));
  const session = {
    ...{ asked, dry, out, size, result, spent, left, logged, tell, save },
    /** Variables that programs of the run get. */
    environment: {},
    /** What cannot open the card has nothing to check, and leaves its time to another try. */
    opens: true,
    wants: (part) => wanted.has(part),
    /** At most so many seconds, and never more than are left. Emulation takes what it takes. */
    share: (seconds) => Math.max(1, Math.min(dry ? Math.max(seconds, 3000) : seconds, left())),
    /** Runs a part unless it was not asked for or no time is left; what it throws is its result. */
    section: async (name, run) => {
      if (!wanted.has(name)) return;
      const from = spent();
      tell(`-- ${name} (${from.toFixed(0)} s)`);
      let found;
      if (!session.opens) found = { state: 'not run', why: 'the card was not opened' };
      else if (left() < 5) found = { state: 'not run', why: 'no time was left' };
      else
        try {
          found = await run(session);
        } catch (error) {
          found = { state: 'failed', why: error.message };
        }
      result.parts[name] = { ...found, seconds: rounded(spent() - from) };
      tell(`   ${found.state}${found.why === undefined ? '' : `: ${found.why}`} (${(spent() - from).toFixed(0)} s)`);
      save();
    },
  };
  return session;
};
