import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { dispose, fill, memory } from '@tensorflow/tfjs-core';
import { attachLora } from '../../src/model/adapters/adapter.js';
import { distribution, generate, penalised } from '../../src/model/generate.js';
import type { GenerateOptions } from '../../src/model/generate.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import type { CausalLM } from '../../src/model/model.js';
import { startUnderTest } from '../engine.js';
import { loadModel, orThrow } from './loadModel.js';

let model: CausalLM;
beforeAll(async () => {
  await startUnderTest('wasm');
  model = loadModel(new URL('../golden/models/gpt2', import.meta.url).pathname);
});
afterAll(() => dispose(Object.values(model.weights)));

const idsOf = async (options: GenerateOptions, prompt = [1, 2, 3]): Promise<ReadonlyArray<number>> => {
  const ids: number[] = [];
  for await (const id of generate(model, Int32Array.from(prompt), options)) ids.push(id);
  return ids;
};

describe('generation', () => {
  it('ends with a stop id, which it gives', async () => {
    const free = await idsOf({ maxNewTokens: 6, stopIds: [] });
    const stop = free[2] ?? 0;
    expect(await idsOf({ maxNewTokens: 6, stopIds: [stop] })).toEqual(free.slice(0, free.indexOf(stop) + 1));
  });

  it('ends where the model has no positions left', async () => {
    expect(await idsOf({ maxNewTokens: 1000, stopIds: [] })).toHaveLength(model.config.maxPositions - 3);
  });

  it('refuses an empty prompt', async () => {
    await expect(idsOf({}, [])).rejects.toThrow(RangeError);
  });

  it('refuses an id outside the vocabulary', async () => {
    await expect(idsOf({}, [1, model.config.vocabSize])).rejects.toThrow(
      'holds the id 40, the vocabulary has 40 entries',
    );
  });

  it.each([['q_proj'], ['lm_head']])('keeps no tensor where it is refused, with an adapter of %s', async (module) => {
    const base = loadModel(new URL('../golden/models/llama', import.meta.url).pathname);
    const adapted = orThrow(
      attachLora(base, orThrow(LoraConfig.decode({ r: 2, targetModules: [module] })), { seed: 0 }),
    );
    const before = memory().numTensors;
    const ids = generate(adapted, Int32Array.of(1, base.config.vocabSize));
    await expect(ids.next()).rejects.toThrow(RangeError);
    expect(memory().numTensors).toBe(before);
    dispose(Object.values(adapted.weights));
  });

  it('refuses a prompt that fills more than all positions, and numbers out of range', async () => {
    const long = Array.from({ length: model.config.maxPositions + 1 }, () => 1);
    await expect(idsOf({}, long)).rejects.toThrow(`the prompt has ${long.length} tokens`);
    for (const [options, name] of [
      [{ temperature: -1 }, 'temperature'],
      [{ temperature: NaN }, 'temperature'],
      [{ topK: 0 }, 'topK'],
      [{ topP: 1.5 }, 'topP'],
      [{ minP: -0.1 }, 'minP'],
      [{ repetitionPenalty: 0 }, 'repetitionPenalty'],
      [{ maxNewTokens: 1.5 }, 'maxNewTokens'],
      [{ minNewTokens: -1 }, 'minNewTokens'],
    ] as const)
      await expect(idsOf(options)).rejects.toThrow(new RegExp(`^${name} is `));
  });

  it('gives no stop id before there are minNewTokens', async () => {
    const free = await idsOf({ maxNewTokens: 6, stopIds: [] });
    const stopIds = [free[0] ?? 0];
    expect(await idsOf({ maxNewTokens: 6, stopIds })).toHaveLength(1);
    const ids = await idsOf({ maxNewTokens: 6, minNewTokens: 3, stopIds });
    expect(ids.length).toBeGreaterThanOrEqual(3);
    expect(ids.slice(0, 3)).not.toContain(stopIds[0]);
  });

  describe('of damaged weights', () => {
    // A bias of the last norm in place of numbers: the logits are what the head makes of it.
    const biased = (value: number): CausalLM => {
      const name = 'transformer.ln_f.bias';
      const bias = model.weights[name];
      if (bias === undefined) throw new Error('no such weight');
      return { ...model, weights: { ...model.weights, [name]: fill(bias.shape, value) } };
    };
    const failure = async (damaged: CausalLM, options: GenerateOptions): Promise<unknown> => {
      const ids: number[] = [];
      try {
        for await (const id of generate(damaged, Int32Array.of(1, 2), { maxNewTokens: 3, stopIds: [], ...options }))
          ids.push(id);
      } catch (error) {
        return error;
      }
      return ids;
    };

    it.each([0, 1])('ends in an error that names the token, at temperature %p', async (temperature) => {
      expect(await failure(biased(NaN), { temperature })).toMatchObject({
        code: 'E_NON_FINITE',
        message: 'token 1 of the continuation cannot be chosen',
        details: { actual: 'NaN for 40 of 40 ids' },
      });
      expect(await failure(biased(Infinity), { temperature })).toMatchObject({ code: 'E_NON_FINITE' });
    });

    it.each([0, 1])('and so where no id is left to choose, at temperature %p', async (temperature) => {
      const stopIds = Array.from({ length: model.config.vocabSize }, (_, id) => id);
      expect(await failure(model, { temperature, stopIds, minNewTokens: 1 })).toMatchObject({
        code: 'E_NON_FINITE',
        details: { actual: '-Infinity for every id' },
      });
      // All but one barred is a choice.
      expect(await failure(model, { temperature, stopIds: stopIds.slice(1), minNewTokens: 3 })).toEqual([0, 0, 0]);
    });
  });

  it('keeps no tensor, even when it is left early', async () => {
    const before = memory().numTensors;
    await idsOf({ maxNewTokens: 3, stopIds: [] });
    for await (const id of generate(model, Int32Array.of(1), { maxNewTokens: 5, stopIds: [] })) {
      expect(id).toBeGreaterThanOrEqual(0);
      break;
    }
    expect(memory().numTensors).toBe(before);
  });

  describe('of several texts at once', () => {
    /** The model, and how often its last norm was read: once a pass. */
    const counted = (): { readonly watched: CausalLM; readonly passes: () => number } => {
      let passes = 0;
      const weights = new Proxy(model.weights, {
        get: (all, name) => {
          if (name === 'transformer.ln_f.weight') passes++;
          return all[String(name)];
        },
      });
      return { watched: { ...model, weights }, passes: () => passes };
    };
    const continued = async (of: CausalLM, prompt: ReadonlyArray<number>, maxNewTokens = 4) => {
      const ids: number[] = [];
      for await (const id of generate(of, Int32Array.from(prompt), { maxNewTokens, stopIds: [] })) ids.push(id);
      return ids;
    };
    const prompts = [[1, 2, 3], [4], [5, 6]];

    it('reads the weights once for all of them', async () => {
      const alone = counted();
      const expected = [];
      for (const prompt of prompts) expected.push(await continued(alone.watched, prompt));
      const { watched, passes } = counted();
      expect(await Promise.all(prompts.map((prompt) => continued(watched, prompt)))).toEqual(expected);
      expect([alone.passes(), passes()]).toEqual([12, 4]);
    });

    it('refuses a wrong prompt alone, and goes on with the others', async () => {
      const { watched } = counted();
      const [wrong, right] = await Promise.allSettled([continued(watched, [99]), continued(watched, [1, 2, 3])]);
      expect(wrong.status).toBe('rejected');
      expect(right).toEqual({ status: 'fulfilled', value: await continued(model, [1, 2, 3]) });
    });

    it('goes on after a pass that failed, which fails for all that were in it', async () => {
      let fails = true;
      const weights = new Proxy(model.weights, {
        get: (all, name) => {
          if (fails && name === 'transformer.ln_f.weight') throw new Error('the card is gone');
          return all[String(name)];
        },
      });
      const broken = { ...model, weights };
      const settled = await Promise.allSettled(prompts.map((prompt) => continued(broken, prompt)));
      expect(settled.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
      fails = false;
      expect(await continued(broken, [1, 2, 3])).toEqual(await continued(model, [1, 2, 3]));
    });

    it('does not wait for one that is not read on', async () => {
      const { watched } = counted();
      const slow = generate(watched, Int32Array.of(7), { maxNewTokens: 4, stopIds: [] });
      await slow.next();
      expect(await continued(watched, [1, 2, 3])).toEqual(await continued(model, [1, 2, 3]));
      await slow.return();
    });
  });

  it('draws the same for the same seed, and something else for another', async () => {
    const options = { maxNewTokens: 12, stopIds: [], temperature: 1 };
    expect(await idsOf({ ...options, seed: 4 })).toEqual(await idsOf({ ...options, seed: 4 }));
    expect(await idsOf({ ...options, seed: 4 })).not.toEqual(await idsOf({ ...options, seed: 5 }));
  });

  it('of the one likeliest, or a tiny share, is greedy', async () => {
    const greedy = await idsOf({ maxNewTokens: 8, stopIds: [] });
    expect(await idsOf({ maxNewTokens: 8, stopIds: [], temperature: 2, topK: 1 })).toEqual(greedy);
    expect(await idsOf({ maxNewTokens: 8, stopIds: [], temperature: 2, topP: 1e-6 })).toEqual(greedy);
  });
});

describe('the distribution', () => {
  const logits = Float32Array.of(0, Math.log(2), Math.log(4), Math.log(1));

  it('is the softmax, likeliest first', () => {
    const { ids, probabilities } = distribution(logits, { temperature: 1, topK: undefined, topP: 1 });
    expect(ids).toEqual([2, 1, 0, 3]);
    [0.5, 0.25, 0.125, 0.125].forEach((p, i) => expect(probabilities[i]).toBeCloseTo(p, 6));
  });

  it('is cut after the k likeliest, then after the share p, and stretched to 1', () => {
    expect(
      distribution(logits, { temperature: 1, topK: 2, topP: 1 }).probabilities.map((p) => Number(p.toFixed(6))),
    ).toEqual([0.666667, 0.333333]);
    expect(distribution(logits, { temperature: 1, topK: undefined, topP: 0.7 }).ids).toEqual([2, 1]);
    expect(distribution(logits, { temperature: 1, topK: undefined, topP: 0.5 }).ids).toEqual([2]);
  });

  it('leaves out what is less than minP times as likely as the likeliest', () => {
    const kept = (minP: number, topK?: number) => distribution(logits, { temperature: 1, topK, topP: 1, minP }).ids;
    expect(kept(0.4)).toEqual([2, 1]);
    expect(kept(0.2)).toEqual([2, 1, 0, 3]);
    expect(kept(0.2, 3)).toEqual([2, 1, 0]);
    expect(kept(1)).toEqual([2]);
  });

  it('flattens with temperature', () => {
    const { probabilities } = distribution(logits, { temperature: 2, topK: undefined, topP: 1 });
    expect((probabilities[0] ?? 0) / (probabilities[1] ?? 1)).toBeCloseTo(Math.SQRT2, 6);
  });
});

describe('the repetition penalty', () => {
  it('divides what is positive and multiplies what is negative, once an id', () => {
    expect(Array.from(penalised(Float32Array.of(2, -2, 3), [0, 1, 1, 0], 2))).toEqual([1, -4, 3]);
  });
});
