/** Stop strings where a model writes: against transformers, and as the command line takes them. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { lastValueFrom, toArray } from 'rxjs';
import { orThrow } from '../../src/errors.js';
import { generateText, type GenerateTextOptions } from '../../src/train/generating/generateText.js';
import { load, type Loaded } from '../../src/train/loading/load.js';
import { untilStopText } from '../../src/train/generating/stopStrings.js';
import { base, built, rxtune } from '../cli/rxtune.js';
import { startUnderTest } from '../engine.js';

interface Case {
  readonly prompt: string;
  readonly stop: ReadonlyArray<string>;
  readonly ids: ReadonlyArray<number>;
  /** Of all ids, special tokens left out. */
  readonly text: string;
}
const { cases } = JSON.parse(readFileSync(new URL('../golden/stopStrings.json', import.meta.url), 'utf8')) as {
  readonly cases: ReadonlyArray<Case>;
};

let loaded: Loaded;
beforeAll(async () => {
  await startUnderTest();
  loaded = await orThrow(load(base));
});

const written = (prompt: string, options: GenerateTextOptions): Promise<ReadonlyArray<string>> => {
  const ids = loaded.tokenizer.encode(prompt, { addSpecialTokens: false });
  return lastValueFrom(generateText(loaded, ids, { maxNewTokens: 24, ...options }).pipe(toArray()));
};

describe('generation with stop strings', () => {
  test.each(cases.map((one) => [one.stop, one] as const))(
    '%j as transformers',
    async (_stop, { prompt, stop, ids, text }) => {
      const pieces = await written(prompt, { stop });
      // transformers gives what the last token has beyond the stop string, too.
      expect(pieces.join('')).toBe(untilStopText(text, { stop, includeStop: true }));
      const stopped = stop.some((one) => text.includes(one));
      // One piece an id, and what is left at the end of decoding and of stopping.
      expect(pieces).toHaveLength(ids.length + (stopped ? 1 : 2));
    },
  );

  test('the stop string is left out where that is asked for', async () => {
    const [{ prompt, text } = { prompt: '', text: '' }] = cases;
    expect((await written(prompt, { stop: 'grey', includeStop: false })).join('')).toBe(text.slice(0, -'grey'.length));
  });

  test('what generation refuses is an error of the stream, and the caller’s', async () => {
    await expect(written('a', { topP: 3 })).rejects.toMatchObject({
      code: 'E_GENERATE',
      kind: 'usage',
      message: expect.stringMatching(/^nothing can be generated: topP is /) as unknown,
    });
    await expect(written('', {})).rejects.toMatchObject({ code: 'E_GENERATE', kind: 'usage' });
  });

  test('an empty stop string is none', async () => {
    const told = lastValueFrom(generateText(loaded, Int32Array.of(1), { stop: ['a', ''] }));
    await expect(told).rejects.toMatchObject({ code: 'E_GENERATE', kind: 'usage', details: { field: 'stop' } });
  });
});

describe('on the command line', () => {
  beforeAll(() => void built());
  const prompt = cases[0]?.prompt ?? '';

  test.each([
    [['--stop', ', grey,'], 'June: 2 x shelf, grey,\n'],
    // A comma does not part one flag into two texts, nor are spaces taken off.
    [['--stop', 'shelf,grey', '--stop', ' x '], 'June: 2 x \n'],
    [['--stop', ' x', '--include-stop', 'false'], 'June: 2\n'],
  ])('%j', async (flags, out) => {
    expect(await rxtune('generate', '--model', base, '--prompt', prompt, ...flags)).toMatchObject({ code: 0, out });
  });

  test('an empty text is refused', async () => {
    const outcome = await rxtune('generate', '--model', base, '--prompt', prompt, '--stop', '');
    expect(outcome).toMatchObject({ code: 2, out: '' });
    expect(outcome.err).toContain('wrong value for --stop.0');
  });
});
