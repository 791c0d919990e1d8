/** A step whose loss or gradients are not finite: which rows are at fault, and how it is told. */
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import type { Passes } from './passes.js';
import type { StepOptions } from './state.js';

/** The rows whose own loss is not finite, as `nameRow` calls them. */
export const culprits = async (
  outputs: Passes['outputs'],
  { nameRow }: StepOptions,
): Promise<ReadonlyArray<string>> => {
  const named = new Set<string>();
  for (const { micro, output } of outputs) {
    const losses = await output.loss.data<'float32'>();
    losses.forEach((loss, i) => {
      const row = micro.rowOfTarget[i] ?? 0;
      if (!Number.isFinite(loss)) named.add(nameRow?.(micro.index, row) ?? `row ${row} of micro-batch ${micro.index}`);
    });
  }
  return [...named];
};

export const notFinite = (step: number, loss: number, gradNorm: number, rows: ReadonlyArray<string>): FatalError => {
  const what = Number.isFinite(loss) ? 'gradient norm' : 'loss';
  const shown = rows.slice(0, 8).join(', ');
  const more = rows.length > 8 ? ` and ${rows.length - 8} more` : '';
  return fatal(
    'E_NON_FINITE',
    `the ${what} of step ${step} is not finite${rows.length === 0 ? '' : `: ${shown}${more}`}`,
    {
      expected: 'finite numbers',
      actual: `loss ${loss}, gradient norm ${gradNorm}`,
      hint: "a lower learning rate, maxGradNorm, or nonFinite: 'skip' to leave such steps out and count them",
    },
  );
};
