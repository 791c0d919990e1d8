/** The optimizer that the options describe. */
import type { SftConfig } from '../options/config.js';
import { adafactor } from './adafactor.js';
import { adamw } from './adamw.js';
import { adamw8bit } from './adamw8bit.js';
import { lion } from './lion.js';
import { chain, clipByGlobalNorm, scaleBy } from './optimizer.js';
import type { GradientTransform, Optimizer } from './optimizer.js';
import { loraplusFactor, withRates } from './rates.js';
import type { Schedule } from './schedule.js';
import { sgd } from './sgd.js';

/** The update rule that the options name. */
const ruleOf = (config: SftConfig): GradientTransform => {
  const { weightDecay, adamBeta1: beta1, adamBeta2: beta2, adamEpsilon: epsilon, momentum } = config;
  switch (config.optim) {
    case 'adamw_torch':
      return adamw({ beta1, beta2, epsilon, weightDecay });
    case 'adamw_8bit':
      return adamw8bit({ beta1, beta2, epsilon, weightDecay });
    case 'adafactor':
      return adafactor({ weightDecay });
    case 'lion':
      return lion({ beta1, beta2, weightDecay });
    case 'sgd':
      return sgd({ momentum, weightDecay });
  }
};

/** The rule, with LoRA+'s rates where they are asked for. */
const ratedRuleOf = (config: SftConfig): GradientTransform => {
  const { loraplusLrRatio, loraplusLrEmbedding, learningRate } = config;
  if (loraplusLrRatio === undefined) return ruleOf(config);
  // Rates of groups follow the schedule together; at none there is none to compare with.
  const embedding = learningRate === 0 ? 1 : loraplusLrEmbedding / learningRate;
  return withRates(ruleOf(config), loraplusFactor(loraplusLrRatio, embedding));
};

/** Clipping, the update rule, and the schedule. */
export const optimizerOf = (config: SftConfig, schedule: Schedule): Optimizer =>
  chain(clipByGlobalNorm(config.maxGradNorm), ratedRuleOf(config), scaleBy(schedule));
