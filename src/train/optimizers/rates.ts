/** Rates of single parameters. */
import type { Gradients } from '../../model/layers/layer.js';
import type { GradientTransform, Moved } from './optimizer.js';

/** The same rule, each parameter's rate multiplied with a factor of its own. */
export const withRates = (
  transform: GradientTransform,
  factorOf: (name: string, shape: ReadonlyArray<number>) => number,
): GradientTransform => {
  const { rule } = transform;
  if (rule === undefined) return transform;
  return {
    ...transform,
    rule: {
      ...rule,
      apply: (update, moments) => {
        const groups = new Map<number, Record<string, Gradients[string]>>();
        for (const [name, gradient] of Object.entries(update.gradients)) {
          const factor = factorOf(name, gradient.shape);
          const group = groups.get(factor) ?? {};
          group[name] = gradient;
          groups.set(factor, group);
        }
        return [...groups].reduce<Moved>(
          (moved, [factor, gradients]) =>
            rule.apply(
              { ...update, parameters: moved.parameters, gradients, learningRate: update.learningRate * factor },
              moved.moments,
            ),
          { parameters: update.parameters, moments },
        );
      },
    },
  };
};

/**
 * LoRA+ (Hayou et al. 2024): B learns `ratio` times as fast as A, and so do vectors, as PEFT's create_loraplus_optimizer groups
 * them (biases and DoRA's magnitudes); both halves of an embedding's adapter learn `embedding` times as fast (default: as A).
 */
export const loraplusFactor =
  (ratio: number, embedding = 1) =>
  (name: string, shape: ReadonlyArray<number>): number => {
    if (/\.lora_embedding_[AB]\b/.test(name)) return embedding;
    return name.includes('lora_B') || shape.length === 1 ? ratio : 1;
  };
