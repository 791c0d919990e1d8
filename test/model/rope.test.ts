import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { dispose } from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { modelConfig } from '../../src/model/architectures.js';
import { inverseFrequencies } from '../../src/model/attention/inverseFrequencies.js';
import { rotaryAngles } from '../../src/model/attention/rope.js';
import { ropeConfig, withRopeScaling } from '../../src/model/attention/ropeConfig.js';
import type { RopeConfig } from '../../src/model/attention/ropeConfig.js';
import { orThrow } from './loadModel.js';
import { makeRaw } from './rawConfigs.js';

const sizes = { headDim: 8, maxPositions: 32 };
const frequencies = (raw: object, length = 1): ReadonlyArray<number> =>
  Array.from(inverseFrequencies(orThrow(ropeConfig({ ...raw }, sizes)), length).frequencies);

describe('rotary frequencies', () => {
  it('fall from 1 by the base', () => {
    const [first, second, third, last] = frequencies({});
    expect([first, second, third, last]).toEqual([1, 10_000 ** -0.25, 10_000 ** -0.5, 10_000 ** -0.75]);
    expect(frequencies({ rope_theta: 16 })[1]).toBeCloseTo(0.5, 12);
  });

  it('are read from the old fields and the new alike', () => {
    const old = { rope_theta: 500, rope_scaling: { type: 'linear', factor: 4 } };
    const now = { rope_parameters: { rope_type: 'linear', rope_theta: 500, factor: 4 } };
    expect(frequencies(now)).toEqual(frequencies(old));
    expect(frequencies(old)[0]).toBe(0.25);
  });

  it('with another scaling keep their base, and the share of a head that turns', () => {
    const linear = { rope_type: 'linear', factor: 4 };
    const old = { rope_theta: 500, partial_rotary_factor: 0.5, rope_scaling: { type: 'yarn' } };
    const now = { rope_parameters: { rope_type: 'yarn', rope_theta: 500, partial_rotary_factor: 0.5 } };
    for (const raw of [old, now])
      expect(orThrow(ropeConfig(withRopeScaling(raw, linear), sizes))).toMatchObject({
        theta: 500,
        rotaryDim: 4,
        scaling: { kind: 'linear', factor: 4 },
      });
    const byKind = { rope_parameters: { full_attention: { rope_theta: 500 }, sliding_attention: { rope_theta: 50 } } };
    expect(withRopeScaling(byKind, linear)).toEqual({
      rope_parameters: { full_attention: { rope_theta: 500, ...linear }, sliding_attention: { rope_theta: 50 } },
    });
  });

  it('take a magnitude of 0 for none, as files of DeepSeek and Hunyuan have it', () => {
    const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 8 };
    const scalingWith = (more: object): object =>
      orThrow(ropeConfig({ rope_scaling: { ...yarn, ...more } }, sizes)).scaling;
    expect(scalingWith({ mscale: 1, mscale_all_dim: 0 })).toEqual(scalingWith({}));
    expect(scalingWith({ mscale: 0, mscale_all_dim: 1 })).toMatchObject(scalingWith({}));
    expect(scalingWith({ mscale: 1, mscale_all_dim: 1 })).toMatchObject({ attentionFactor: 1 });
    const alpha = 1000;
    const hunyuan = { alpha, beta_fast: 32, beta_slow: 1, factor: 1, mscale: 1, mscale_all_dim: 0, type: 'dynamic' };
    const { rope } = orThrow(modelConfig({ ...makeRaw('hunyuan_v1_dense'), rope_scaling: hunyuan })) as {
      readonly rope?: RopeConfig;
    };
    expect(rope).toMatchObject({ scaling: { kind: 'default' } });
    expect(rope?.theta).toBeGreaterThan(1e6);
  });

  it('with another scaling keep nothing of the one before', () => {
    const yarn = { rope_type: 'yarn', factor: 8, attention_factor: 1.5 };
    const other = { rope_type: 'yarn', factor: 16 };
    const full_attention = { rope_theta: 500, ...yarn };
    for (const before of [
      { rope_parameters: { full_attention } },
      { rope_parameters: { full_attention }, rope_scaling: yarn },
    ])
      expect(withRopeScaling(before, other)).toEqual({
        rope_parameters: { full_attention: { rope_theta: 500, ...other } },
      });
    for (const before of [{ rope_scaling: full_attention }, { rope_parameters: full_attention }])
      expect(orThrow(ropeConfig(withRopeScaling(before, other), sizes))).toMatchObject({
        theta: 500,
        scaling: { factor: 16, attentionFactor: 0.1 * Math.log(16) + 1 },
      });
  });

  it('with another scaling keep their base where the model type has its own name for it', () => {
    const { rotary_pct: _, ...silent } = makeRaw('gpt_neox');
    const rope_parameters = { rope_type: 'default', rope_theta: 500, partial_rotary_factor: 1 };
    const config = orThrow(
      modelConfig(withRopeScaling({ ...silent, rope_parameters }, { rope_type: 'linear', factor: 4 })),
    );
    expect(config).toMatchObject({
      rope: { theta: 500, rotaryDim: config.headDim, scaling: { kind: 'linear', factor: 4 } },
    });
  });

  it('of a partly turned head cover that part', () => {
    const config = orThrow(ropeConfig({ partial_rotary_factor: 0.5 }, sizes));
    expect(config.rotaryDim).toBe(4);
    expect(inverseFrequencies(config, 1).frequencies).toHaveLength(2);
  });

  it('grow their base past the trained length under dynamic scaling only', () => {
    const raw = { rope_scaling: { rope_type: 'dynamic', factor: 2 } };
    expect(frequencies(raw, 32)).toEqual(frequencies({}));
    const base = 10_000 * ((2 * 64) / 32 - 1) ** (8 / 6);
    expect(frequencies(raw, 64)[1]).toBeCloseTo(base ** -0.25, 12);
  });

  it('keep high ones and divide low ones under llama3 scaling', () => {
    const raw = {
      rope_scaling: {
        rope_type: 'llama3',
        factor: 8,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: 32,
      },
    };
    const plain = frequencies({});
    const scaled = frequencies(raw);
    expect(scaled[0]).toBe(plain[0]);
    expect(scaled[3]).toBeCloseTo((plain[3] ?? NaN) / 8, 12);
  });

  it('of yarn lengthen the vectors by its attention factor', () => {
    const raw = { rope_scaling: { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 16 } };
    const config = orThrow(ropeConfig(raw, sizes));
    expect(inverseFrequencies(config, 1).magnitude).toBeCloseTo(0.1 * Math.log(4) + 1, 12);
    const given = orThrow(ropeConfig({ rope_scaling: { ...raw.rope_scaling, attention_factor: 1.5 } }, sizes));
    const { cos, sin } = rotaryAngles(given, {
      inputIds: Int32Array.of(0),
      positionIds: Int32Array.of(0),
      cuSeqlens: Int32Array.of(0, 1),
    });
    expect(Array.from(cos.dataSync())).toEqual([1.5, 1.5, 1.5, 1.5]);
    expect(Array.from(sin.dataSync())).toEqual([0, 0, 0, 0]);
    dispose([cos, sin]);
  });
});

describe('as transformers has them (reference/rope_frequencies.py)', () => {
  const { cases } = JSON.parse(readFileSync(resolve(import.meta.dirname, '..', 'golden', 'rope.json'), 'utf8')) as {
    readonly cases: ReadonlyArray<{
      readonly name: string;
      readonly config: Readonly<Record<string, unknown>>;
      readonly length: number;
      readonly frequencies: ReadonlyArray<number>;
      readonly magnitude: number;
    }>;
  };

  it.each(cases)('$name', ({ config, length, frequencies: expected, magnitude }) => {
    const known = orThrow(ropeConfig(config, { headDim: 16, maxPositions: 64 }));
    const found = inverseFrequencies(known, length);
    expect(found.frequencies).toHaveLength(expected.length);
    // The reference has float32 numbers, its powers and logarithms included.
    expected.forEach((value, i) => expect(Math.abs((found.frequencies[i] ?? NaN) / value - 1)).toBeLessThan(2e-6));
    expect(Math.abs(found.magnitude / magnitude - 1)).toBeLessThan(1e-6);
  });
});
