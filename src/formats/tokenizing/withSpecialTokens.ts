/** Encoding with what the post-processor puts around a text, where that is asked for. */
import type { Encoder } from './encoder.js';
import type { Surround } from './postProcessor.js';
import { wellFormed } from './wellFormed.js';

interface Asked {
  readonly addSpecialTokens: boolean;
}

/** The tokenizer's functions over a bare encoder. */
export const withSpecialTokens = (encoder: Encoder, surround: Surround) => {
  const prefix = Int32Array.from(surround.prefix);
  const suffix = Int32Array.from(surround.suffix);
  const added = prefix.length + suffix.length;
  const around = (ids: Int32Array): Int32Array => {
    const all = new Int32Array(ids.length + added);
    all.set(prefix);
    all.set(ids, prefix.length);
    all.set(suffix, prefix.length + ids.length);
    return all;
  };
  return {
    encode: (text: string, { addSpecialTokens }: Asked): Int32Array => {
      const ids = encoder.ids(wellFormed(text));
      return addSpecialTokens && added > 0 ? around(ids) : ids;
    },
    /** What is added stands for no characters: those in front lie at the beginning, those behind at the end. */
    encodeWithOffsets: (text: string, { addSpecialTokens }: Asked) => {
      const found = encoder.idsWithOffsets(wellFormed(text));
      if (!addSpecialTokens || added === 0) return found;
      const ids = around(found.ids);
      const offsets = new Int32Array(ids.length * 2);
      offsets.set(found.offsets, prefix.length * 2);
      offsets.fill(text.length, (prefix.length + found.ids.length) * 2);
      return { ids, offsets };
    },
  };
};
