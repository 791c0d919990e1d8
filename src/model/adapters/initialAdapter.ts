/** How a LoRA adapter begins. */
import { random } from '../../seed.js';
import { orthogonalHalves } from './initLora.js';
import type { LoraConfig } from './lora.js';
import type { Target } from './targets.js';

/**
 * The first values of a new adapter's halves, A [r, inputs] and B [outputs, r]; the same for the same seed and module. An
 * embedding's begin the other way round: A zero, B normal.
 */
export const initialAdapter = (
  { initLoraWeights }: LoraConfig,
  { module, inputs, outputs, rank, isEmbedding }: Target,
  seed: number,
): { readonly a: Float32Array; readonly b: Float32Array } => {
  const draws = (half: number): ReturnType<typeof random> =>
    random(seed, 'init', half, ...Array.from(module, (letter) => letter.charCodeAt(0)));
  const fill = (size: number, draw: () => number): Float32Array => Float32Array.from({ length: size }, draw);
  const first = draws(0);
  const second = draws(1);
  if (isEmbedding) {
    const b = fill(outputs * rank, second.normal);
    return { a: initLoraWeights === false ? fill(rank * inputs, first.normal) : new Float32Array(rank * inputs), b };
  }
  // torch's kaiming_uniform with a = √5 is uniform in ±1/√(fan in).
  const uniform = (source: typeof first, fanIn: number) => (): number => (2 * source.uniform() - 1) / Math.sqrt(fanIn);
  if (initLoraWeights === 'orthogonal') return orthogonalHalves({ module, inputs, outputs, rank }, seed);
  const a =
    initLoraWeights === 'gaussian'
      ? fill(rank * inputs, () => first.normal() / rank)
      : fill(rank * inputs, uniform(first, inputs));
  const b = initLoraWeights === false ? fill(outputs * rank, uniform(second, rank)) : new Float32Array(outputs * rank);
  return { a, b };
};
