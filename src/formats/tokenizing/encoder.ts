/** Text → ids and offsets: added tokens, normaliser, pre-tokeniser, model. */
import { type Aligned, endOf, sliceAligned, startOf, verbatim } from './aligned.js';
import { type AddedToken, splitters } from './addedTokens.js';
import { makeIdBuffer } from './idBuffer.js';
import type { Normalize } from './normalizer.js';
import type { Pieces, Step } from './preTokenizer.js';
import type { TokenModel } from './tokenModel.js';

export interface EncoderParts {
  readonly addedTokens: ReadonlyArray<AddedToken>;
  readonly normalize: Normalize;
  readonly steps: ReadonlyArray<Step>;
  readonly model: TokenModel;
  readonly cutsBeforeMark: boolean;
}

export interface Encoder {
  /** Ids of a well-formed text, without what the post-processor adds. */
  readonly ids: (text: string) => Int32Array;
  readonly idsWithOffsets: (text: string) => { readonly ids: Int32Array; readonly offsets: Int32Array };
}

const beforeMark = /\u2581*[^\u2581]+|\u2581+/g;

export const makeEncoder = ({ addedTokens, normalize, steps, model, cutsBeforeMark }: EncoderParts): Encoder => {
  const added = splitters(addedTokens, normalize);
  const out = makeIdBuffer();
  const offsets = makeIdBuffer();
  const cuts: ReadonlyArray<Step> = cutsBeforeMark
    ? [...steps, { kind: 'cut', cut: (text): Pieces => ({ words: text.match(beforeMark) ?? [] }) }]
    : steps;
  const last = cuts.length - 1;

  const word = (aligned: Aligned, text: string, start: number): void => {
    const from = out.length();
    model.encode(text, out);
    if (!aligned.tracked) return;
    model.spans(text, out, from, (a, b) => {
      offsets.push(startOf(aligned, start + a));
      offsets.push(endOf(aligned, start + Math.max(a, b - 1)));
    });
  };

  const run = (aligned: Aligned, index: number): void => {
    if (aligned.text === '') return;
    const step = cuts[index];
    if (step === undefined) {
      word(aligned, aligned.text, 0);
      return;
    }
    if (step.kind === 'edit') {
      run(step.edit(aligned), index + 1);
      return;
    }
    const { words, starts } = step.cut(aligned.text);
    let at = 0;
    for (let i = 0; i < words.length; i++) {
      const piece = words[i] ?? '';
      if (starts !== undefined) at = starts[i] ?? 0;
      if (index === last) word(aligned, piece, at);
      else run(sliceAligned(aligned, at, at + piece.length), index + 1);
      at += piece.length;
    }
  };

  const encode = (text: string, tracked: boolean): void => {
    out.clear();
    offsets.clear();
    for (const stretch of added.raw(text)) {
      if (stretch.id !== undefined) {
        out.push(stretch.id);
        if (tracked) {
          offsets.push(stretch.start);
          offsets.push(stretch.end);
        }
        continue;
      }
      const section = normalize(verbatim(text.slice(stretch.start, stretch.end), stretch.start, tracked));
      for (const inner of added.normalized(section.text)) {
        if (inner.id === undefined) {
          run(sliceAligned(section, inner.start, inner.end), 0);
          continue;
        }
        out.push(inner.id);
        if (tracked) {
          offsets.push(startOf(section, inner.start));
          offsets.push(endOf(section, inner.end - 1));
        }
      }
    }
  };

  return {
    ids: (text) => {
      encode(text, false);
      return out.take();
    },
    idsWithOffsets: (text) => {
      encode(text, true);
      return { ids: out.take(), offsets: offsets.take() };
    },
  };
};
