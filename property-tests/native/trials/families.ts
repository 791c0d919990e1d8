/** Trials of every named op, by what they have in common. */
import type fc from 'fast-check';
import { grouped, groupedAdapters, linear, lora, losses } from './products.js';
import { activations8, columns, combined, elementwise, norms, rows, updates } from './rows.js';
import { attended, convolved, deltaRuled, kept, latent, rotary, scanned, selectivelyScanned } from './sequences.js';
import type { Trial } from './trial.js';

export const families: Readonly<Record<string, fc.Arbitrary<Trial>>> = {
  'products with weights': linear,
  'products with adapters': lora,
  norms,
  'rows of tables': rows,
  'rows that are added up': combined,
  'groups of rows': grouped,
  'adapters of groups of rows': groupedAdapters,
  'rotary positions': rotary,
  'heads of latent attention': latent,
  attention: attended,
  'attention over what is kept': kept,
  'convolutions over tokens': convolved,
  'the gated delta rule': deltaRuled,
  'state-space scans': scanned,
  'selective scans': selectivelyScanned,
  'elementwise ops': elementwise,
  columns,
  'updates of weights': updates,
  'the head and its loss': losses,
  'activations in 8 bits': activations8,
};
