/** Checkpoints with random weights for the lines of bench/gpu.mjs, made one after the other while the checks run. */
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { here } from '../turns.mjs';
import { interpreter, torch } from './machine.mjs';
import { part, tail } from './part.mjs';

const all = join(tmpdir(), `rxtune-gpu-${process.pid}`);

/** By shape: the folder, when it is there. */
export const makeCheckpoints = ({ share, logged, environment }, shapes) => {
  let before = Promise.resolve();
  const made = new Map();
  for (const shape of shapes) {
    const folder = join(all, shape);
    before = before.then(async () => {
      const theirs = await part(interpreter, [torch, 'make', shape, folder], {
        seconds: share(150),
        env: environment,
        line: logged,
      });
      if (theirs.code === 0) return theirs;
      rmSync(folder, { recursive: true, force: true });
      return part(process.execPath, [here('gpu/checkpoint.mjs'), shape, folder], { seconds: share(90), line: logged });
    });
    made.set(
      shape,
      before.then(({ code, output }) => {
        if (code !== 0) throw new Error(`no checkpoint of ${shape}: ${tail(output, 2).join(' ')}`);
        return folder;
      }),
    );
    made.get(shape).catch(() => undefined);
  }
  return made;
};

export const removeCheckpoints = () => rmSync(all, { recursive: true, force: true });
