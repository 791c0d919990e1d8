/** Programs with an end in time, for a bench that must be over by a given moment and keep what it has until then. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const running = new Set();
const kill = (child) => {
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // it is over already
  }
};

/** Ends all programs that run, and what they started. */
export const endParts = () => running.forEach(kill);

/**
 * Runs a program for at most `seconds` and resolves with {code, output, cut}; never rejects. What it started ends with it. A code of
 * null: it could not be started, or was ended by a signal. `line` hears each line as it comes.
 */
export const part = (command, args, { seconds, env = {}, cwd, line = () => undefined }) =>
  new Promise((done) => {
    const child = spawn(command, args, {
      cwd,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    running.add(child);
    const lines = [];
    let cut = false;
    const end = () => {
      cut = true;
      kill(child);
    };
    const timer = setTimeout(end, Math.max(1, seconds) * 1000);
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on('line', (text) => {
        lines.push(text);
        line(text);
      });
    child.on('error', (error) => lines.push(error.message));
    child.on('close', (code) => {
      clearTimeout(timer);
      running.delete(child);
      done({ code, cut, output: lines });
    });
  });

/** A promise that gives up, with an error, after so many seconds. */
export const within = (seconds, promise, what) => {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`${what}: not done in ${seconds.toFixed(0)} s`)), seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

/** A file's or a program's last words, for a result that must stay small. */
export const tail = (lines, count = 12) => lines.filter((text) => text.trim() !== '').slice(-count);
