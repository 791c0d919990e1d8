/** Text → ids and offsets: added tokens, normaliser, pre-tokeniser, model. */
import { type AddedToken, splitters } from './addedTokens.js';
import { type Aligned, endOf, sliceAligned, startOf, verbatim } from './aligned.js';
import { makeIdBuffer, pushId, takeIds } from './idBuffer.js';
import type { Normalize } from './normalizer.js';
import type { Step } from './preTokenizer.js';
import type { Source, TokenModel } from './tokenModel.js';

export interface EncoderParts {
  readonly addedTokens: ReadonlyArray<AddedToken>;
  readonly normalize: Normalize;
  readonly steps: ReadonlyArray<Step>;
  readonly model: TokenModel;
}

export interface Encoder {
  /** Ids of a well-formed text, without what the post-processor adds. */
  readonly ids: (text: string) => Int32Array;
  readonly idsWithOffsets: (text: string) => { readonly ids: Int32Array; readonly offsets: Int32Array };
}

export const makeEncoder = ({ addedTokens, normalize, steps, model }: EncoderParts): Encoder => {
  const added = splitters(addedTokens, normalize);
  const out = makeIdBuffer();
  const offsets = makeIdBuffer();
  const { scan: modelScan } = model;
  let units = new Uint16Array(4096);

  const sourceOf = (text: string): Source => {
    if (units.length < text.length) units = new Uint16Array(text.length * 2);
    for (let i = 0; i < text.length; i++) units[i] = text.charCodeAt(i);
    return { text, units };
  };

  const word = (aligned: Aligned, source: Source, from: number, to: number): void => {
    const first = out.length;
    model.encode(source, from, to, out);
    if (!aligned.tracked) return;
    model.spans(source, from, to, out, first, (start, end) => {
      pushId(offsets, startOf(aligned, start));
      pushId(offsets, endOf(aligned, Math.max(start, end - 1)));
    });
  };

  /** One pre-token, cut further where the model says that this changes nothing. */
  const piece = (aligned: Aligned, source: Source, from: number, to: number): void => {
    if (modelScan === undefined) {
      word(aligned, source, from, to);
      return;
    }
    for (let at = from; at < to; ) {
      const end = modelScan(source.units, at, to);
      word(aligned, source, at, end);
      at = end;
    }
  };

  const run = (aligned: Aligned, index: number): void => {
    const { text } = aligned;
    if (text === '') return;
    const step = steps[index];
    if (step === undefined) {
      piece(aligned, sourceOf(text), 0, text.length);
      return;
    }
    if (step.kind === 'edit') {
      run(step.edit(aligned), index + 1);
      return;
    }
    const last = index === steps.length - 1;
    if (last && step.scan !== undefined) {
      const source = sourceOf(text);
      for (let at = 0; at < text.length; ) {
        const end = step.scan(source.units, at, text.length);
        piece(aligned, source, at, end);
        at = end;
      }
      return;
    }
    const { words, starts } = step.cut(text);
    const source = last ? sourceOf(text) : undefined;
    let at = 0;
    words.forEach((one, i) => {
      if (starts !== undefined) at = starts[i] ?? 0;
      const end = at + one.length;
      if (source !== undefined) piece(aligned, source, at, end);
      else run(sliceAligned(aligned, at, end), index + 1);
      at = end;
    });
  };

  const encode = (text: string, tracked: boolean): void => {
    out.length = 0;
    offsets.length = 0;
    for (const stretch of added.raw(text)) {
      if (stretch.id !== undefined) {
        pushId(out, stretch.id);
        if (tracked) {
          pushId(offsets, stretch.start);
          pushId(offsets, stretch.end);
        }
        continue;
      }
      const section = normalize(verbatim(text.slice(stretch.start, stretch.end), stretch.start, tracked));
      for (const inner of added.normalized(section.text)) {
        if (inner.id === undefined) {
          run(sliceAligned(section, inner.start, inner.end), 0);
          continue;
        }
        pushId(out, inner.id);
        if (tracked) {
          pushId(offsets, startOf(section, inner.start));
          pushId(offsets, endOf(section, inner.end - 1));
        }
      }
    }
  };

  return {
    ids: (text) => {
      encode(text, false);
      return takeIds(out);
    },
    idsWithOffsets: (text) => {
      encode(text, true);
      return { ids: takeIds(out), offsets: takeIds(offsets) };
    },
  };
};
