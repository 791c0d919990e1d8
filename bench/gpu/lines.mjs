/** The part of bench/gpu.mjs that times steps, ours and PyTorch's in turns, a line a shape and mode. */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { tokenRows } from '../rows.mjs';
import { here, median, player, rounded } from '../turns.mjs';
import { interpreter, torch } from './machine.mjs';
import { within } from './part.mjs';
import { operationsPerToken, shapes } from './shapes.mjs';
import { tableHead, tableRow } from './table.mjs';
import { summary } from './trace.mjs';

/** 'gpt2-124m-lora': its shape and its mode. */
const partsOf = (name) => [name.slice(0, name.lastIndexOf('-')), name.slice(name.lastIndexOf('-') + 1)];
export const shapesOf = (names) => [...new Set(names.map((name) => partsOf(name)[0]))];

/** A line, with PyTorch's side unless it is told why there is none. */
const measured = async (session, name, without) => {
  const { asked, dry, size, share, environment, logged } = session;
  const [shapeName, mode] = partsOf(name);
  const shape = shapes[shapeName];
  if (shape === undefined) throw new Error(`no shape of this name; there are ${Object.keys(shapes).join(', ')}`);
  const { seq, steps, rounds } = size;
  const batch = asked.batch || shape.batch;
  const folder = await within(share(120), session.checkpoints.get(shapeName), `the checkpoint of ${shapeName}`);
  const turns = rounds + 1;
  const common = [
    '--model',
    folder,
    '--mode',
    mode,
    ...['--batch', `${batch}`],
    ...['--seq', `${seq}`],
    ...['--steps', `${steps}`],
  ];
  const starting = await Promise.allSettled([
    without === undefined
      ? player(
          'PyTorch',
          interpreter,
          [torch, 'step', ...common, '--device', dry ? 'cpu' : 'cuda'],
          environment,
          share(75),
        )
      : Promise.reject(new Error(without)),
    player(
      'rxtune',
      process.execPath,
      [here('ours/gpu.mjs'), ...common, '--turns', `${turns}`],
      environment,
      share(75),
    ),
  ]);
  const [theirs, ours] = starting.map(({ value }) => value);
  let absent = starting[0].status === 'rejected' ? starting[0].reason.message : theirs.ready.unavailable;
  const end = (side) => within(10, side?.end() ?? Promise.resolve(), 'ending').catch(() => undefined);
  const beside = () => theirs !== undefined && absent === undefined;
  if (ours === undefined) {
    await end(theirs);
    throw Object.assign(starting[1].reason, { beside: beside() });
  }
  const rows = tokenRows(batch * steps * turns, seq, shape.vocabulary);
  const pairs = [];
  let cut;
  const theirTurn = async (limit, turn) => {
    const ids = rows.slice(turn * batch * steps, (turn + 1) * batch * steps).flat();
    try {
      return await within(limit, theirs.turn(JSON.stringify(ids)), `${name}, PyTorch's turn`);
    } catch (error) {
      // Ours goes on.
      absent = error.message;
      await end(theirs);
      return undefined;
    }
  };
  try {
    for (let turn = 0; turn < turns && cut === undefined; turn++) {
      const limit = share(60);
      if (limit < 5 && turn > 0) cut = 'no time was left';
      else
        try {
          const a = absent === undefined ? await theirTurn(limit, turn) : undefined;
          const b = await within(limit, ours.turn(), `${name}, our turn`);
          logged(JSON.stringify({ name, turn, theirs: a, ours: b }));
          if (turn > 0) pairs.push([a, b]);
          else if (a !== undefined) pairs.firstLosses = [a.losses[0], b.losses[0]];
        } catch (error) {
          cut = error.message;
        }
    }
  } finally {
    await Promise.all([theirs, ours].map(end));
  }
  if (pairs.length === 0) throw Object.assign(new Error(cut ?? 'nothing was measured'), { beside: beside() });
  const tokens = batch * seq * steps;
  const operations = operationsPerToken(shape, seq, mode);
  const side = (values) => {
    const seconds = median(values.map((value) => value.seconds));
    const perSecond = tokens / seconds;
    return {
      tokensPerSecond: rounded(perSecond),
      peakGiB: rounded(Math.max(...values.map((value) => value.peak_bytes)) / 2 ** 30),
      share: session.measuredRate === undefined ? undefined : rounded((perSecond * operations) / session.measuredRate),
      seconds: values.map((value) => rounded(value.seconds)),
    };
  };
  const both = pairs.filter(([a]) => a !== undefined);
  return {
    name,
    batch,
    ours: side(pairs.map(([, b]) => b)),
    launchesPerStep: pairs.at(-1)[1].launches,
    refusedPerStep: pairs.at(-1)[1].refused,
    idle: rounded(median(pairs.map(([, b]) => b.idle))),
    javascript: rounded(median(pairs.map(([, b]) => b.javascript))),
    ...(both.length > 0
      ? {
          theirs: side(both.map(([a]) => a)),
          ratio: rounded(median(both.map(([a, b]) => a.seconds / b.seconds))),
          memory: rounded(both.at(-1)[1].peak_bytes / Math.max(1, both.at(-1)[0].peak_bytes)),
          firstLosses: pairs.firstLosses,
        }
      : {}),
    ...(absent === undefined ? {} : { absent }),
    ...(cut === undefined ? {} : { cut }),
  };
};

