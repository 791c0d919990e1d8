/** transformers' names of optimizers, and what they mean here. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';

/** The update rules there are, under the first of transformers' names for each. */
export const optimizers = ['adamw_torch', 'adamw_8bit', 'adafactor', 'lion', 'sgd'] as const;

export type OptimizerName = (typeof optimizers)[number];

/** Implementations of one rule: here there is one of each. Paging has no meaning where the memory is the host's. */
const sameRule: Readonly<Record<string, OptimizerName>> = {
  adamw: 'adamw_torch',
  adamw_hf: 'adamw_torch',
  adamw_torch_fused: 'adamw_torch',
  adamw_torch_xla: 'adamw_torch',
  adamw_torch_npu_fused: 'adamw_torch',
  adamw_apex_fused: 'adamw_torch',
  paged_adamw: 'adamw_torch',
  paged_adamw_32bit: 'adamw_torch',
  adamw_bnb_8bit: 'adamw_8bit',
  paged_adamw_8bit: 'adamw_8bit',
  lion_32bit: 'lion',
  paged_lion_32bit: 'lion',
};

const own = 'or give an optimizer in code: chain(…) of gradient transforms';

/** Rules of transformers that there are not here, and what comes nearest. */
const otherRule: Readonly<Record<string, string>> = {
  adamw_anyprecision: 'its moments round to bfloat16; adamw_torch keeps 32 bits, adamw_8bit 8',
  adamw_torch_4bit: 'adamw_8bit holds moments in 8 bits',
  adamw_torch_8bit: "torchao's codes are others than those of adamw_8bit, which is bitsandbytes'",
  lion_8bit: 'lion holds its one moment in 32 bits',
  paged_lion_8bit: 'lion holds its one moment in 32 bits',
  adagrad: `adamw_torch scales each number by its own past too; ${own}`,
  rmsprop: `adamw_torch with adamBeta1 0 is RMSprop with its beginning corrected; ${own}`,
};

/**
 * The update rule of a name; Left: what is offered instead. Names that nobody has are left as they are: the option's codec tells what
 * was expected.
 */
export const optimizerNamed = (name: string): Either<string, string> => {
  if (Object.hasOwn(sameRule, name)) return E.right(sameRule[name] ?? name);
  if (Object.hasOwn(otherRule, name)) return E.left(otherRule[name] ?? own);
  const family = /^(galore|apollo|lomo|adalomo|grokadamw|schedule_free|stable_adamw|ademamix|paged_ademamix|rmsprop)/;
  if (family.test(name)) return E.left(`offered are ${optimizers.join(', ')}, ${own}`);
  return E.right(name);
};
