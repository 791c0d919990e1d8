/**
 * An adapter that began with a part of the weights (PiSSA, OLoRA), on disk: as its difference from that part, which fits the base as
 * it was. s·(B·A - B₀·A₀) = s·[B, -B₀]·[A; A₀] is a plain adapter of twice the rank, as PEFT's
 * `path_initial_model_for_weight_conversion` writes it, and any PEFT reads.
 */
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { StoredTensor, TensorToWrite } from '../../formats/tensors/safetensors.js';
import { adaptersIn, namesOf } from '../../model/adapters/adapterNames.js';
import type { LoraConfig } from '../../model/adapters/lora.js';
import type { CausalLM } from '../../model/model.js';
import type { Weights } from '../../model/layers/layer.js';
import { toWrite } from './toWrite.js';

type Half = 'a' | 'b';

/** Which half a tensor of the adapter in use is. */
const halvesOf = (weights: Weights): ReadonlyMap<string, Half> =>
  new Map(
    adaptersIn(weights)
      .filter(({ further }) => further === undefined)
      .flatMap((site) => {
        const { a, b } = namesOf(site);
        return [[a, 'a'] as const, [b, 'b'] as const];
      }),
  );

const oneBelowTheOther = (upper: Float32Array, lower: Float32Array): Float32Array => {
  const joined = new Float32Array(upper.length + lower.length);
  joined.set(upper);
  joined.set(lower, upper.length);
  return joined;
};

/** Rows of both side by side: [n, r] and [n, r] → [n, 2r]. */
const besideEachOther = (left: Float32Array, right: Float32Array, r: number): Float32Array => {
  const joined = new Float32Array(left.length + right.length);
  for (let row = 0; row * r < left.length; row++) {
    joined.set(left.subarray(row * r, row * r + r), 2 * row * r);
    joined.set(right.subarray(row * r, row * r + r), 2 * row * r + r);
  }
  return joined;
};

/** The options of the adapter as it is written. */
export const convertedOptions = (lora: LoraConfig): LoraConfig => {
  const by = lora.useRslora ? Math.SQRT2 : 2;
  const times = (pattern: Readonly<Record<string, number>>, factor: number): Readonly<Record<string, number>> =>
    Object.fromEntries(Object.entries(pattern).map(([name, value]) => [name, factor * value]));
  return {
    ...lora,
    r: 2 * lora.r,
    loraAlpha: by * lora.loraAlpha,
    rankPattern: times(lora.rankPattern, 2),
    alphaPattern: times(lora.alphaPattern, by),
    initLoraWeights: true,
  };
};

/** The adapter's tensors as they are written; a half that took nothing is filled up with zeros. */
export const convertedTensors = (model: CausalLM, tensors: Weights, taken: Weights): ReadonlyArray<TensorToWrite> => {
  const halves = halvesOf(model.weights);
  return Object.entries(tensors).flatMap(([name, tensor]): ReadonlyArray<TensorToWrite> => {
    const half = halves.get(name);
    if (half === undefined) return toWrite({ [name]: tensor });
    const [first = 0, second = 0] = tensor.shape;
    const began = async (): Promise<Float32Array> =>
      (await taken[name]?.data<'float32'>()) ?? new Float32Array(tensor.size);
    const data = async (): Promise<Float32Array> => {
      const [now, then] = [await tensor.data<'float32'>(), await began()];
      return half === 'a'
        ? oneBelowTheOther(now, then)
        : besideEachOther(
            now,
            then.map((x) => -x),
            second,
          );
    };
    return [{ name, dtype: 'F32', shape: half === 'a' ? [2 * first, second] : [first, 2 * second], data }];
  });
};

/** What was written, as the adapter that trains: the first half of its rank. */
export const unconverted = (
  stored: ReadonlyMap<string, StoredTensor>,
  { weights, taken }: CausalLM,
): ReadonlyMap<string, StoredTensor> => {
  if (taken === undefined) return stored;
  const halves = halvesOf(weights);
  return new Map(
    Array.from(stored, ([name, tensor]) => {
      const half = halves.get(name);
      const [first = 0, second = 0] = tensor.shape;
      if (half === undefined) return [name, tensor];
      const kept = half === 'a' ? [first / 2, second] : [first, second / 2];
      const cut = (values: Float32Array): Float32Array =>
        half === 'a' ? values.slice(0, values.length / 2) : values.filter((_, i) => i % second < second / 2);
      return [
        name,
        {
          ...tensor,
          shape: kept,
          read: () =>
            pipe(
              tensor.read(),
              TE.map((values) => cut(Float32Array.from(values))),
            ),
        },
      ];
    }),
  );
};
