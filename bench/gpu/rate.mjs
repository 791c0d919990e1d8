/** The part of bench/gpu.mjs that measures what the card reaches: in products, copies and attention. */
import { check } from './checks.mjs';
import { interpreter, torch } from './machine.mjs';
import { part, tail } from './part.mjs';

export const rate = async (session) => {
  const { dry, share, logged, tell, environment } = session;
  const theirs = await part(interpreter, [torch, 'rate', '--device', dry ? 'cpu' : 'cuda'], {
    seconds: share(45),
    env: environment,
    line: logged,
  });
  const said = theirs.output.findLast((text) => text.startsWith('{'));
  const torchRate = said === undefined ? undefined : JSON.parse(said);
  const ours = await check(session, [`--rate=${dry ? 64 : 8192}`], 45, logged);
  // By each way of computing it that the card has: what RXTUNE_CUDA_ATTENTION chooses from.
  const attention = ours.output.flatMap((text) => {
    const [, columns, way, forwards, backwards] =
      /^attention of (\d+) columns by (\w+): ([\d.e+-]+) forwards, ([\d.e+-]+) backwards/.exec(text) ?? [];
    if (columns === undefined) return [];
    tell(`   ${text}`);
    return [{ columns: Number(columns), way, forwards: Number(forwards), backwards: Number(backwards) }];
  });
  const [, engineRate] = /bfloat16 product: ([\d.e+-]+) operations/.exec(ours.output.join('\n')) ?? [];
  const rates = [torchRate?.operations_per_second, engineRate === undefined ? undefined : Number(engineRate)].filter(
    Boolean,
  );
  if (rates.length === 0) return { state: 'failed', why: tail([...theirs.output, ...ours.output], 4).join(' | ') };
  // The card's rate is the best that was seen on it.
  session.measuredRate = Math.max(...rates);
  for (const [who, each] of [
    ['torch', torchRate?.operations_per_second],
    ['this engine', engineRate],
  ])
    if (each !== undefined) tell(`   bfloat16 product by ${who}: ${Number(each).toExponential(3)} operations a second`);
  if (torchRate !== undefined)
    tell(`   copies by torch: ${torchRate.bytes_per_second.toExponential(3)} bytes a second`);
  return {
    state: 'passed',
    torch: torchRate,
    engineOperationsPerSecond: engineRate === undefined ? undefined : Number(engineRate),
    operationsPerSecond: session.measuredRate,
    attention,
  };
};
