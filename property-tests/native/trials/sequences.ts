/** Trials of what looks from token to token: positions, attention, convolutions, recurrences. */
import fc from 'fast-check';
import {
  RxAttention,
  RxAttentionGrad,
  RxJoinedAttention,
  RxJoinedAttentionGrad,
} from '../../../src/model/kernels/attention.js';
import { RxCachedAttention, RxWriteRows } from '../../../src/model/kernels/cachedAttention.js';
import { RxCausalConv, RxCausalConvGrad } from '../../../src/model/kernels/causalConv.js';
import { RxGatedDeltaRule, RxGatedDeltaRuleGrad } from '../../../src/model/kernels/gatedDeltaRule.js';
import { RxLatentHeads, RxLatentHeadsGrad } from '../../../src/model/kernels/latentHeads.js';
import { RxRope } from '../../../src/model/kernels/rope.js';
import { RxSelectiveScan, RxSelectiveScanGrad } from '../../../src/model/kernels/selectiveScan.js';
import { RxStateSpaceScan, RxStateSpaceScanGrad } from '../../../src/model/kernels/stateSpaceScan.js';
import type { Values } from '../../../test/native.js';
import { borders, maker, seeds, size } from './drawn.js';
import { trial } from './trial.js';

export const rotary = fc
  .record({
    n: size(30),
    heads: size(4),
    half: size(20),
    rest: fc.nat(5),
    inverse: fc.boolean(),
    interleaved: fc.boolean(),
    seed: seeds,
  })
  .map(({ n, heads, half, rest, inverse, interleaved, seed }) => {
    const { values } = maker(seed);
    const headDim = 2 * half + rest;
    return trial(
      RxRope,
      { x: values(n, heads * headDim), cos: values(n, half), sin: values(n, half) },
      { heads, headDim, rotaryDim: 2 * half, inverse, interleaved },
    );
  });

export const latent = fc
  .record({
    n: size(30),
    heads: size(4),
    nopeDim: size(20),
    half: size(20),
    valueDim: size(40),
    interleaved: fc.boolean(),
    seed: seeds,
  })
  .chain(({ n, heads, nopeDim, half, valueDim, interleaved, seed }) => {
    const { values } = maker(seed);
    const ropeDim = 2 * half;
    const angles = { cos: values(n, half), sin: values(n, half) };
    const query = (): Values => values(n, heads * (nopeDim + ropeDim));
    const attrs = { heads, nopeDim, ropeDim, valueDim, interleaved };
    return fc.constantFrom(
      trial(
        RxLatentHeads,
        { q: query(), kv: values(n, heads * (nopeDim + valueDim)), shared: values(n, ropeDim), ...angles },
        attrs,
      ),
      trial(RxLatentHeadsGrad, { dq: query(), dk: query(), dv: values(n, heads * valueDim), ...angles }, attrs),
    );
  });

export const attended = fc
  .record({
    n: size(70),
    kvHeads: size(3),
    group: size(3),
    headDim: size(40),
    narrow: fc.boolean(),
    window: fc.constantFrom(0, 1, 5, 40),
    grad: fc.boolean(),
    joined: fc.boolean(),
    softcap: fc.constantFrom(undefined, 0.8, 5),
    sunk: fc.boolean(),
    alibi: fc.constantFrom(undefined, 0.5),
    seed: seeds,
  })
  .map(({ n, kvHeads, group, headDim, narrow, window, grad, joined, softcap, sunk, alibi, seed }) => {
    const make = maker(seed);
    const heads = kvHeads * group;
    const valueDim = narrow && !joined ? Math.ceil(headDim / 3) : headDim;
    const inputs = joined
      ? { qkv: make.values(n, (heads + 2 * kvHeads) * headDim) }
      : {
          q: make.values(n, heads * headDim),
          k: make.values(n, kvHeads * headDim),
          v: make.values(n, kvHeads * valueDim),
        };
    const [forward, backward] = joined ? [RxJoinedAttention, RxJoinedAttentionGrad] : [RxAttention, RxAttentionGrad];
    const attrs = {
      cuSeqlens: borders(n, make),
      heads,
      kvHeads,
      headDim,
      valueDim,
      scale: headDim ** -0.5,
      window,
      softcap,
      alibi,
    };
    const sinks = sunk && !joined ? make.values(heads) : undefined;
    if (!grad) return trial(forward, { ...inputs, sinks }, attrs, { tolerance: 1e-4 });
    // lse as large as it can be, so that probabilities stay below 1
    const lse = make.positive(n, heads);
    return trial(
      backward,
      {
        ...inputs,
        out: make.values(n, heads * valueDim),
        lse: { shape: lse.shape, values: lse.values.map((x) => x + Math.log(n) + headDim ** 0.5) },
        dOut: make.values(n, heads * valueDim),
      },
      attrs,
      { tolerance: 1e-4 },
    );
  });