/** What a step of ours is made of, on a card that has nothing else to do. */
const traced = async (session, name) => {
  const { asked, size, share, environment, out, tell } = session;
  const [shapeName, mode] = partsOf(name);
  const file = join(out, `${name}.trace`);
  const turns = 3;
  const ours = await player(
    'rxtune',
    process.execPath,
    [
      here('ours/gpu.mjs'),
      ...['--model', await session.checkpoints.get(shapeName), '--mode', mode, '--seq', `${size.seq}`],
      ...['--batch', `${asked.batch || shapes[shapeName].batch}`, '--steps', `${size.steps}`, '--turns', `${turns}`],
    ],
    { ...environment, RXTUNE_CUDA_TRACE: file },
    share(75),
  );
  try {
    for (let turn = 0; turn < turns; turn++) await within(share(60), ours.turn(), `${name}, traced`);
    // The line after the last turn ends it; it writes what is left before it goes.
    await within(
      15,
      ours.turn().catch(() => undefined),
      `${name}, its trace`,
    );
    for (const text of summary(readFileSync(file, 'utf8'), { steps: size.steps, rows: 24 }).split('\n'))
      tell(`   ${text}`);
  } finally {
    await within(10, ours.end(), 'ending').catch(() => undefined);
    rmSync(file, { force: true });
  }
};

/** Each line is a row of the table as soon as it is there; one that fails takes nothing else with it. */
export const lines = (names) => async (session) => {
  const { asked, dry, result, tell, logged, save, left } = session;
  const enough = dry ? 5 : 25;
  const one = async (name) => {
    if (left() < enough) throw new Error('no time was left');
    try {
      return await measured(session, name);
    } catch (error) {
      // The card may have no room for both.
      logged(`${name}: ${error.message}`);
      if (!error.beside || left() < enough) throw error;
      tell(`   ${name}, without PyTorch beside it, since: ${error.message}`);
      return measured(session, name, `not beside PyTorch: ${error.message}`);
    }
  };
  tell(tableHead);
  for (const name of names) {
    const found = await one(name).catch((error) => ({ name, failed: error.message }));
    result.lines.push(found);
    save();
    tell(tableRow(found, dry));
    if (asked.trace && found.failed === undefined)
      await traced(session, name).catch((error) => tell(`   ${error.message}`));
  }
  const whole = result.lines.every((each) => each.failed === undefined && each.cut === undefined);
  return { state: whole ? 'passed' : 'incomplete' };
};