export const kept = fc
  .record({
    n: size(4),
    before: fc.nat(70),
    room: fc.nat(5),
    kvHeads: size(3),
    group: size(3),
    headDim: size(40),
    narrow: fc.boolean(),
    window: fc.nat(20),
    softcap: fc.constantFrom(undefined, 0.8, 5),
    sunk: fc.boolean(),
    alibi: fc.constantFrom(undefined, 0.5),
    seed: seeds,
  })
  .chain(({ n, before, room, kvHeads, group, headDim, narrow, window, softcap, sunk, alibi, seed }) => {
    const { values } = maker(seed);
    const [rows, heads] = [before + n, kvHeads * group];
    const valueDim = narrow ? Math.ceil(headDim / 3) : headDim;
    const table = (width = headDim): Values => values(rows + room, kvHeads * width);
    return fc.constantFrom(
      trial(
        RxCachedAttention,
        {
          q: values(n, heads * headDim),
          keys: table(),
          values: table(valueDim),
          sinks: sunk ? values(heads) : undefined,
        },
        { rows, heads, kvHeads, headDim, valueDim, scale: 0.4, window, softcap, alibi },
      ),
      trial(RxWriteRows, { table: table(), x: values(n, kvHeads * headDim) }, { at: before }, { inPlace: ['table'] }),
    );
  });

export const deltaRuled = fc
  .record({
    n: size(90),
    keyHeads: size(3),
    group: size(3),
    keyDim: fc.integer({ min: 8, max: 40 }),
    valueDim: size(40),
    seed: seeds,
  })
  .chain(({ n, keyHeads, group, keyDim, valueDim, seed }) => {
    const make = maker(seed);
    const valueHeads = keyHeads * group;
    const cuSeqlens = borders(n, make);
    const gates = (of: (x: number) => number): Values => {
      const drawn = make.values(n, valueHeads);
      return { ...drawn, values: drawn.values.map(of) };
    };
    const inputs = {
      qkv: make.values(n, 2 * keyHeads * keyDim + valueHeads * valueDim),
      decay: gates((x) => -0.3 * x * x),
      rate: gates((x) => 1 / (1 + Math.exp(-x))),
    };
    const attrs = { cuSeqlens, keyHeads, valueHeads, keyDim, valueDim };
    const state = make.maybe(() => make.values((cuSeqlens.length - 1) * valueHeads * keyDim, valueDim));
    return fc.constantFrom(
      trial(RxGatedDeltaRule, { ...inputs, state }, { ...attrs, keeps: true }),
      trial(RxGatedDeltaRuleGrad, { ...inputs, dOut: make.values(n, valueHeads * valueDim) }, attrs, {
        tolerance: 1e-4,
      }),
    );
  });

export const convolved = fc
  .record({
    n: size(150),
    c: size(150),
    taps: size(6),
    silu: fc.boolean(),
    gated: fc.boolean(),
    needWeights: fc.boolean(),
    seed: seeds,
  })
  .chain(({ n, c, taps, silu, gated, needWeights, seed }) => {
    const make = maker(seed);
    const x = make.values(n, gated ? 3 * c : c);
    const inputs = { x, weight: make.values(c, 1, taps), bias: make.maybe(() => make.values(c)) };
    const attrs = { cuSeqlens: borders(n, make), silu, gated };
    return fc.constantFrom(
      trial(RxCausalConv, inputs, attrs),
      trial(RxCausalConvGrad, { ...inputs, dy: make.values(n, c) }, { ...attrs, needWeights }, { rough: true }),
    );
  });

export const scanned = fc
  .record({
    n: size(200),
    groups: size(3),
    perGroup: size(3),
    headDim: size(20),
    stateDim: size(20),
    least: fc.constantFrom(0, 0.4),
    most: fc.constantFrom(Infinity, 0.8),
    keepsState: fc.boolean(),
    seed: seeds,
  })
  .chain(({ n, groups, perGroup, headDim, stateDim, least, most, keepsState, seed }) => {
    const make = maker(seed);
    const heads = groups * perGroup;
    const attrs = { cuSeqlens: borders(n, make), heads, headDim, groups, stateDim, least, most };
    const inputs = {
      xbc: make.values(n, heads * headDim + 2 * groups * stateDim),
      dt: make.values(n, heads),
      aLog: make.values(heads),
      skip: make.values(heads),
      dtBias: make.values(heads),
    };
    const rows = (attrs.cuSeqlens.length - 1) * heads * stateDim;
    return fc.constantFrom(
      trial(
        RxStateSpaceScan,
        { ...inputs, state: make.maybe(() => make.values(rows, headDim)) },
        { ...attrs, keepsState },
        { tolerance: 1e-4, rough: true },
      ),
      trial(RxStateSpaceScanGrad, { ...inputs, dy: make.values(n, heads * headDim) }, attrs, {
        tolerance: 1e-4,
        rough: true,
      }),
    );
  });

export const selectivelyScanned = fc
  .record({ n: size(60), channels: size(40), stateDim: size(20), keepsState: fc.boolean(), seed: seeds })
  .chain(({ n, channels, stateDim, keepsState, seed }) => {
    const make = maker(seed);
    const attrs = { cuSeqlens: borders(n, make) };
    const inputs = {
      x: make.values(n, channels),
      dt: make.values(n, channels),
      b: make.values(n, stateDim),
      c: make.values(n, stateDim),
      aLog: make.values(channels, stateDim),
      skip: make.values(channels),
    };
    const rows = (attrs.cuSeqlens.length - 1) * channels;
    return fc.constantFrom(
      trial(
        RxSelectiveScan,
        { ...inputs, state: make.maybe(() => make.values(rows, stateDim)) },
        { ...attrs, keepsState },
        { tolerance: 1e-4, rough: true },
      ),
      trial(RxSelectiveScanGrad, { ...inputs, dy: make.values(n, channels) }, attrs, { tolerance: 1e-4, rough: true }),
    );
  });
